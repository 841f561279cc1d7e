// SPDX-License-Identifier: Apache-2.0

package pager

import "time"

// meter measures what a host call costs: the processor time of the thread, which
// other work on the machine does not change much. The goroutine stays on it.
type meter struct {
	cpu  time.Duration
	wall time.Time
}

func startMeter() meter { return meter{threadTime(), time.Now()} }

// read returns the cost since the start, and the time that has passed.
func (m *meter) read() (cost, passed time.Duration) {
	return threadTime() - m.cpu, time.Since(m.wall)
}

// Taking back the memory of a burst takes a processor for a while, and it may be
// the one that the guest runs on: then the guest stands still as long. So there
// is a rest after a piece of work, for the guest to run in.
const (
	paceWork = 400 * time.Microsecond
	paceRest = 100 * time.Microsecond
)

// pacer says when to rest.
type pacer struct{ worked time.Duration }

// rest is called after work that took so long, and waits when it is time to.
func (p *pacer) rest(took time.Duration) {
	if p.worked += took; p.worked < paceWork {
		return
	}
	p.worked = 0
	_ = pause(paceRest)
}
