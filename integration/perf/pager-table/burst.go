// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/paracell/paracell/runtime/figures"
)

const (
	// burstTimes is how many bursts a cell has, burstPause how long it is
	// watched after each of them.
	burstTimes = 4
	burstPause = 1500 * time.Millisecond
	// early is the time in which memory goes back with a quick policy.
	early = 300 * time.Millisecond
	// longStall is what a guest shall not stand still.
	longStall = time.Millisecond
)

// stall of the program, in ns.
type stall struct {
	took int64
	host int64 // of it, for which others on the host are the reason
	spin bool
}

// stalls of one side, while memory goes back or later.
type stalls struct {
	watched time.Duration
	all     []stall
}

// longest of those that f wants, by a measure in ns; in ms.
func (s *stalls) longest(wanted func(stall) bool, by func(stall) int64) float64 {
	var most int64
	for _, x := range s.all {
		if wanted(x) {
			most = max(most, by(x))
		}
	}
	return float64(most) / 1e6
}

// rate is how many per second are longer than longStall.
func (s *stalls) rate(by func(stall) int64) float64 {
	n := 0
	for _, x := range s.all {
		if by(x) > int64(longStall) {
			n++
		}
	}
	return float64(n) / s.watched.Seconds()
}

// bursts is what one side shows.
type bursts struct {
	back, freeing []float64 // ms
	early, later  stalls
}

// read takes the output of the program, what the scheduler did and the samples.
func (b *bursts) read(out string, seen *timeline, samples []figures.Sample) error {
	var down, up, from int64
	type place struct{ from, to int64 }
	var all []stall
	var places []place
	for line := range strings.Lines(out) {
		var at, took, tsc int64
		var p place
		var kind string
		switch {
		case scan(line, "up %d", &at):
			up = at
		case scan(line, "down %d %d", &at, &took):
			down = at
			b.freeing = append(b.freeing, float64(took)/1e6)
		case scan(line, "from %d", &from):
			all, places = nil, nil
		case scan(line, "stall %d %d %d %s", &p.from, &p.to, &took, &kind):
			s := seen.share(p.from, p.to)
			scale := float64(took) / float64(max(p.to-p.from, 1))
			all = append(all, stall{took: took, spin: kind == "spin", host: int64(scale * float64(s.waited-s.served+s.held+s.foreign))})
			places = append(places, p)
		case scan(line, "later %d %d", &at, &tsc):
			b.early.watched += early
			b.later.watched += time.Duration(at-down) - early
			until := from + int64(float64(tsc-from)*float64(early)/float64(at-down))
			for i, s := range all {
				if places[i].from < until {
					b.early.all = append(b.early.all, s)
				} else {
					b.later.all = append(b.later.all, s)
				}
			}
			if after, ok := wentBack(samples, up, down, at); ok {
				b.back = append(b.back, after.Seconds()*1e3)
			}
		}
	}
	if len(b.freeing) == 0 {
		return fmt.Errorf("odd output: %q", out)
	}
	return nil
}

func scan(line, format string, into ...any) bool {
	_, err := fmt.Sscanf(line, format, into...)
	return err == nil
}

// wentBack is how long after the end of a burst the host has its memory again.
func wentBack(samples []figures.Sample, up, down, later int64) (time.Duration, bool) {
	var high uint64
	for _, s := range samples {
		at := s.Time.UnixNano()
		switch {
		case at < up-int64(200*time.Millisecond) || at > later:
		case at <= down:
			high = max(high, s.Resident)
		case s.Resident+1000<<20 < high:
			return time.Duration(at - down), true
		}
	}
	return 0, false
}

// native runs the program on the host, as a cell's would.
func (t *table) native(trace *tracer, line ...string) (string, error) {
	line = trace.wrap(line...)
	cmd := exec.CommandContext(t.ctx, line[0], line[1:]...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	if err := cmd.Start(); err != nil {
		return "", err
	}
	var preferring sync.WaitGroup
	preferring.Go(func() { prefer(cmd.Process.Pid) })
	preferring.Go(func() { trace.look(cmd.Process.Pid, false) })
	defer preferring.Wait()
	err := cmd.Wait()
	return out.String(), err
}

// burst: 1 GiB is touched and freed.
func (t *table) burst() error {
	t.printf("## After a burst of 1 GiB\n\nThe program goes on with small allocations and looks at the clock: \"early\" in the first %v after the end of a burst, when memory goes back, and \"later\", when nothing does. "+
		"The host's scheduler tells for each of its stalls how long the cell waited for a processor on which others than its pager ran, for a lock of its pager while that waited for a processor, or for a lock of a stranger. "+
		"What is left is its own: its kernel's, and the pager's.\n", early)
	t.printf("\n| side | memory is back after: median, longest | freeing takes | | longest stall | per s above 1 ms | longest, without the host's others: in a call | in a spin | per s above 1 ms |\n|---|---|---|---|---|---|---|---|---|\n")
	program := filepath.Join(t.repo, "bin/perf/burst")
	args := []string{program, "1024", fmt.Sprint(burstPause.Seconds()), fmt.Sprint(burstTimes)}
	sides := strings.Split(t.sides, ",")
	all := map[string]*bursts{}
	for round := range t.rounds {
		for _, side := range sides {
			if err := t.burstOf(all, side, args, round == 0); err != nil {
				return fmt.Errorf("%s: %w", side, err)
			}
		}
	}
	any := func(stall) bool { return true }
	call := func(s stall) bool { return !s.spin }
	spin := func(s stall) bool { return s.spin }
	took := func(s stall) int64 { return s.took }
	own := func(s stall) int64 { return s.took - s.host }
	for _, side := range sides {
		b := all[side]
		back := "never"
		if len(b.back) == len(b.freeing) {
			back = fmt.Sprintf("%.0f ms, %.0f ms", median(b.back), percentile(b.back, 1))
		}
		for i, s := range []*stalls{&b.early, &b.later} {
			name := []string{"early", "later"}[i]
			t.printf("| %s | %s | %.0f ms | %s | %.2f ms | %.2f | %.2f ms | %.2f ms | %.2f |\n", side, back, median(b.freeing), name,
				s.longest(any, took), s.rate(took), s.longest(call, own), s.longest(spin, own), s.rate(own))
			side, back = "", ""
		}
	}
	t.printf("\n")
	return nil
}

// burstOf runs one side once.
func (t *table) burstOf(all map[string]*bursts, side string, args []string, draw bool) (err error) {
	trace, err := newTracer()
	if err != nil {
		return err
	}
	defer func() {
		if e := trace.close(); err == nil {
			err = e
		}
	}()
	var out string
	var samples []figures.Sample
	if side == "host" {
		out, err = t.native(trace, args...)
	} else {
		var r *result
		if r, err = t.tracedCell(trace, side, "2G", 10*time.Millisecond, strings.Join(args, " ")); err == nil {
			out, samples = r.out, r.samples
			if draw {
				err = t.series("burst-"+side, samples)
			}
		}
	}
	if err != nil {
		return err
	}
	seen, err := trace.timeline()
	if err != nil {
		return err
	}
	if all[side] == nil {
		all[side] = &bursts{}
	}
	return all[side].read(out, seen, samples)
}
