#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# usage: build.sh DIR base                  a minimal Debian system in DIR/base
#        build.sh DIR busybox               Debian's busybox alone in DIR/busybox
#        build.sh DIR layer NAME PACKAGE... what installing adds, in DIR/layer-NAME
#        build.sh DIR fetch PACKAGE...      download for several layers at once
#
# The system is of the release of this machine, from its package sources. Runs
# in a mount namespace of its own, so that nothing stays mounted. As root.
set -euo pipefail
dir=$1 what=$2
shift 2
# Nothing of it is written for eternity: no waiting for the disk.
unsafe=(-o Dpkg::Options::=--force-unsafe-io)
export DEBIAN_FRONTEND=noninteractive LC_ALL=C

# apt of this machine (its proxies and so on) for the system in base.
host_apt() {
	apt-get -q -y -o "Dir::State=$dir/apt" -o "Dir::State::status=$dir/base/var/lib/dpkg/status" -o "Dir::Cache=$dir/cache" \
		-o "Dir::Etc::sourcelist=$dir/base/etc/apt/sources.list" -o "Dir::Etc::sourceparts=$dir/base/etc/apt/sources.list.d" \
		-o "Dir::Etc::preferences=/dev/null" -o "Dir::Etc::preferencesparts=/dev/null" -o APT::Sandbox::User=root \
		-o APT::Install-Recommends=false -o APT::Keep-Downloaded-Packages=true -o Dir::Etc::trustedparts=/etc/apt/trusted.gpg.d "$@"
}

case $what in
base)
	codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
	sources=()
	for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
		[ -s "$f" ] && grep -q debian "$f" && sources+=("$f")
	done
	mkdir -p "$dir/apt/lists/partial" "$dir/cache/archives/partial"
	apt-config dump --format '%f "%v";%n' Acquire | grep -E '^Acquire::(http|https|Check-|ForceIPv|Retries)' >"$dir/options" || true
	# Documentation is left out, as in Debian's slim images.
	rm -rf "$dir/base"
	mmdebstrap --mode=root --variant=minbase --format=directory --aptopt="$dir/options" --skip=cleanup/apt/lists \
		--dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt=force-unsafe-io \
		"$codename" "$dir/base" "${sources[@]}"
	mv "$dir"/base/var/lib/apt/lists/* "$dir/apt/lists/" 2>/dev/null || true
	rm -f "$dir/base/etc/apt/apt.conf.d/99mmdebstrap" "$dir"/base/etc/{hostname,resolv.conf}
	;;
busybox)
	mkdir -p "$dir/debs"
	(cd "$dir/debs" && apt-get -q -o APT::Sandbox::User=root download busybox-static)
	rm -rf "$dir/busybox"
	mkdir -p "$dir"/busybox/{bin,dev,etc,proc,root,run,sys,usr,var/lib}
	mkdir -m 1777 "$dir/busybox/tmp"
	dpkg-deb --fsys-tarfile "$dir"/debs/busybox-static_*.deb | tar -C "$dir/busybox" -x ./bin/busybox
	"$dir/busybox/bin/busybox" --list | while read -r applet; do
		[ "$applet" = busybox ] || ln -s busybox "$dir/busybox/bin/$applet"
	done
	printf '%s\n' root:x:0:0:root:/root:/bin/sh user:x:1000:1000::/:/bin/sh >"$dir/busybox/etc/passwd"
	printf '%s\n' root:x:0: user:x:1000: >"$dir/busybox/etc/group"
	;;
fetch)
	host_apt --download-only install "$@"
	;;
layer)
	name=$1
	shift
	upper=$dir/layer-$name
	rm -rf "$upper" "$dir/work-$name" "$dir/root-$name"
	mkdir -p "$upper" "$dir/work-$name" "$dir/root-$name" "$dir/control/usr/sbin"
	root=$dir/root-$name
	# No package may start its service.
	printf '#!/bin/sh\nexit 101\n' >"$dir/control/usr/sbin/policy-rc.d"
	# Packages make links in folders of the documentation that is left out.
	mkdir -p "$dir"/control/usr/share/man/man{1..8}
	chmod 755 "$dir/control/usr/sbin/policy-rc.d"
	mount -t overlay overlay -o "lowerdir=$dir/control:$dir/base,upperdir=$upper,workdir=$dir/work-$name" "$root"
	mount -t proc proc "$root/proc"
	mount -t tmpfs tmpfs "$root/tmp"
	mount -t tmpfs tmpfs "$root/var/cache"
	mkdir -p "$root/var/cache/apt/archives/partial" "$root/var/cache/debconf" "$root/var/cache/ldconfig"
	mount --bind "$dir/cache/archives" "$root/var/cache/apt/archives"
	mount --bind "$dir/apt/lists" "$root/var/lib/apt/lists"
	chroot "$root" apt-get -q -y "${unsafe[@]}" -o Debug::NoLocking=true -o APT::Install-Recommends=false --no-download install "$@"
	umount -R "$root"
	rm -rf "$dir/work-$name" "$root" "$upper"/var/log/{apt,dpkg.log,alternatives.log} "$upper/var/cache"
	;;
*)
	echo "build.sh: $what is not known" >&2
	exit 1
	;;
esac
