// SPDX-License-Identifier: Apache-2.0

package pager

import (
	"fmt"

	"github.com/paracell/paracell/pager/ring"
	"github.com/paracell/paracell/vmm/memory"
)

// binder moves frames between the states with the host's work in between. It
// belongs to one goroutine.
type binder struct {
	ring     *ring.Host
	memory   *memory.Memory
	prefault func(gpa, n uint64) error
	huge     hugePages
	count    counters
}

const (
	// Frames per host call, but for huge pages. A longer call costs no less per
	// frame, but a guest that needs one of the frames waits for all of them.
	bindRun   = 64
	unbindRun = 256
	// Frames before a run that may go with it.
	neighbours = 64
	// workRun is the shortest run that is taken back while the guest works: a
	// call for one frame costs as much as for ten, and small pieces are what its
	// allocator uses first.
	workRun = 16
)

// bind provides memory for the unbound frames of [first, first+count), and for the
// huge pages in which they are, as far as there is room for so many frames. It
// returns what it has looked at.
func (b *binder) bind(first, count, room uint64, epoch uint32) (from, to uint64, err error) {
	from = first
	f, end := first, first+count
	for f < end {
		if f == first || f%hugeGrain == 0 {
			start := f &^ (hugeGrain - 1)
			done, err := b.bindHuge(start, end, room, epoch)
			if err != nil {
				return from, f, err
			}
			if done {
				from, f, room = min(from, start), start+hugeGrain, room-hugeGrain
				continue
			}
		}
		run := f
		for run < end && run-f < bindRun && (run == f || run%hugeGrain != 0) && b.ring.Do(ring.BindStart, run, epoch) {
			run++
		}
		if run == f {
			f++
			continue
		}
		m := startMeter()
		err := b.populate(f, run-f)
		b.count.bindNs.Add(uint64(m.read()))
		for g := f; g < run; g++ {
			// Nothing is lost if it failed: a touch binds as well.
			b.ring.Do(ring.BindDone, g, epoch)
		}
		if err != nil {
			return from, f, err
		}
		b.count.bindCalls.Add(1)
		b.count.bound.Add(run - f)
		room -= min(room, run-f)
		f = run
	}
	return from, f, nil
}

// populate makes the host provide zeroed memory. Unlike writing zeroes it does
// no harm to a frame that the guest has begun to use meanwhile.
func (b *binder) populate(first, count uint64) error {
	gpa, n := first*ring.FrameSize, count*ring.FrameSize
	s, err := b.memory.Slice(gpa, n)
	if err != nil {
		return err
	}
	if err := populate(s); err != nil {
		return fmt.Errorf("bind %d frames at %#x: %w", count, first, err)
	}
	if b.prefault != nil {
		return b.prefault(gpa, n)
	}
	return nil
}

// discard makes the host take memory away.
func (b *binder) discard(first, count uint64) error {
	gpa, n := first*ring.FrameSize, count*ring.FrameSize
	if err := b.memory.Check(gpa, n); err != nil {
		return err
	}
	if err := punch(int(b.memory.File().Fd()), gpa, n); err != nil {
		return fmt.Errorf("take back %d frames at %#x: %w", count, first, err)
	}
	return nil
}

// taking is how frames are taken back.
type taking struct {
	grain      uint64 // in aligned blocks of so many frames
	least      uint64 // in runs of at least so many, if the grain is 1
	epoch, age uint32 // those that have been free for so many epochs
	// cut is the age from which frames are cut out of a huge page.
	cut uint32
	// left is called for runs that are too short.
	left func(first, count uint64)
	// between is called after every host call.
	between func() error
}

// unbind takes back frames of [first, first+count).
func (b *binder) unbind(first, count uint64, t taking) error {
	grain, epoch, age := t.grain, t.epoch, t.age
	end := first + count
	if grain > 1 {
		first &^= grain - 1
		end = min((end+grain-1)&^(grain-1), b.ring.Frames())
	}
	low := first - min(first, neighbours) // no way back below it, whatever the guest writes
	for f := first; f < end; {
		if grain > 1 && f%grain == 0 && !b.freeBlock(f, min(f+grain, end), epoch, age) {
			f += grain
			continue
		}
		if grain == 1 && b.huge.has(f) {
			next, err := b.unbindHuge(f, end, t)
			if err != nil {
				return err
			}
			if next > f {
				f, low = next, next
				continue
			}
		}
		if b.huge.has(f) { // a block of it
			b.huge.set(f, false)
		}
		from, youngest, last := f, age, end
		if w := b.ring.Word(f); grain == 1 && w.State() == ring.StateFreePending && w.Age(epoch) >= age {
			// A call for one frame costs as much as for ten: neighbours that
			// are nearly due go with it.
			youngest, last = age/2, b.ring.Frames()
			for f > low && !b.huge.has(f-1) && b.due(f-1, epoch, youngest) {
				f--
			}
		}
		if grain == 1 && t.least > 1 {
			next := f + b.dueRun(f, min(last, f+t.least), epoch, youngest)
			switch {
			case next-f >= t.least:
			case next <= from && f < from: // taken meanwhile
				f, low = from, from
				continue
			case next == f:
				f++
				continue
			default:
				t.left(from, next-from)
				f, low = next, next
				continue
			}
		}
		run := f
		for run < last && run-f < max(unbindRun, grain) && (run == f || grain == 1 || run%grain != 0) {
			if run > f && b.huge.has(run) || !b.begin(run, epoch, youngest) {
				break
			}
			run++
		}
		switch {
		case f < from && run == f: // taken meanwhile
			f, low = from, from
			continue
		case run == f:
			f++
			continue
		}
		if err := b.discardRun(f, run-f, t); err != nil {
			return err
		}
		low = run
		f = run
	}
	return nil
}

// discardRun takes back frames that are UNBINDING.
func (b *binder) discardRun(first, count uint64, t taking) error {
	m := startMeter()
	if err := b.discard(first, count); err != nil {
		// The frames stay UNBINDING: their content is not to be relied on.
		return err
	}
	b.count.unbindNs.Add(uint64(m.read()))
	for f := first; f < first+count; f++ {
		b.ring.Do(ring.UnbindDone, f, t.epoch)
	}
	b.count.unbindCalls.Add(1)
	b.count.unbound.Add(count)
	return t.between()
}

// begin makes a frame UNBINDING if it is due.
func (b *binder) begin(f uint64, epoch, age uint32) bool {
	w := b.ring.Word(f)
	if !b.due(f, epoch, age) || !b.ring.Do(ring.UnbindStart, f, epoch) {
		return false
	}
	if w&ring.Zero != 0 {
		b.count.unused.Add(1)
	}
	return true
}

// dueRun counts the frames from first on, up to end, that are due.
func (b *binder) dueRun(first, end uint64, epoch, age uint32) uint64 {
	f := first
	for f < end && (f == first || !b.huge.has(f)) && b.due(f, epoch, age) {
		f++
	}
	return f - first
}

// due says whether a frame has been free for so many epochs.
func (b *binder) due(f uint64, epoch, age uint32) bool {
	w := b.ring.Word(f)
	return w.State() == ring.StateFreePending && w.Age(epoch) >= age
}

// freeBlock says whether all frames have been free long enough.
func (b *binder) freeBlock(first, end uint64, epoch, age uint32) bool {
	for f := first; f < end; f++ {
		switch w := b.ring.Word(f); w.State() {
		case ring.StateUnbound:
		case ring.StateFreePending:
			if w.Age(epoch) < age {
				return false
			}
		default:
			return false
		}
	}
	return true
}
