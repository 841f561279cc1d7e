// SPDX-License-Identifier: Apache-2.0

package pager

import (
	"errors"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The pager works in many short host calls. Each of them would, by way of Go's
// scheduler, make another thread take over what this one has to do as soon as it
// takes more than 20 us, and a third one watch for that some ten thousand times a
// second: on the processor that the guest could use. None of them waits for
// anything but locks of the host's, so they are made without telling the
// scheduler. A call takes less than a millisecond; that long another goroutine may
// have to wait where GOMAXPROCS is 1, and a collection of garbage anywhere.

// retry repeats a call that a signal has interrupted; Go's scheduler sends them.
func retry(call func() syscall.Errno) error {
	for {
		switch errno := call(); {
		case errno == 0:
			return nil
		case errno != unix.EINTR && errno != unix.EAGAIN:
			return errno
		}
	}
}

// populate makes the host provide the memory of a mapping.
func populate(mapped []byte) error {
	if len(mapped) == 0 {
		return nil
	}
	return retry(func() syscall.Errno {
		_, _, errno := unix.RawSyscall(unix.SYS_MADVISE, uintptr(unsafe.Pointer(&mapped[0])), uintptr(len(mapped)), unix.MADV_POPULATE_WRITE)
		return errno
	})
}

// punch takes away what is behind n bytes of a file from offset on.
func punch(fd int, offset, n uint64) error {
	return retry(func() syscall.Errno {
		_, _, errno := unix.RawSyscall6(unix.SYS_FALLOCATE, uintptr(fd), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, uintptr(offset), uintptr(n), 0, 0)
		return errno
	})
}

// threadTime is the processor time of the calling thread, 0 if the host does not
// say.
func threadTime() time.Duration {
	var t unix.Timespec
	if _, _, errno := unix.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_THREAD_CPUTIME_ID, uintptr(unsafe.Pointer(&t)), 0); errno != 0 {
		return 0
	}
	return time.Duration(t.Nano())
}

// pause sleeps for less than the timers of Go can. That a signal ends it early
// does no harm.
func pause(d time.Duration) error {
	t := unix.NsecToTimespec(int64(d))
	_, _, errno := unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&t)), 0, 0)
	if errno != 0 && !errors.Is(errno, unix.EINTR) {
		return errno
	}
	return nil
}
