// SPDX-License-Identifier: Apache-2.0

package process

import (
	"fmt"

	"golang.org/x/sys/unix"
)

const (
	// reservedPids are the lowest process numbers, which the host gives only
	// once (RESERVED_PIDS of kernel/pid.c).
	reservedPids = 300
	// spareProcesses are those of a cell that are no address spaces: the
	// warden, slot 0, and what has ended but has not been waited for.
	spareProcesses = 16
)

// pidLimit is the kernel.pid_max of the PID namespace of a cell with so many
// slots, or 0 if it has to be left alone: before Linux 6.14 it is the whole
// host's. The cell has at most so many processes, whoever makes them.
func pidLimit(slots uint32) uint64 {
	var name unix.Utsname
	var major, minor int
	if err := unix.Uname(&name); err != nil {
		return 0
	}
	if n, _ := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &major, &minor); n != 2 {
		return 0
	}
	if major < 6 || major == 6 && minor < 14 {
		return 0
	}
	return uint64(slots) + reservedPids + spareProcesses
}
