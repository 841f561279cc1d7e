// SPDX-License-Identifier: Apache-2.0

package pager

import (
	"errors"
	"fmt"

	"github.com/paracell/paracell/pager/ring"
)

// Huge pages of the host make binding three times as fast, and taking back forty
// times. They change nothing about the grain: what the guest frees of one can be
// cut out of it, at a price (the host splits the page, and what was mapped of it
// is mapped anew when it is touched), and is from then on as any other memory.

// hugePages are those of a cell, as far as they were bound by us and have not been
// cut. The zero value is of a cell that can have none. That a page is in it, and
// is none, costs time only.
type hugePages struct {
	window *window
	whole  []uint64 // a bit for each
}

const (
	// hugeAsk is from how many frames on that a guest asks for at a time it gets
	// whole huge pages: its window has opened so far that they are used soon.
	hugeAsk = 384
	// hugeCut is how many frames of a huge page are cut out at once, however young
	// they are: it costs as much per frame as to take back single ones.
	hugeCut = 256
)

func (h *hugePages) open(frames uint64) error {
	w, err := newWindow(hugeGrain * ring.FrameSize)
	if err != nil {
		return fmt.Errorf("a place for huge pages: %w", err)
	}
	h.window, h.whole = w, make([]uint64, frames/hugeGrain/64+1)
	return nil
}

// populate makes one at an offset of the file. If there is no place for it there
// will be none later.
func (h *hugePages) populate(fd int, offset uint64) error {
	err := h.window.populate(fd, offset)
	if errors.Is(err, errNoPlace) {
		h.window = nil
	}
	return err
}

func (h *hugePages) close() {
	if h.window != nil {
		_ = h.window.close()
	}
}

// has says whether frame f is in a whole huge page.
func (h *hugePages) has(f uint64) bool {
	page := f / hugeGrain
	return h.window != nil && h.whole[page/64]>>(page%64)&1 != 0
}

func (h *hugePages) set(f uint64, whole bool) {
	page := f / hugeGrain
	if bit := uint64(1) << (page % 64); whole {
		h.whole[page/64] |= bit
	} else {
		h.whole[page/64] &^= bit
	}
}

// bindHuge binds the huge page at frame first, if all of it is unbound and there is
// room for it beside what else was asked for, as far as end.
func (b *binder) bindHuge(first, end, room uint64, epoch uint32) (bool, error) {
	last := first + hugeGrain
	if b.huge.window == nil || last > b.ring.Frames() || room < hugeGrain+end-min(end, last) {
		return false, nil
	}
	for f := first; f < last; f++ {
		if b.ring.Word(f).State() != ring.StateUnbound {
			return false, nil
		}
	}
	n := uint64(0)
	for f := first; f < last; f++ {
		if b.ring.Do(ring.BindStart, f, epoch) {
			n++
		}
	}
	m := startMeter()
	err := b.huge.populate(int(b.memory.File().Fd()), first*ring.FrameSize)
	b.count.bindNs.Add(uint64(m.read()))
	for f := first; f < last; f++ {
		b.ring.Do(ring.BindDone, f, epoch)
	}
	if err != nil {
		return false, fmt.Errorf("bind a huge page at frame %#x: %w", first, err)
	}
	if b.prefault != nil {
		if err := b.prefault(first*ring.FrameSize, hugeGrain*ring.FrameSize); err != nil {
			return false, err
		}
	}
	b.huge.set(first, true)
	b.count.bindCalls.Add(1)
	b.count.bound.Add(n)
	b.count.huge.Add(1)
	return true, nil
}

// unbindHuge deals with the huge page of frame f, which is due or not: it takes it
// back if all of it is due, and leaves it for later if it is not worth to be cut.
// It returns the frame from which to go on, f if the page is none any more.
func (b *binder) unbindHuge(f, end uint64, t taking) (next uint64, err error) {
	first := f &^ (hugeGrain - 1)
	last := first + hugeGrain
	// Neighbours that are nearly due go with it.
	n := uint64(0)
	oldest := uint32(0)
	for g := first; g < last; g++ {
		if b.due(g, t.epoch, t.age/2) {
			n++
			oldest = max(oldest, b.ring.Word(g).Age(t.epoch))
		}
	}
	switch {
	case n == 0:
		return min(end, last), nil
	case n < hugeCut && oldest < t.cut:
		t.left(f, min(end, last)-f)
		return min(end, last), nil
	}
	b.huge.set(f, false)
	if n < hugeGrain {
		return f, nil
	}
	for f = first; f < last; f++ {
		if !b.begin(f, t.epoch, t.age/2) {
			break // taken meanwhile
		}
	}
	if f > first {
		err = b.discardRun(first, f-first, t)
	}
	return f, err
}
