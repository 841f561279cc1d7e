// SPDX-License-Identifier: Apache-2.0

package task

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// restDelay is how long nothing has to happen in a shim until it gives memory
// back that only work needs.
const restDelay = 2 * time.Second

// rest gives memory back when the shim has come to rest: most of them do nothing
// for most of their life.
type rest struct {
	mu    sync.Mutex
	timer *time.Timer // nil before the first disturb and after stop
	ended bool
}

// disturb says that something happens.
func (r *rest) disturb() {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.ended:
	case r.timer == nil:
		r.timer = time.AfterFunc(restDelay, func() { _ = giveBack() })
	default:
		r.timer.Reset(restDelay)
	}
}

func (r *rest) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	if r.timer != nil {
		r.timer.Stop()
	}
}

// giveBack gives the host free memory of the heap, and the pages of the program
// that are mapped: those that are still needed come back from the page cache,
// at a fraction of a microsecond each.
func giveBack() error {
	debug.FreeOSMemory()
	ranges, err := programRanges()
	for _, r := range ranges {
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, r.start, r.end-r.start, unix.MADV_DONTNEED); errno != 0 {
			err = errors.Join(err, fmt.Errorf("madvise %#x-%#x: %w", r.start, r.end, errno))
		}
	}
	return err
}

type addressRange struct{ start, end uintptr }

// programRanges are the mappings of the program that nobody writes.
func programRanges() ([]addressRange, error) {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return nil, err
	}
	f, err := os.Open("/proc/self/maps")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var ranges []addressRange
	s := bufio.NewScanner(f)
	for s.Scan() {
		line := s.Text()
		var r addressRange
		var perm string
		if !strings.HasSuffix(line, " "+program) {
			continue
		}
		if _, err := fmt.Sscanf(line, "%x-%x %4s", &r.start, &r.end, &perm); err != nil {
			return nil, fmt.Errorf("/proc/self/maps: %w", err)
		}
		if perm == "r-xp" || perm == "r--p" {
			ranges = append(ranges, r)
		}
	}
	return ranges, s.Err()
}
