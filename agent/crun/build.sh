#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# usage: build.sh OUT
#
# Builds crun, which makes containers in the guest, from Debian's source as one
# static file: the guest has no libraries, and starting it costs no linking.
# The result is kept in $PARACELL_CACHE/crun (default /var/cache/paracell/crun).
# Needs apt sources for the running Debian release, gcc and make; installs nothing.
set -euo pipefail
out=$(realpath -m "${1:?usage: build.sh OUT}")

codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
libraries=(libseccomp-dev libyajl-dev libcap-dev)
cache=${PARACELL_CACHE:-/var/cache/paracell}/crun
key=$(sha256sum <"$0" | cut -c1-16)-$codename
kept=$cache/$key/crun
if [ -x "$kept" ]; then
	cmp -s "$kept" "$out" || install -D -m 755 "$kept" "$out"
	exit 0
fi

for tool in gcc make ar apt-get dpkg-deb xz; do
	command -v "$tool" >/dev/null || { echo "crun: $tool is not installed (Debian: apt-get install build-essential xz-utils)" >&2; exit 1; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
log=$work/log
fail() {
	tail -n 30 "$log" >&2
	echo "crun: $*" >&2
	exit 1
}

# The machine's own package sources, with source packages switched on, in a
# place of ours, so that the machine's stay as they are.
mkdir -p "$work"/{sources,lists/partial,debs,sysroot,cache/archives/partial}
for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
	[ -f "$f" ] && sed -n 's/^deb \(.*\)/deb \1\ndeb-src \1/p' "$f" >"$work/sources/$(basename "$f" .list).list"
done
for f in /etc/apt/sources.list.d/*.sources; do
	[ -f "$f" ] && sed 's/^Types:.*/Types: deb deb-src/' "$f" >"$work/sources/$(basename "$f")"
done
apt=(apt-get -q -o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$work/sources" -o "Dir::State::lists=$work/lists"
	-o "Dir::Cache=$work/cache" -o APT::Sandbox::User=root)
echo "crun: fetching Debian's source" >&2
"${apt[@]}" update >"$log" 2>&1 || fail "apt-get update failed"
cd "$work/debs"
"${apt[@]}" download "${libraries[@]}" >>"$log" 2>&1 || fail "cannot download ${libraries[*]}"
for d in *.deb; do dpkg-deb -x "$d" "$work/sysroot"; done
"${apt[@]}" source --download-only crun >>"$log" 2>&1 || fail "cannot download the source of crun"
mkdir "$work/src"
tar -xf crun_*.orig.tar.xz -C "$work/src" --strip-components=1 2>>"$log" || fail "cannot unpack the source"

lib=$work/sysroot/usr/lib/$(gcc -print-multiarch)
ln -s libyajl_s.a "$lib/libyajl.a"
cd "$work/src"
version=$(sed -n "s/^PACKAGE_VERSION='\(.*\)'/\1/p" configure)
echo "#define GIT_VERSION \"$version\"" >git-version.h
echo "crun: building $version" >&2
# What is installed on this machine must not get into the result.
export ac_cv_search_gcry_check_version=no YAJL_CFLAGS="-I$work/sysroot/usr/include" YAJL_LIBS="-lyajl -lm"
export CPPFLAGS="-I$work/sysroot/usr/include" CFLAGS="-Os -ffunction-sections -fdata-sections" LIBS=-lm
command -v ccache >/dev/null && export CC="ccache gcc"
./configure --disable-systemd --disable-criu --disable-dl --disable-shared --enable-static \
	LDFLAGS="-L$lib -Wl,--gc-sections" >>"$log" 2>&1 || fail "configure failed"
make -j"$(nproc)" crun LDFLAGS="-L$lib -Wl,--gc-sections -all-static" >>"$log" 2>&1 || fail "make failed"
strip crun
install -D -m 755 crun "$kept.new"
mv "$kept.new" "$kept"
install -D -m 755 "$kept" "$out"
