// SPDX-License-Identifier: Apache-2.0

package process

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// addressOf is the address of memory that Go's allocator does not know.
func addressOf(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }

// futexWake wakes all sleepers on a word of shared memory.
func futexWake(p *uint32) error {
	_, _, errno := unix.Syscall(unix.SYS_FUTEX, uintptr(unsafe.Pointer(p)), futexOpWake, 1<<30)
	if errno != 0 {
		return fmt.Errorf("futex wake: %w", errno)
	}
	return nil
}
