// SPDX-License-Identifier: Apache-2.0

package pager

import (
	"errors"
	"fmt"
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
// scheduler, but for those that make huge pages. A call takes less than a
// millisecond; that long another goroutine may have to wait where GOMAXPROCS is 1,
// and a collection of garbage anywhere.

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

// errNoMemory: the host has none, or a bad page of it. Whoever touches that has the
// trouble; who binds ahead of need does not.
var errNoMemory = errors.New("no memory")

// populated says what went wrong when memory was to be provided (madvise(2)).
func populated(err error) error {
	if errors.Is(err, unix.ENOMEM) || errors.Is(err, unix.EFAULT) || errors.Is(err, unix.EHWPOISON) {
		return fmt.Errorf("%w: %w", errNoMemory, err)
	}
	return err
}

// populate makes the host provide the memory of a mapping.
func populate(mapped []byte) error {
	if len(mapped) == 0 {
		return nil
	}
	return populated(retry(func() syscall.Errno {
		_, _, errno := unix.RawSyscall(unix.SYS_MADVISE, uintptr(unsafe.Pointer(&mapped[0])), uintptr(len(mapped)), unix.MADV_POPULATE_WRITE)
		return errno
	}))
}

// window is where huge pages are made: a place in our address space to which one
// of a file is mapped for a moment. A mapping that stays would have the host's
// khugepaged make huge pages of what has been cut (mm/khugepaged.c).
type window struct{ base, size uintptr }

// newWindow is for pages of size bytes, a power of two.
func newWindow(size uintptr) (*window, error) {
	base, err := raw(unix.SYS_MMAP, 0, 2*size, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE, ^uintptr(0), 0)
	if err != nil {
		return nil, err
	}
	return &window{base, size}, nil
}

func (w *window) close() error {
	_, err := raw(unix.SYS_MUNMAP, w.base, 2*w.size, 0, 0, 0, 0)
	return err
}

// errNoPlace: the host maps no more.
var errNoPlace = errors.New("no place to map a page")

// populate makes the host provide the memory of a file at offset, a multiple of
// the size, in one page if it has one and none of it is there. To find one it may
// have to move others, so Go's scheduler is told. After errNoPlace, which is an
// errNoMemory, there may be something else at the place: the window is not to be
// used again, nor to be closed.
func (w *window) populate(fd int, offset uint64) error {
	at := (w.base + w.size - 1) &^ (w.size - 1)
	if _, err := raw(unix.SYS_MMAP, at, w.size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_FIXED|unix.MAP_NORESERVE, uintptr(fd), uintptr(offset)); err != nil {
		return fmt.Errorf("%w: %w: %w", errNoPlace, errNoMemory, err)
	}
	// Without, it is as many small ones.
	_, _ = raw(unix.SYS_MADVISE, at, w.size, unix.MADV_HUGEPAGE, 0, 0, 0)
	err := populated(retry(func() syscall.Errno {
		_, _, errno := unix.Syscall(unix.SYS_MADVISE, at, w.size, unix.MADV_POPULATE_WRITE)
		return errno
	}))
	if _, closed := raw(unix.SYS_MMAP, at, w.size, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_FIXED|unix.MAP_NORESERVE, ^uintptr(0), 0); closed != nil {
		return fmt.Errorf("%w: %w: %w", errNoPlace, errNoMemory, closed)
	}
	return err
}

func raw(call, a, b, c, d, e, f uintptr) (uintptr, error) {
	r, _, errno := unix.RawSyscall6(call, a, b, c, d, e, f)
	if errno != 0 {
		return 0, errno
	}
	return r, nil
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

// exactPauses makes those of the calling thread end when they should, not up to 50
// us later.
func exactPauses() {
	_, _, _ = unix.RawSyscall(unix.SYS_PRCTL, unix.PR_SET_TIMERSLACK, 1, 0) // a wish
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
