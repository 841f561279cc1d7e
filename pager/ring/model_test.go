// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"fmt"
	"testing"
)

// The model: two guest CPUs and the host over a few frames, every interleaving
// of their loads, compare-and-swaps and accesses to memory. A frame is in the
// free lists (which the guest's own lock protects) or belongs to one CPU.

const modelFrames = 2

// frame of the model. stamp and epoch are left out: they only decide when the
// host tries.
type frame struct {
	word  Word
	data  uint8 // 0 or what a CPU wrote: 1 + CPU
	bound bool
	owner uint8 // 1 + CPU that has it, 0 free
}

// Steps of a CPU.
const (
	cpuIdle    = iota
	cpuTakeCAS // has loaded the word of a frame that it took off the lists
	cpuUse     // the word says that it is taken: look at the content, write
	cpuWritten // owns the frame with its own data in it
	cpuGiveCAS // has checked the data and loaded the word
)

type cpu struct {
	step  uint8
	frame uint8
	seen  Word
}

// Steps of the host, which does one thing at a time.
const (
	hostIdle     = iota
	hostStartCAS // has loaded the word
	hostWork     // the word says BINDING or UNBINDING: populate or punch
	hostDoneLoad
	hostDoneCAS
)

type host struct {
	step  uint8
	frame uint8
	bind  bool
	seen  Word
}

type world struct {
	frames [modelFrames]frame
	cpus   [2]cpu
	host   host
}

// machine is the table as the model uses it, and what has been used of it.
type machine struct {
	Table
	claimZero func(Word) bool
	// met are the states that events have found, changed the events that
	// have changed something.
	met     [NumEvents][NumStates]bool
	changed [NumEvents]bool
}

// next is Table.Next.
func (m *machine) next(e Event, w Word) (Word, Verdict) {
	n, verdict := m.Next(e, w, 0)
	if w.State() < NumStates {
		m.met[e][w.State()] = true
	}
	if verdict == Change {
		m.changed[e] = true
	}
	return n, verdict
}

// explore walks all reachable worlds and returns what is wrong with the first
// bad one, and how many there are. An event that never does anything is wrong
// as well.
func explore(rules *machine) (worlds int, err error) {
	seen := map[world]bool{}
	var start world
	// A frame that was in use at boot, and one that was not.
	start.frames[1] = frame{word: StateBound, data: 1, bound: true, owner: 1}
	start.cpus[0] = cpu{step: cpuWritten, frame: 1}
	todo := []world{start}
	seen[start] = true
	for len(todo) > 0 {
		w := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		next, err := steps(w, rules)
		if err != nil {
			return len(seen), fmt.Errorf("%w in %+v", err, w)
		}
		if len(next) == 0 {
			return len(seen), fmt.Errorf("nobody can go on in %+v", w)
		}
		for _, n := range next {
			if err := check(&n); err != nil {
				return len(seen), fmt.Errorf("%w after %+v: %+v", err, w, n)
			}
			if !seen[n] {
				seen[n] = true
				todo = append(todo, n)
			}
		}
	}
	for e, changed := range rules.changed {
		if !changed {
			return len(seen), fmt.Errorf("%v never changes anything", Event(e))
		}
	}
	return len(seen), nil
}

// check is what holds at any time.
func check(w *world) error {
	for i := range w.frames {
		f := &w.frames[i]
		switch s := f.word.State(); {
		case s == StateUnbound && f.data != 0:
			return fmt.Errorf("frame %d: UNBOUND with content", i)
		case s == StateUnbound && f.owner != 0 && !taking(w, i):
			return fmt.Errorf("frame %d: UNBOUND and in use", i)
		case s == StateBinding && f.data != 0:
			return fmt.Errorf("frame %d: BINDING with content", i)
		case f.word&Zero != 0 && s != StateBound && s != StateFreePending:
			return fmt.Errorf("frame %d: zero and %v", i, s)
		case s == StateBound && f.owner == 0:
			return fmt.Errorf("frame %d: free and BOUND, lost to the host", i)
		case (s == StateBinding || s == StateUnbinding) && !(w.host.step >= hostWork && int(w.host.frame) == i):
			return fmt.Errorf("frame %d: %v and the host does not work on it", i, s)
		}
	}
	return nil
}

// taking says whether the owner of a frame has not got as far as its word.
func taking(w *world, frame int) bool {
	for _, c := range w.cpus {
		if c.step == cpuTakeCAS && int(c.frame) == frame {
			return true
		}
	}
	return false
}

// steps returns every world that one step of somebody leads to.
func steps(w world, rules *machine) ([]world, error) {
	var out []world
	for c := range w.cpus {
		next, err := cpuSteps(w, c, rules)
		if err != nil {
			return nil, err
		}
		out = append(out, next...)
	}
	next, err := hostSteps(w, rules)
	return append(out, next...), err
}

func cpuSteps(w world, c int, rules *machine) (out []world, err error) {
	me := w.cpus[c]
	f := w.frames[me.frame]
	mine := uint8(1 + c)
	with := func(n cpu, changed frame) []world {
		v := w
		v.frames[me.frame], v.cpus[c] = changed, n
		return []world{v}
	}
	switch me.step {
	case cpuIdle:
		for i := range w.frames {
			if w.frames[i].owner == 0 {
				v := w
				v.frames[i].owner = mine
				v.cpus[c] = cpu{step: cpuTakeCAS, frame: uint8(i), seen: v.frames[i].word}
				out = append(out, v)
			}
		}
		return out, nil
	case cpuTakeCAS:
		next, verdict := rules.next(Take, me.seen)
		switch verdict {
		case Bad:
			return nil, fmt.Errorf("CPU %d finds frame %d %v", c, me.frame, me.seen.State())
		case Wait, Skip:
			if f.word == me.seen {
				if verdict == Wait && (w.host.step < hostWork || w.host.frame != me.frame) {
					return nil, fmt.Errorf("CPU %d waits for frame %d and the host does not work on it", c, me.frame)
				}
				if verdict == Skip {
					return nil, fmt.Errorf("CPU %d may not take frame %d, %v", c, me.frame, me.seen.State())
				}
				return nil, nil // until the host changes it
			}
			me.seen = f.word
			return with(me, f), nil
		}
		if f.word != me.seen {
			me.seen = f.word
			return with(me, f), nil
		}
		f.word = next &^ Zero
		if rules.claimZero(me.seen) {
			f.word |= Zero
		}
		return with(cpu{step: cpuUse, frame: me.frame}, f), nil
	case cpuUse:
		if f.word.State() != StateBound {
			return nil, fmt.Errorf("CPU %d uses frame %d, which is %v", c, me.frame, f.word.State())
		}
		if f.word&Zero != 0 && f.data != 0 {
			return nil, fmt.Errorf("CPU %d takes frame %d for zero and it is not", c, me.frame)
		}
		// Any touch binds.
		f.word, f.data, f.bound = f.word&^Zero, mine, true
		return with(cpu{step: cpuWritten, frame: me.frame}, f), nil
	case cpuWritten:
		if f.data != mine {
			return nil, fmt.Errorf("CPU %d lost its data in frame %d", c, me.frame)
		}
		// Free it: as long as the word says BOUND nobody else gets it.
		return with(cpu{step: cpuGiveCAS, frame: me.frame, seen: f.word}, f), nil
	case cpuGiveCAS:
		if f.data != mine {
			return nil, fmt.Errorf("CPU %d lost its data in frame %d", c, me.frame)
		}
		next, verdict := rules.next(Give, me.seen)
		if verdict != Change || f.word != me.seen {
			return nil, fmt.Errorf("CPU %d cannot give frame %d, %v", c, me.frame, f.word.State())
		}
		f.word, f.owner = next, 0
		return with(cpu{}, f), nil
	}
	panic("step")
}

func hostSteps(w world, rules *machine) (out []world, err error) {
	me := w.host
	f := w.frames[me.frame]
	with := func(n host, changed frame) []world {
		v := w
		v.frames[me.frame], v.host = changed, n
		return []world{v}
	}
	start, done := UnbindStart, UnbindDone
	if me.bind {
		start, done = BindStart, BindDone
	}
	switch me.step {
	case hostIdle:
		for i := range w.frames {
			for _, bind := range []bool{false, true} {
				v := w
				v.host = host{step: hostStartCAS, frame: uint8(i), bind: bind, seen: v.frames[i].word}
				out = append(out, v)
			}
		}
		return out, nil
	case hostStartCAS:
		next, verdict := rules.next(start, me.seen)
		if verdict != Change || f.word != me.seen {
			return with(host{}, f), nil
		}
		f.word = next
		me.step, me.seen = hostWork, 0
		return with(me, f), nil
	case hostWork:
		if me.bind {
			f.bound = true // never changes content
		} else {
			f.bound, f.data = false, 0
		}
		me.step = hostDoneLoad
		return with(me, f), nil
	case hostDoneLoad:
		me.step, me.seen = hostDoneCAS, f.word
		return with(me, f), nil
	case hostDoneCAS:
		next, verdict := rules.next(done, me.seen)
		if verdict == Bad {
			return nil, fmt.Errorf("host finds frame %d %v at %v", me.frame, me.seen.State(), done)
		}
		if verdict == Skip {
			return with(host{}, f), nil
		}
		if f.word != me.seen {
			me.step = hostDoneLoad
			return with(me, f), nil
		}
		f.word = next
		return with(host{}, f), nil
	}
	panic("step")
}

func TestModel(t *testing.T) {
	m := machine{Table: Rules, claimZero: Word.ReadsAsZero}
	worlds, err := explore(&m)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d worlds", worlds)
	if worlds < 1000 {
		t.Errorf("the model has only %d worlds: it does not explore", worlds)
	}
}

// TestModelFindsPlantedBugs changes every transition that the model meets, one
// at a time, into every other. Each change has to fail.
func TestModelFindsPlantedBugs(t *testing.T) {
	right := machine{Table: Rules, claimZero: Word.ReadsAsZero}
	if _, err := explore(&right); err != nil {
		t.Fatal(err)
	}
	// These only waste time or memory.
	harmless := map[string]string{
		"Take BINDING -> wait":                 "waits for the host, which is not needed",
		"UnbindStart UNBOUND -> UNBINDING":     "punches a hole where there is one",
		"UnbindDone UNBINDING -> FREE_PENDING": "takes the same memory back again",
	}
	planted := 0
	for e := range NumEvents {
		for s := range State(NumStates) {
			if !right.met[e][s] {
				continue
			}
			for _, to := range []uint32{StateUnbound, StateBinding, StateBound, StateFreePending, StateUnbinding, NextSkip, NextWait} {
				broken := machine{Table: Rules, claimZero: Word.ReadsAsZero}
				broken.Table[e] = broken.Table[e]&^(15<<(4*s)) | to<<(4*s)
				if same(&broken.Table, e, s) {
					continue
				}
				planted++
				name := fmt.Sprintf("%v %v -> %s", e, s, target(to))
				_, err := explore(&broken)
				reason, listed := harmless[name]
				switch {
				case err == nil && !listed:
					t.Errorf("%s: not found", name)
				case err != nil && listed:
					t.Errorf("%s is listed as harmless (%s): %v", name, reason, err)
				}
			}
		}
	}
	t.Logf("%d bugs planted", planted)
}

// same says whether a change leaves the meaning of the table as it is.
func same(broken *Table, e Event, s State) bool {
	a, va := Rules.Next(e, Word(s), 0)
	b, vb := broken.Next(e, Word(s), 0)
	if e >= BindStart && vb == Wait {
		vb = Skip // the host does not wait
	}
	return a == b && va == vb
}

func target(to uint32) string {
	switch to {
	case NextSkip:
		return "skip"
	case NextWait:
		return "wait"
	}
	return State(to).String()
}

func TestModelFindsFalseZero(t *testing.T) {
	m := machine{Table: Rules, claimZero: func(Word) bool { return true }}
	if _, err := explore(&m); err == nil {
		t.Error("a cancelled unbind that is taken for zero is not found")
	}
}
