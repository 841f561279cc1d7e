// SPDX-License-Identifier: Apache-2.0

package pager

import (
	"time"

	"golang.org/x/sys/unix"
)

// meter measures what a host call costs: the processor time of the thread, which
// other work on the machine does not change much. When the goroutine has moved to
// another thread, it is the time that has passed.
type meter struct {
	thread int
	cpu    time.Duration
	wall   time.Time
}

func startMeter() meter {
	return meter{unix.Gettid(), threadTime(), time.Now()}
}

// read returns the cost since the start, and the time that has passed.
func (m *meter) read() (cost, passed time.Duration) {
	cpu, passed := threadTime(), time.Since(m.wall)
	if unix.Gettid() != m.thread || cpu < m.cpu {
		return passed, passed
	}
	return min(cpu-m.cpu, passed), passed
}

// threadTime is the processor time of the calling thread, 0 if the host does not
// say.
func threadTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// Taking back the memory of a burst takes a processor for a while, and it may be
// the one that the guest runs on: then the guest stands still as long. So there
// is a rest after a piece of work, for the guest to run in.
const (
	paceWork = 800 * time.Microsecond
	paceRest = 200 * time.Microsecond
)

// pacer says when to rest.
type pacer struct{ worked time.Duration }

// rest is called after work that took so long, and waits when it is time to.
func (p *pacer) rest(took time.Duration) {
	if p.worked += took; p.worked < paceWork {
		return
	}
	p.worked = 0
	// The timers of Go are too coarse for so short a time. That a signal ends
	// it early does no harm.
	pause := unix.NsecToTimespec(int64(paceRest))
	_ = unix.Nanosleep(&pause, nil)
}
