// SPDX-License-Identifier: Apache-2.0

package abi

import (
	"reflect"
	"testing"
)

// TestCacheLines checks that what has a cache line of its own really starts
// on one, and that the control area has room for everything.
func TestCacheLines(t *testing.T) {
	control := reflect.TypeFor[Control]()
	for _, name := range []string{"ExitReason", "WardenWord", "Slots", "Vcpus", "Devices", "Spill"} {
		if f, _ := control.FieldByName(name); f.Offset%64 != 0 {
			t.Errorf("Control.%s is at offset %d, not a multiple of 64", name, f.Offset)
		}
	}
	vcpu := reflect.TypeFor[Vcpu]()
	for _, name := range []string{"State", "IRQEnabled", "HostCalls", "Ops"} {
		if f, _ := vcpu.FieldByName(name); f.Offset%64 != 0 {
			t.Errorf("Vcpu.%s is at offset %d, not a multiple of 64", name, f.Offset)
		}
	}
	for _, typ := range []reflect.Type{vcpu, reflect.TypeFor[VirtioDevice](), reflect.TypeFor[VirtioQueue]()} {
		if typ.Size()%64 != 0 {
			t.Errorf("%s has %d bytes, not a multiple of 64", typ, typ.Size())
		}
	}
	if control.Size() > ControlSize {
		t.Errorf("Control has %d bytes, the control area only %d", control.Size(), ControlSize)
	}
}
