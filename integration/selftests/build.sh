#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# usage: build.sh        prints the directory of the built programs
#
# Builds the kernel's own tests from Debian's linux-source-6.12 into
# ${PARACELL_CACHE:-/var/cache/paracell}/selftests/KEY, static, one compiler call per
# program of programs.txt: the Makefiles of the tests want to write into the
# source tree and stop at what a machine has not got.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
say() { echo "selftests: $*" >&2; }

for p in linux-source-6.12 gcc make rsync xz-utils libcap-dev; do
	dpkg -s "$p" >/dev/null 2>&1 || { say "missing: apt-get install $p"; exit 1; }
done
key=$({ dpkg-query -W -f '${Version}\n' linux-source-6.12 libc6-dev; gcc --version; cat "$here/build.sh" "$here/programs.txt"; } | sha256sum | cut -c1-20)
cache=${PARACELL_CACHE:-/var/cache/paracell}/selftests
out=$cache/$key
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
if [ ! -e "$out/done" ]; then
	say "building $out"
	rm -rf "${cache:?}"/* "$out"
	mkdir -p "$out" "$out.tree"
	top=linux-source-6.12
	tar -C "$out.tree" -xf /usr/src/$top.tar.xz $top/{Makefile,Kbuild,scripts,include,usr,tools/include,tools/arch,tools/testing,arch/x86,mm/gup_test.h}
	tree=$out.tree/$top
	make -s -C "$tree" ARCH=x86 headers >/dev/null
	tests=$tree/tools/testing/selftests
	: >"$tests/mm/local_config.h"
	export tree tests out
	compile() {
		program=$1
		shift
		mkdir -p "$out/$(dirname "$program")"
		cd "$tests/$(dirname "$program")"
		gcc -w -O2 -static -U_FORTIFY_SOURCE -D_GNU_SOURCE= -isystem "$tree/usr/include" -I. -I.. -I../include -I../../include \
			-I"$tests" -I"$tree/tools/testing" -I"$tree" -o "$out/$program" "$(basename "$program").c" "$@" -lcap -lpthread -lrt -lm -ldl
	}
	export -f compile
	grep -v '^#' "$here/programs.txt" | cut -d'|' -f1 | xargs -P 2 -d '\n' -I{} bash -c 'compile $0' {} ||
		{ say "some programs do not compile"; exit 1; }
	rm -rf "$out.tree"
	touch "$out/done"
fi
echo "$out"
