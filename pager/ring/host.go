// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"errors"
	"fmt"
	"sync/atomic"
)

// ErrCorrupt: the guest wrote something into the shared area that no guest
// kernel of ours writes. The cell has to end.
var ErrCorrupt = errors.New("corrupt pager ring")

// Intent is an entry of the ring, checked.
type Intent struct {
	// Op is OpGive or OpBind.
	Op uint32
	// First frame, and how many.
	First, Count uint64
}

// Host is the host's end. Its methods belong to one goroutine, but for the
// setters and figures (Set*, Guest), which may be called at any time.
type Host struct {
	area   *Area
	frames uint64
	head   uint64
	words  []uint32
	// attached is words, for other goroutines.
	attached atomic.Pointer[[]uint32]
	rules    Table
}

// NewHost prepares the shared area in the control area of a cell of so many
// frames. The guest must not run yet.
func NewHost(control []byte, frames uint64) (*Host, error) {
	a, err := areaOf(control)
	if err != nil {
		return nil, err
	}
	if frames == 0 || frames > FrameMask {
		return nil, fmt.Errorf("pager: %d frames", frames)
	}
	h := &Host{area: a, frames: frames, rules: Rules}
	atomic.StoreUint32(&a.Sleeping, SleepDeep)
	atomic.StoreUint32(&a.Version, Version)
	return h, nil
}

// SetFlags writes Area.Flags.
func (h *Host) SetFlags(flags uint32) { atomic.StoreUint32(&h.area.Flags, flags) }

// SetEpoch writes Area.Epoch.
func (h *Host) SetEpoch(epoch uint32) { atomic.StoreUint32(&h.area.Epoch, epoch) }

// SetAhead writes Area.AheadMax and Area.BindGrain.
func (h *Host) SetAhead(most, grain uint32) {
	atomic.StoreUint32(&h.area.AheadMax, most)
	atomic.StoreUint32(&h.area.BindGrain, grain)
}

// AskReclaim asks for so many frames of page cache, under a number that
// ReclaimDone takes. The guest looks when IRQ is raised.
func (h *Host) AskReclaim(seq uint32, frames uint64) {
	atomic.StoreUint64(&h.area.ReclaimFrames, frames)
	atomic.StoreUint32(&h.area.ReclaimSeq, seq)
}

// ReclaimDone says whether the request has been carried out (the guest's word).
func (h *Host) ReclaimDone(seq uint32) bool { return atomic.LoadUint32(&h.area.ReclaimAck) == seq }

// Guest copies the guest's figures: its own word, for metrics only.
func (h *Host) Guest() GuestStats {
	s := &h.area.Stats
	return GuestStats{
		FreeFrames:    atomic.LoadUint64(&s.FreeFrames),
		CacheFrames:   atomic.LoadUint64(&s.CacheFrames),
		ColdFrames:    atomic.LoadUint64(&s.ColdFrames),
		Taken:         atomic.LoadUint64(&s.Taken),
		Given:         atomic.LoadUint64(&s.Given),
		TakenUnbound:  atomic.LoadUint64(&s.TakenUnbound),
		TakenBinding:  atomic.LoadUint64(&s.TakenBinding),
		TakenAhead:    atomic.LoadUint64(&s.TakenAhead),
		ZeroSkipped:   atomic.LoadUint64(&s.ZeroSkipped),
		Waits:         atomic.LoadUint64(&s.Waits),
		WaitCycles:    atomic.LoadUint64(&s.WaitCycles),
		WaitMaxCycles: atomic.LoadUint64(&s.WaitMaxCycles),
		Kicks:         atomic.LoadUint64(&s.Kicks),
		Reclaimed:     atomic.LoadUint64(&s.Reclaimed),
	}
}

// Attach finds the table of words, once the guest has said where it is; until
// then it returns false. memory gives a piece of guest memory by GPA.
func (h *Host) Attach(memory func(gpa, n uint64) ([]byte, error)) (bool, error) {
	if h.words != nil {
		return true, nil
	}
	// The guest writes the number last.
	n := atomic.LoadUint64(&h.area.TableFrames)
	if n == 0 {
		return false, nil
	}
	gpa := atomic.LoadUint64(&h.area.TableGPA)
	if n != h.frames || gpa%FrameSize != 0 {
		return false, fmt.Errorf("%w: table of %d words at %#x; the cell has %d frames", ErrCorrupt, n, gpa, h.frames)
	}
	b, err := memory(gpa, n*4)
	if err != nil {
		return false, fmt.Errorf("%w: table of words: %w", ErrCorrupt, err)
	}
	h.words = wordsOf(b)
	h.attached.Store(&h.words)
	return true, nil
}

// Read appends what is in the ring to buf and takes it out. The tail is looked
// at once, so one call returns at most Entries intents.
func (h *Host) Read(buf []Intent) ([]Intent, error) {
	tail := atomic.LoadUint64(&h.area.Tail)
	if tail-h.head > Entries {
		return buf, fmt.Errorf("%w: producer %d, consumer %d, %d entries", ErrCorrupt, tail, h.head, Entries)
	}
	for ; h.head != tail; h.head++ {
		i, err := h.intent(atomic.LoadUint64(&h.area.Ring[h.head%Entries]))
		if err != nil {
			return buf, err
		}
		buf = append(buf, i)
	}
	atomic.StoreUint64(&h.area.Head, h.head)
	return buf, nil
}

// intent checks one entry.
func (h *Host) intent(e uint64) (Intent, error) {
	i := Intent{Op: uint32(e >> OpShift), First: e & FrameMask, Count: e >> CountShift & CountMask}
	switch {
	case i.Op != OpGive && i.Op != OpBind:
		return i, fmt.Errorf("%w: operation %d", ErrCorrupt, i.Op)
	case i.Count == 0 || i.First >= h.frames || i.Count > h.frames-i.First:
		return i, fmt.Errorf("%w: %d frames at %#x; the cell has %#x", ErrCorrupt, i.Count, i.First, h.frames)
	}
	return i, nil
}

// Overflowed says whether entries have been lost since the last call.
func (h *Host) Overflowed() bool { return atomic.SwapUint32(&h.area.Overflow, 0) != 0 }

// Sleep announces that the host will not look at the ring until it is notified,
// or, with SleepNap, for a short time. It returns false if there is something in
// the ring already.
func (h *Host) Sleep(depth uint32) bool {
	atomic.StoreUint32(&h.area.Sleeping, depth)
	if atomic.LoadUint64(&h.area.Tail) != h.head {
		h.Awake()
		return false
	}
	return true
}

// Awake ends Sleep before the guest has.
func (h *Host) Awake() { atomic.StoreUint32(&h.area.Sleeping, SleepNot) }

// Waiting says whether there is something in the ring.
func (h *Host) Waiting() bool { return atomic.LoadUint64(&h.area.Tail) != h.head }

// Frames is the number of frames of the cell.
func (h *Host) Frames() uint64 { return h.frames }

// Word reads the word of a frame. Attach has returned true.
func (h *Host) Word(frame uint64) Word { return Word(atomic.LoadUint32(&h.words[frame])) }

// Count is the number of frames in a state now. It reads the whole table and may
// be called at any time while guest memory is mapped.
func (h *Host) Count(s State) uint64 {
	words := h.attached.Load()
	if words == nil {
		return 0
	}
	n := uint64(0)
	add := func(w Word) {
		if w.State() == s {
			n++
		}
	}
	pairs := pairsOf(*words)
	for i := range pairs {
		pair := atomic.LoadUint64(&pairs[i])
		if pair == 0 && s != StateUnbound {
			continue // most of a table, as a rule
		}
		add(Word(pair))
		add(Word(pair >> 32))
	}
	if odd := len(*words) % 2; odd != 0 {
		add(Word(atomic.LoadUint32(&(*words)[len(*words)-1])))
	}
	return n
}

// Do lets one event of the host happen to a frame. It returns false if the
// frame was in no state for it.
func (h *Host) Do(e Event, frame uint64, epoch uint32) bool {
	return do(&h.words[frame], &h.rules, e, epoch)
}

func do(word *uint32, rules *Table, e Event, epoch uint32) bool {
	for {
		old := Word(atomic.LoadUint32(word))
		next, verdict := rules.Next(e, old, epoch)
		if verdict != Change {
			return false
		}
		if atomic.CompareAndSwapUint32(word, uint32(old), uint32(next)) {
			return true
		}
	}
}
