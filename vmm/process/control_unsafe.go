// SPDX-License-Identifier: Apache-2.0

package process

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/paracell/paracell/vmm/memory"
	"github.com/paracell/paracell/xgate/abi"
)

// The control area has to hold the struct.
const _ = uint(abi.ControlSize - unsafe.Sizeof(abi.Control{}))

// controlOf returns the control area of a cell. It shares memory with the
// cell: everything the cell can write is read with atomic operations, once.
func controlOf(m *memory.Memory) (*abi.Control, error) {
	tail := m.Tail()
	if len(tail) < int(unsafe.Sizeof(abi.Control{})) {
		return nil, fmt.Errorf("control area of %d bytes is too small", len(tail))
	}
	return (*abi.Control)(unsafe.Pointer(unsafe.SliceData(tail))), nil
}

// addressOf is the address of memory that Go's allocator does not know.
func addressOf(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }

// futexWakePending wakes a vCPU that sleeps on its pending word.
func futexWakePending(p *uint64) error {
	return futexWake((*uint32)(unsafe.Pointer(p)))
}

// futexWake wakes all sleepers on a word of shared memory.
func futexWake(p *uint32) error {
	_, _, errno := unix.Syscall(unix.SYS_FUTEX, uintptr(unsafe.Pointer(p)), futexOpWake, 1<<30)
	if errno != 0 {
		return fmt.Errorf("futex wake: %w", errno)
	}
	return nil
}
