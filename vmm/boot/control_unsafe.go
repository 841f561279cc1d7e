// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"fmt"
	"unsafe"

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
