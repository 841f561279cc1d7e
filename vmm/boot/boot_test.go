// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"testing"

	"github.com/paracell/paracell/vmm/memory"
	"github.com/paracell/paracell/xgate/abi"
)

func TestClockRateIsPlausible(t *testing.T) {
	var c tscClock
	a, err := c.rate()
	if err != nil {
		t.Fatal(err)
	}
	var d tscClock
	b, err := d.rate()
	if err != nil {
		t.Fatal(err)
	}
	if diff := max(a, b) - min(a, b); diff*10_000 > a {
		t.Errorf("two calibrations differ by more than 100 ppm: %d and %d kHz", a, b)
	}
}

func newTestMemory(t testing.TB, size uint64) *memory.Memory {
	t.Helper()
	m, err := memory.New("test", size, abi.ControlSize)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}
