// SPDX-License-Identifier: Apache-2.0

package process

// cpuid returns a leaf of the CPUID instruction.
func cpuid(leaf, sub uint32) (a, b, c, d uint32)

// xgetbv0 returns XCR0. It needs CPUID.OSXSAVE.
func xgetbv0() uint64

// rdpkru and wrpkru read and write the rights of this thread's protection keys.
// They need CPUID.OSPKE.
func rdpkru() uint32
func wrpkru(v uint32)
