// SPDX-License-Identifier: Apache-2.0

// Package emulated runs a command in a small emulated machine that has what
// the host may lack: protection keys (PKU) and nested virtualisation (SVM).
//
// The machine is QEMU's TCG with every CPU feature it knows, a Debian 6.12
// kernel and an initramfs of busybox plus the caller's files. It needs no
// privilege, no /dev/kvm and no disk image, boots in about three seconds and
// computes 10 to 30 times slower than the host. It is there for the truth of
// tests, not for their speed.
//
// The kernel package is downloaded once with apt-get and kept unpacked in a
// cache folder outside the repository: $PARACELL_CACHE, or /var/cache/paracell.
//
// Run is safe for concurrent use; every call starts a machine of its own.
package emulated
