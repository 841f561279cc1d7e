// SPDX-License-Identifier: Apache-2.0

package bringup

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// threadsMax is the kernel's limit on threads, of all processes together.
var threadsMax = "/proc/sys/kernel/threads-max"

// memoryPerThread is what the kernel counts for a thread when it sets that limit:
// eight times its stack (kernel/fork.c), in bytes.
const memoryPerThread = 8 * 16 << 10

// Threads lets the cell have as many threads as any Linux with its memory, and a
// user half of them. The kernel goes by the memory that it has taken into use
// when it starts, which is little. Proc has to be mounted.
func Threads() error {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return fmt.Errorf("memory of the cell: %w", err)
	}
	n := uint64(info.Totalram) * uint64(info.Unit) / memoryPerThread
	if err := os.WriteFile(threadsMax, []byte(strconv.FormatUint(n, 10)), 0); err != nil {
		return fmt.Errorf("limit of threads: %w", err)
	}
	limit := unix.Rlimit{Cur: n / 2, Max: n / 2}
	for _, resource := range []int{unix.RLIMIT_NPROC, rlimitSigpending} {
		if err := unix.Setrlimit(resource, &limit); err != nil {
			return fmt.Errorf("limit of a user's threads: %w", err)
		}
	}
	return nil
}

// rlimitSigpending is RLIMIT_SIGPENDING, which the kernel sets like RLIMIT_NPROC.
const rlimitSigpending = 11
