// SPDX-License-Identifier: Apache-2.0

package kvm

import "os"

// allowed are the CPUID bits that a guest may see, by leaf and subleaf: what its
// user code can use, and what the monitor and KVM need. Everything else is 0.
// Protection keys are not there (the user gets none), nor is AMX.
var allowed = map[[2]uint32]struct{ eax, ebx, ecx, edx uint32 }{
	// sse3 pclmul ssse3 fma cx16 sse4.1 sse4.2 movbe popcnt aes xsave osxsave avx f16c rdrand;
	// fpu tsc pae cx8 cmov pge clflush mmx fxsr sse sse2
	{1, 0}: {^uint32(0), 0x0000ff00, 0x7ed8_3203, 0x0788_a171},
	// Caches: sizes that C libraries read.
	{2, 0}: all, {4, 0}: all, {4, 1}: all, {4, 2}: all, {4, 3}: all,
	// fsgsbase bmi1 avx2 bmi2 erms avx512{f,dq} rdseed adx avx512ifma clflushopt clwb avx512cd sha avx512{bw,vl};
	// avx512vbmi avx512vbmi2 gfni vaes vpclmul avx512{vnni,bitalg,vpopcnt} rdpid movdiri movdir64b;
	// fsrm avx512vp2intersect serialize avx512fp16
	{7, 0}: {1, 0xf1af_0329, 0x1840_5f42, 0x0080_4110},
	// avx-vnni avx512bf16 fzrm fsrs fsrc
	{7, 1}:   {0x0000_1c30, 0, 0, 0},
	{0xd, 0}: {0xe7, ^uint32(0), ^uint32(0), 0},
	// xsaveopt xsavec xgetbv1
	{0xd, 1}: {7, ^uint32(0), 0, 0},
	{0xd, 2}: all, {0xd, 5}: all, {0xd, 6}: all, {0xd, 7}: all,
	{0x15, 0}: all, {0x16, 0}: all,
	// lahf abm sse4a misalignsse prefetchw; syscall nx pdpe1gb rdtscp lm
	{0x8000_0001, 0}: {^uint32(0), 0, 0x0000_01e1, 0x2c10_0800},
	{0x8000_0002, 0}: all, {0x8000_0003, 0}: all, {0x8000_0004, 0}: all,
	{0x8000_0005, 0}: all, {0x8000_0006, 0}: all,
	{0x8000_0008, 0}: {^uint32(0), 0, 0, 0},
	{0x8000_001d, 0}: all, {0x8000_001d, 1}: all, {0x8000_001d, 2}: all, {0x8000_001d, 3}: all,
}

var all = struct{ eax, ebx, ecx, edx uint32 }{^uint32(0), ^uint32(0), ^uint32(0), ^uint32(0)}

// Highest leaves that are shown.
const (
	maxBasic    = 0x16
	maxExtended = 0x8000_001d
)

// shape takes from what KVM supports what a guest may see, and returns XCR0.
func shape(have *kvmCPUID) (shown *kvmCPUID, xcr0 uint64) {
	shown = &kvmCPUID{}
	for _, e := range have.entries[:min(have.count, maxCPUID)] {
		switch e.function {
		case 0:
			e.eax = min(e.eax, maxBasic)
		case 0x8000_0000:
			e.eax = min(e.eax, maxExtended)
		default:
			mask, ok := allowed[[2]uint32{e.function, e.index}]
			if !ok {
				continue
			}
			if e.function == 0xd && e.index == 0 {
				xcr0 = uint64(e.eax & mask.eax)
			}
			e.eax, e.ebx, e.ecx, e.edx = e.eax&mask.eax, e.ebx&mask.ebx, e.ecx&mask.ecx, e.edx&mask.edx
		}
		shown.entries[shown.count] = e
		shown.count++
	}
	return shown, xcr0
}

// pku is the bit of protection keys in ecx of leaf 7.
const pku = 1 << 3

func offersKeys(c *kvmCPUID) bool {
	for _, e := range c.entries[:min(c.count, maxCPUID)] {
		if e.function == 7 && e.index == 0 {
			return e.ecx&pku != 0
		}
	}
	return false
}

// withKeys adds protection keys: KVM lets a vCPU enforce them only while its
// CPUID has them. Before the vCPU runs they are taken away again.
func withKeys(shown *kvmCPUID) *kvmCPUID {
	c := *shown
	for i := range c.entries[:c.count] {
		if e := &c.entries[i]; e.function == 7 && e.index == 0 {
			e.ecx |= pku
		}
	}
	return &c
}

func supportedCPUID(kvm *os.File) (*kvmCPUID, error) {
	c := &kvmCPUID{count: maxCPUID}
	_, err := callPtr(kvm, kvmGetSupportedCPU, c, "KVM_GET_SUPPORTED_CPUID")
	return c, err
}
