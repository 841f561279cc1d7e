// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

const seen = `# tracer: nop
            cell-10      [000] d..2.  1000: sched_switch: prev_comm=cell prev_pid=10 prev_prio=120 prev_state=R ==> next_comm=a - [001] b next_pid=77 next_prio=120
        a - [001] b-77   [000] d..2.  1200: sched_switch: prev_comm=a prev_pid=77 prev_prio=120 prev_state=S ==> next_comm=cell next_pid=10 next_prio=120
           shim-20       [001] d..2.  1250: sched_switch: prev_comm=shim prev_pid=20 prev_prio=120 prev_state=R+ ==> next_comm=b next_pid=78 next_prio=120
            cell-10      [000] d..2.  1300: sched_switch: prev_comm=cell prev_pid=10 prev_prio=120 prev_state=D ==> next_comm=swapper/0 next_pid=0 next_prio=120
              b-78       [001] d..2.  1450: sched_switch: prev_comm=b prev_pid=78 prev_prio=120 prev_state=S ==> next_comm=shim next_pid=20 next_prio=120
           shim-20       [001] d..3.  1500: sched_waking: comm=cell pid=10 prio=120 target_cpu=000
         <idle>-0        [000] d..2.  1510: sched_switch: prev_comm=swapper/0 prev_pid=0 prev_prio=120 prev_state=R ==> next_comm=cell next_pid=10 next_prio=120
            cell-10      [000] d..2.  2000: sched_switch: prev_comm=cell prev_pid=10 prev_prio=120 prev_state=D ==> next_comm=swapper/0 next_pid=0 next_prio=120
        kdamond.0-9      [001] d..3.  2400: sched_waking: comm=cell pid=10 prio=120 target_cpu=000
         <idle>-0        [000] d..2.  2400: sched_switch: prev_comm=swapper/0 prev_pid=0 prev_prio=120 prev_state=R ==> next_comm=cell next_pid=10 next_prio=120
            cell-10      [001] d..2.  3000: sched_switch: prev_comm=cell prev_pid=10 prev_prio=120 prev_state=R ==> next_comm=shim next_pid=20 next_prio=120
           shim-20       [001] d..2.  3100: sched_switch: prev_comm=shim prev_pid=20 prev_prio=120 prev_state=S ==> next_comm=a next_pid=77 next_prio=120
              a-77       [001] d..2.  3300: sched_switch: prev_comm=a prev_pid=77 prev_prio=120 prev_state=S ==> next_comm=cell next_pid=10 next_prio=120
no event at all
`

// TestShare: each reason for which a cell stands still is told from the others.
func TestShare(t *testing.T) {
	var cell, serving []change
	for line := range strings.Lines(seen) {
		for _, c := range parseEvent(strings.TrimSuffix(line, "\n")) {
			switch c.task {
			case 10:
				cell = append(cell, c)
			case 20:
				serving = append(serving, c)
			}
		}
	}
	line := newTimeline(cell, serving)
	for _, c := range []struct {
		from, to int64
		want     share
	}{
		{900, 1000, share{}},
		{1000, 1200, share{waited: 200}},
		{1100, 1250, share{waited: 100}},
		{1300, 1510, share{waited: 10, blocked: 200, held: 150}},
		{1900, 2500, share{blocked: 400, foreign: 400}},
		{2900, 3400, share{waited: 300, served: 100}},
	} {
		if got := line.share(c.from, c.to); got != c.want {
			t.Errorf("[%d, %d): %+v, not %+v", c.from, c.to, got, c.want)
		}
	}
}
