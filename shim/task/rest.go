// SPDX-License-Identifier: Apache-2.0

package task

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// restDelay is how long nothing has to happen in a shim until it gives
	// memory back that only work needs.
	restDelay = 2 * time.Second
	// restLast is the longest time between two looks at whether the cell is at
	// rest too; it doubles from restDelay on, and then there are no more.
	restLast = 2 * time.Minute
	// restCalls is what a cell at rest may do between two looks: system calls
	// and faults per second.
	restCalls = 200
	// restPatience is for the cell to give memory back.
	restPatience = 30 * time.Second
)

// rest gives memory back when shim and cell have come to rest: most of them do
// nothing for most of their life.
type rest struct {
	box func() Box // nil: there is none

	mu     sync.Mutex
	timer  *time.Timer // nil before the first disturb
	delay  time.Duration
	ended  bool
	looked uint64         // activity of the cell at the last look, 0: none since disturb
	looks  sync.WaitGroup // the one that is under way
}

// disturb says that something happens.
func (r *rest) disturb() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.againLocked(restDelay)
	r.looked = 0
}

func (r *rest) againLocked(delay time.Duration) {
	r.delay = delay
	switch {
	case r.ended:
	case r.timer == nil:
		r.timer = time.AfterFunc(delay, r.look)
	default:
		r.timer.Reset(delay)
	}
}

// look gives back the shim's memory, and that of a cell that has done nothing
// since the last look; otherwise there will be another one.
func (r *rest) look() {
	r.mu.Lock()
	if r.ended {
		r.mu.Unlock()
		return
	}
	r.looks.Add(1)
	defer r.looks.Done()
	idle, next := true, 2*r.delay
	box := r.box()
	if box != nil {
		if f, ok := box.Figures(); ok {
			now := f.GateCalls + f.RawCalls + f.Faults + 1
			if r.looked == 0 {
				next = r.delay // nothing to compare with yet
			}
			idle = r.looked != 0 && now-r.looked < restCalls*uint64(r.delay/time.Second)
			r.looked = now
		}
	}
	if !idle && r.delay < restLast {
		r.againLocked(next)
	}
	r.mu.Unlock()
	if box != nil && idle {
		ctx, cancel := context.WithTimeout(context.Background(), restPatience)
		defer cancel()
		// A cell that ends meanwhile has none left to give.
		_ = box.Rest(ctx, true)
	}
	_ = giveBack()
}

// stop returns when nothing of it runs any more.
func (r *rest) stop() {
	r.mu.Lock()
	r.ended = true
	if r.timer != nil {
		r.timer.Stop()
	}
	r.mu.Unlock()
	r.looks.Wait()
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
