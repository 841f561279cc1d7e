#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# usage: setup.sh run|test
#
# Installs the Debian packages that building and running (run), or the tests as
# well (test), need, and checks that Go is there. Says nothing when all is.
# The kernel's build installs its own (kernel/build/build.sh).
set -euo pipefail
cd "$(dirname "$0")/.."
what=${1:?usage: setup.sh run|test}

packages=(build-essential ca-certificates git xz-utils mmdebstrap)
if [ "$what" = test ]; then
	packages+=(busybox-static containernetworking-plugins cpio iptables libcap-dev procps qemu-system-x86 shellcheck zstd
		# software that is run in cells
		gdb nodejs openjdk-17-jdk-headless python3 strace stress-ng)
fi

missing=()
installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "${packages[@]}" 2>/dev/null || true)
for p in "${packages[@]}"; do
	grep -qx "$p installed" <<<"$installed" || missing+=("$p")
done
if ((${#missing[@]})); then
	if [ "$(id -u)" != 0 ]; then
		echo "make $what: not installed: ${missing[*]}" >&2
		echo "make $what: run it as root, or install them: apt-get install ${missing[*]}" >&2
		exit 1
	fi
	echo "installing Debian packages: ${missing[*]}" >&2
	log=$(mktemp)
	trap 'rm -f "$log"' EXIT
	if ! { apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
		tail -n 20 "$log" >&2
		echo "make $what: cannot install ${missing[*]}: see above" >&2
		exit 1
	fi
fi

wanted=$(sed -n 's/^go //p' go.mod)
if ! command -v go >/dev/null; then
	echo "make $what: Go $wanted or later is needed, on PATH or in /usr/local/go: https://go.dev/dl" >&2
	exit 1
fi
found=$(GOTOOLCHAIN=local go env GOVERSION)
if [ "$(printf '%s\n' "$wanted" "${found#go}" | sort -V | head -1)" != "$wanted" ]; then
	echo "make $what: Go $wanted or later is needed; $(command -v go) is $found" >&2
	exit 1
fi
