// SPDX-License-Identifier: Apache-2.0

package task

import (
	"context"
	"testing"

	"github.com/paracell/paracell/runtime/figures"
)

func TestGiveBack(t *testing.T) {
	ranges, err := programRanges()
	if err != nil || len(ranges) < 2 {
		t.Fatalf("%d ranges of the program, %v: want its text and its read-only data", len(ranges), err)
	}
	if err := giveBack(); err != nil {
		t.Error(err)
	}
}

func TestRestStops(t *testing.T) {
	r := rest{box: func() Box { return nil }}
	r.disturb()
	r.disturb()
	r.stop()
	r.disturb()
	if r.timer.Stop() {
		t.Error("the timer runs after stop")
	}
}

// restingBox counts what it is asked for, and does as many calls as it is told.
type restingBox struct {
	*fakeBox
	calls, rests uint64
}

func (b *restingBox) Figures() (figures.Sample, bool) {
	return figures.Sample{GateCalls: b.calls}, true
}

func (b *restingBox) Rest(_ context.Context, cache bool) error {
	b.rests++
	return nil
}

func TestRestWaitsForTheCell(t *testing.T) {
	box := &restingBox{fakeBox: newFakeBox()}
	r := rest{box: func() Box { return box }}
	defer r.stop()
	r.disturb()
	for n, c := range []struct{ calls, rests uint64 }{
		{1000, 0},   // nothing to compare with
		{100000, 0}, // busy
		{100010, 1}, // at rest
	} {
		box.calls = c.calls
		r.look()
		if box.rests != c.rests {
			t.Errorf("look %d: %d times at rest, want %d", n, box.rests, c.rests)
		}
	}
	r.disturb()
	r.look()
	if box.rests != 1 {
		t.Error("taken for at rest right after something has happened")
	}
}
