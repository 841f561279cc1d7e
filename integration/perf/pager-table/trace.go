// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// tracer watches when the host's scheduler lets the processes of a cell run, by
// the host's own events (sched_switch, sched_waking): what a guest takes for a
// pause of its own may be the host's, which has other work to do.
type tracer struct {
	root    string       // where tracefs is
	mounted bool         // by us
	dir     string       // instance
	tasks   map[int]bool // that stand for the guest's processor
	serving map[int]bool // of the process that serves the cell, the pager's among them
}

// newTracer makes an instance of tracefs, of which others see nothing.
func newTracer() (_ *tracer, err error) {
	t := &tracer{root: "/sys/kernel/tracing", tasks: map[int]bool{}, serving: map[int]bool{}}
	if _, err := os.Stat(filepath.Join(t.root, "trace")); err != nil {
		if t.root, err = os.MkdirTemp("", "pager-table-trace-"); err != nil {
			return nil, err
		}
		if err := unix.Mount("tracefs", t.root, "tracefs", 0, ""); err != nil {
			return nil, errors.Join(fmt.Errorf("mount tracefs: %w", err), os.Remove(t.root))
		}
		t.mounted = true
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.close())
		}
	}()
	dir := filepath.Join(t.root, "instances", fmt.Sprintf("pager-table-%d", os.Getpid()))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	t.dir = dir
	for _, s := range [][2]string{
		{"trace_clock", "x86-tsc"}, {"buffer_size_kb", "16384"}, {"options/event-fork", "1"}, {"set_event_pid", strconv.Itoa(os.Getpid())},
		{"events/sched/sched_switch/enable", "1"}, {"events/sched/sched_waking/enable", "1"},
	} {
		if err := os.WriteFile(filepath.Join(dir, s[0]), []byte(s[1]), 0); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// wrap is the command that runs another one, which is watched from its beginning
// with all that it starts.
func (t *tracer) wrap(line ...string) []string {
	return append([]string{"/bin/sh", "-c", `echo $$ >"$0" && exec "$@"`, filepath.Join(t.dir, "set_event_pid")}, line...)
}

// look remembers the tasks below pid; itself stands for the guest's processor too
// unless it serves a cell.
func (t *tracer) look(pid int, serves bool) {
	if t == nil {
		return
	}
	for _, p := range descendants(pid) {
		into := t.tasks
		if p == pid && serves {
			into = t.serving
		}
		tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", p))
		if err != nil {
			continue // it has ended
		}
		for _, e := range tasks {
			if tid, err := strconv.Atoi(e.Name()); err == nil {
				into[tid] = true
			}
		}
	}
}

func (t *tracer) close() error {
	var err error
	if t.dir != "" {
		for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			if err = os.Remove(t.dir); err == nil {
				break
			}
		}
	}
	if t.mounted {
		err = errors.Join(err, unix.Unmount(t.root, unix.MNT_DETACH), os.Remove(t.root))
	}
	return err
}

// What a task does at a moment.
const (
	isBlocked = iota
	isWaiting // for a processor
	isRunning
)

// change of what a task does; at is of the time stamp counter.
type change struct {
	at     int64
	task   int
	state  int
	cpu    int // where it runs, or waits to
	waking bool
	by     int // who wakes it
}

// timeline reads what has been seen of the tasks.
func (t *tracer) timeline() (*timeline, error) {
	f, err := os.Open(filepath.Join(t.dir, "trace"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var cell, serving []change
	for s := bufio.NewScanner(f); s.Scan(); {
		for _, c := range parseEvent(s.Text()) {
			switch {
			case t.tasks[c.task]:
				cell = append(cell, c)
			case t.serving[c.task]:
				serving = append(serving, c)
			}
		}
	}
	return newTimeline(cell, serving), nil
}

// parseEvent reads a line of the trace.
func parseEvent(line string) []change {
	head, text, waking := strings.Cut(line, ": sched_waking: ")
	if !waking {
		var ok bool
		if head, text, ok = strings.Cut(line, ": sched_switch: "); !ok {
			return nil
		}
	}
	at, err := strconv.ParseInt(head[strings.LastIndexByte(head, ' ')+1:], 10, 64)
	if err != nil {
		return nil
	}
	i := strings.LastIndex(head, " [")
	if i < 0 {
		return nil
	}
	if waking {
		return []change{{at: at, task: field(text, " pid="), state: isWaiting, cpu: field(text, " target_cpu="), waking: true, by: field(head[:i], "-")}}
	}
	cpu := field(strings.Replace(head[i:], "]", " ", 1), "[")
	from, to, _ := strings.Cut(text, " ==> ")
	state := isBlocked
	if strings.Contains(from, " prev_state=R") {
		state = isWaiting
	}
	return []change{{at: at, task: field(from, " prev_pid="), state: state, cpu: cpu}, {at: at, task: field(to, " next_pid="), state: isRunning, cpu: cpu}}
}

// field is a number; -1 if it is none. Names of tasks may hold anything, so the
// last place counts.
func field(text, name string) int {
	i := strings.LastIndex(text, name)
	if i < 0 {
		return -1
	}
	digits, _, _ := strings.Cut(text[i+len(name):], " ")
	v, err := strconv.Atoi(digits)
	if err != nil {
		return -1
	}
	return v
}

// timeline says what a cell as a whole does: the best of its tasks.
type timeline struct {
	cell []change
	// serving is what the tasks do that serve it, by task; on where they run, by
	// processor.
	serving, on map[int][]change
}

// newTimeline takes changes in any order.
func newTimeline(cell, serving []change) *timeline {
	byTime := func(a, b change) int { return cmp.Compare(a.at, b.at) }
	slices.SortStableFunc(cell, byTime)
	slices.SortStableFunc(serving, byTime)
	t := &timeline{serving: map[int][]change{}, on: map[int][]change{}}
	running := map[int]int{} // task by processor
	for _, c := range serving {
		t.serving[c.task] = append(t.serving[c.task], c)
		switch {
		case c.waking:
		case c.state == isRunning:
			running[c.cpu] = c.task
			t.on[c.cpu] = append(t.on[c.cpu], c)
		case running[c.cpu] == c.task:
			delete(running, c.cpu)
			t.on[c.cpu] = append(t.on[c.cpu], c)
		}
	}
	states := map[int]int{}
	for _, c := range cell {
		if c.waking && states[c.task] == isRunning {
			continue // it was about to sleep
		}
		states[c.task] = c.state
		best := isBlocked
		for _, state := range states {
			best = max(best, state)
		}
		n := len(t.cell)
		if n > 0 && t.cell[n-1].state == best {
			continue
		}
		if n > 0 && t.cell[n-1].state == isBlocked {
			t.cell[n-1].by = c.by
		}
		t.cell = append(t.cell, change{at: c.at, state: best, cpu: c.cpu})
	}
	return t
}

// share of a time, in ticks, in which nobody of the cell ran.
type share struct {
	// waited: somebody would have, but another task did on its processor; served
	// of that was one that serves the cell.
	waited, served int64
	// blocked: all of it waited for something else; held of that for one that
	// serves the cell, while other tasks of the host ran instead of it, and
	// foreign for one that does not.
	blocked, held, foreign int64
}

// share of [from, to).
func (t *timeline) share(from, to int64) (s share) {
	each(t.cell, from, to, func(c change, from, to int64) {
		switch c.state {
		case isWaiting:
			s.waited += to - from
			each(t.on[c.cpu], from, to, func(c change, from, to int64) {
				if c.state == isRunning {
					s.served += to - from
				}
			})
		case isBlocked:
			s.blocked += to - from
			server := t.serving[c.by]
			if len(server) == 0 {
				s.foreign += to - from
			}
			each(server, from, to, func(c change, from, to int64) {
				if c.state == isWaiting {
					s.held += to - from
				}
			})
		}
	})
	return s
}

// each calls f for the parts of [from, to).
func each(changes []change, from, to int64, f func(c change, from, to int64)) {
	i, _ := slices.BinarySearchFunc(changes, from, func(c change, at int64) int { return cmp.Compare(c.at, at) })
	for i = max(i-1, 0); i < len(changes) && changes[i].at < to; i++ {
		until := to
		if i+1 < len(changes) {
			until = min(until, changes[i+1].at)
		}
		if begin := max(changes[i].at, from); until > begin {
			f(changes[i], begin, until)
		}
	}
}
