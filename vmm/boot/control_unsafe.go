// SPDX-License-Identifier: Apache-2.0

package boot

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

// WakeVcpu wakes a vCPU that sleeps on its pending word.
func WakeVcpu(v *abi.Vcpu) error {
	const futexWake = 1
	_, _, errno := unix.Syscall(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&v.Pending)), futexWake, 1<<30)
	if errno != 0 {
		return fmt.Errorf("futex wake: %w", errno)
	}
	return nil
}
