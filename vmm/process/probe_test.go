// SPDX-License-Identifier: Apache-2.0

package process

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// TestFaultsAreSeen uses ordinary page protection, which every machine has.
func TestFaultsAreSeen(t *testing.T) {
	page, err := unix.Mmap(-1, 0, unix.Getpagesize(), unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(page)
	if faults(func() { runtime.KeepAlive(page[0]) }) {
		t.Error("a read faulted")
	}
	if !faults(func() { page[0] = 1 }) {
		t.Error("a write to a read-only page did not fault")
	}
	defer func() {
		if recover() == nil {
			t.Error("another panic was swallowed")
		}
	}()
	faults(func() { panic("other") })
}
