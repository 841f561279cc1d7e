// SPDX-License-Identifier: Apache-2.0

package kvm

import "testing"

// TestShape: of a processor that has everything, and of leaves that nobody
// knows, a guest sees the allow-list.
func TestShape(t *testing.T) {
	have := &kvmCPUID{}
	add := func(function, index uint32) {
		e := &have.entries[have.count]
		e.function, e.index = function, index
		e.eax, e.ebx, e.ecx, e.edx = ^uint32(0), ^uint32(0), ^uint32(0), ^uint32(0)
		have.count++
	}
	for _, base := range []uint32{0, 0x4000_0000, 0x8000_0000, 0xc000_0000} {
		for f := range uint32(0x24) {
			add(base+f, 0)
		}
	}
	for i := uint32(1); i < 20; i++ {
		add(0xd, i)
		add(7, i)
	}
	shown, xcr0 := shape(have)
	if xcr0 != 0xe7 {
		t.Errorf("XCR0 %#x", xcr0)
	}
	find := func(function, index uint32) cpuidEntry {
		for _, e := range shown.entries[:shown.count] {
			if e.function == function && e.index == index {
				return e
			}
		}
		return cpuidEntry{}
	}
	if max := find(0, 0).eax; max != maxBasic {
		t.Errorf("highest leaf %#x", max)
	}
	if max := find(0x8000_0000, 0).eax; max != maxExtended {
		t.Errorf("highest extended leaf %#x", max)
	}
	seven := find(7, 0)
	for name, bit := range map[string]uint32{
		"PKU": seven.ecx >> 3, "OSPKE": seven.ecx >> 4, "PKS": seven.ecx >> 31, "SMEP": seven.ebx >> 7, "SMAP": seven.ebx >> 20,
		"INVPCID": seven.ebx >> 10, "RTM": seven.ebx >> 11, "MPX": seven.ebx >> 14, "PT": seven.ebx >> 25, "SGX": seven.ebx >> 2,
		"5-level paging": seven.ecx >> 16, "shadow stacks": seven.ecx >> 7, "AMX-BF16": seven.edx >> 22, "AMX-TILE": seven.edx >> 24,
		"AMX-INT8": seven.edx >> 25, "IBT": seven.edx >> 20, "user interrupts": seven.edx >> 5, "AMX-FP16": find(7, 1).eax >> 21,
		"VMX": find(1, 0).ecx >> 5, "TSC deadline": find(1, 0).ecx >> 24, "x2APIC": find(1, 0).ecx >> 21, "hypervisor": find(1, 0).ecx >> 31,
		"PCID": find(1, 0).ecx >> 17, "APIC": find(1, 0).edx >> 9, "SVM": find(0x8000_0001, 0).ecx >> 2,
		"XSAVES": find(0xd, 1).eax >> 3, "XFD": find(0xd, 1).eax >> 4,
	} {
		if bit&1 != 0 {
			t.Errorf("%s is shown", name)
		}
	}
	for name, bit := range map[string]uint32{"FSGSBASE": seven.ebx, "AVX2": seven.ebx >> 5, "XSAVE": find(1, 0).ecx >> 26} {
		if bit&1 != 1 {
			t.Errorf("%s is hidden", name)
		}
	}
	for _, e := range shown.entries[:shown.count] {
		switch _, ok := allowed[[2]uint32{e.function, e.index}]; {
		case ok, e.function == 0, e.function == 0x8000_0000:
		default:
			t.Errorf("leaf %#x.%d is shown", e.function, e.index)
		}
		if e.function == 0xd && (e.index == 9 || e.index == 17 || e.index == 18) {
			t.Errorf("the state of keys or AMX is shown: component %d", e.index)
		}
	}
	if with := withKeys(shown); !offersKeys(with) || offersKeys(shown) {
		t.Error("withKeys")
	}
}

// TestShapeOfManyLeaves: a count that is out of bounds, as a broken host might
// return it, is no reason to fall over.
func TestShapeOfManyLeaves(t *testing.T) {
	have := &kvmCPUID{count: 1 << 30}
	if shown, _ := shape(have); shown.count > maxCPUID {
		t.Errorf("%d leaves", shown.count)
	}
	_ = offersKeys(have)
}
