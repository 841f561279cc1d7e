#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Build the guest kernel: build.sh OUTPUT
#
# Unpacks Debian's linux-source-6.12, applies kernel/patches, lays kernel/src over
# it, configures and builds out of tree in the cache folder
# ${PARACELL_CACHE:-/var/cache/paracell}/kernel/KEY, where KEY is a hash of all that
# goes in: source package version, compiler, config, patches, sources. When
# the result for the key is there already nothing is built.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
out=$(realpath -m "${1:?usage: build.sh OUTPUT}")
cache=${PARACELL_CACHE:-/var/cache/paracell}/kernel
series=6.12
jobs=$(nproc)

say() { echo "kernel: $*" >&2; }

packages="linux-source-$series gcc make flex bison bc libelf-dev libssl-dev cpio xz-utils zstd patch python3 rsync"
command -v go >/dev/null || { say "go is missing: install Go (the version in go.mod) and put it into PATH"; exit 1; }
missing=$(for p in $packages; do dpkg -s "$p" >/dev/null 2>&1 || echo "$p"; done)
if [ -n "$missing" ]; then
	say "installing $(echo $missing | tr '\n' ' ')"
	[ "$(id -u)" = 0 ] || { say "run as root, or install them first: apt-get install $(echo $missing)"; exit 1; }
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing >/dev/null
fi
tarball=/usr/src/linux-source-$series.tar.xz
version=$(dpkg-query -W -f '${Version}' "linux-source-$series")

# Raise it when a change below makes another image of the same sources.
recipe=1
key=$({
	echo "$recipe $version"
	gcc --version | head -1
	ld --version | head -1
	cd "$here" && find config patches src -type f | LC_ALL=C sort | while read -r f; do
		sha256sum "$f"
	done
} | sha256sum | cut -c1-20)
dir=$cache/$key

# The user can jump to every byte of the kernel: what is an instruction of the
# gates by accident moves, and anything else of that kind ends the build. Done
# once for an image and a version of these checks.
finish() {
	(
		cd "$here/.."
		checks=$(cat go.sum xgate/scan/*.go xgate/scan/cmd/*/*.go xgate/scrub/*.go xgate/scrub/cmd/*/*.go | sha256sum)
		[ "$(cat "$dir/scrubbed.by" 2>/dev/null)" != "$checks" ] || exit 0
		go run ./xgate/scrub/cmd/xgate-scrub -v "$dir/vmlinux" "$dir/scrubbed" >"$dir/scrub.log"
		go run ./xgate/scan/cmd/xgate-scan "$dir/scrubbed"
		echo "$checks" >"$dir/scrubbed.by"
	) >&2 || { say "the image holds instructions that only the gates may have"; exit 1; }
	mkdir -p "$(dirname "$out")"
	cmp -s "$dir/scrubbed" "$out" || install -m 0644 "$dir/scrubbed" "$out"
}

if [ -f "$dir/done" ]; then
	finish
	exit 0
fi

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
[ -f "$dir/done" ] && { finish; exit 0; }

say "building $version for key $key (some minutes on two cores)"
rm -rf "$dir.tmp"
mkdir -p "$dir.tmp"
say "unpacking"
tar -C "$dir.tmp" -xf "$tarball"
mv "$dir.tmp/linux-source-$series" "$dir.tmp/tree"
cd "$dir.tmp/tree"
for p in "$here"/patches/*.patch; do
	say "patch $(basename "$p")"
	patch -s -p1 <"$p"
done
rsync -a "$here/src/" ./

make_kernel() { make -s ARCH=um KBUILD_BUILD_USER=paracell KBUILD_BUILD_HOST=paracell "$@"; }

make_kernel KCONFIG_ALLCONFIG="$here/config" allnoconfig 2>"$dir.tmp/config.log" || {
	cat "$dir.tmp/config.log" >&2
	exit 1
}
# An option that Kconfig refused is an error here, not a surprise later.
refused=$(grep -oE '^CONFIG_[A-Z0-9_]+=' "$here/config" | while read -r o; do
	grep -q "^$o" .config || echo "${o%=}"
done)
[ -z "$refused" ] || { say "the kernel refuses these options of kernel/config:" $refused; exit 1; }

# Who called may have asked make to be silent: the progress is what it prints.
unset MAKEFLAGS MFLAGS
say "compiling with $jobs jobs; log in $cache/$key.log"
started=$(date +%s)
# As many as in the largest build so far; the first one has this many.
total=1070
for log in "$cache"/*.log; do
	n=$(grep -c '^  \(CC\|AS\) ' "$log" 2>/dev/null || true)
	[ "${n:-0}" -le "$total" ] || total=$n
done
(
	while sleep 15; do
		n=$(grep -c '^  \(CC\|AS\) ' "$cache/$key.log" 2>/dev/null || true)
		say "  $n objects of about $total, $(($(date +%s) - started)) s"
	done
) &
ticker=$!
trap 'kill $ticker 2>/dev/null || true' EXIT
if ! make ARCH=um KBUILD_BUILD_USER=paracell KBUILD_BUILD_HOST=paracell -j"$jobs" vmlinux \
	>"$cache/$key.log" 2>&1; then
	grep -E 'error|Error' "$cache/$key.log" | head -20 >&2
	say "failed; the whole log is in $cache/$key.log"
	exit 1
fi
kill $ticker 2>/dev/null || true
say "built in $(($(date +%s) - started)) s"

objcopy --strip-debug vmlinux "$dir.tmp/vmlinux"
cp System.map .config "$dir.tmp/"
rm -rf "$dir.tmp/tree"
touch "$dir.tmp/done"
cd "$here"
rm -rf "$dir"
mv "$dir.tmp" "$dir"
finish
