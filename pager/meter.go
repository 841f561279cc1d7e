// SPDX-License-Identifier: Apache-2.0

package pager

import "time"

// meter measures what a host call costs: the processor time of the thread, which
// other work on the machine does not change much. The goroutine stays on it.
type meter struct{ cpu time.Duration }

func startMeter() meter { return meter{threadTime()} }

// read returns the cost since the start.
func (m *meter) read() time.Duration { return threadTime() - m.cpu }

// Taking back the memory of a burst takes a processor for a while, and it may be
// the one that the guest runs on: then the guest stands still as long. So there
// is a rest after a piece of work, for the guest to run in.
const (
	paceWork = 300 * time.Microsecond
	paceRest = 100 * time.Microsecond
)

// pacer says when to rest.
type pacer struct{ since time.Time }

// begin is called when work begins after something else.
func (p *pacer) begin() { p.since = time.Now() }

// rest waits when it is time to.
func (p *pacer) rest() {
	if time.Since(p.since) < paceWork {
		return
	}
	_ = pause(paceRest)
	p.begin()
}
