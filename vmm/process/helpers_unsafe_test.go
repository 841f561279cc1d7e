// SPDX-License-Identifier: Apache-2.0

package process

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/paracell/paracell/xgate/abi"
)

func controlIn(b []byte) *abi.Control { return (*abi.Control)(unsafe.Pointer(unsafe.SliceData(b))) }

// futexSleep waits on a word of shared memory as the monitor does.
func futexSleep(p *uint32, val uint32) {
	_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(p)), futexOpWait, uintptr(val), 0, 0, 0)
}

func futexSleepPending(p *uint64, val uint32) { futexSleep((*uint32)(unsafe.Pointer(p)), val) }
