// SPDX-License-Identifier: Apache-2.0

package ring

import "fmt"

// State is the state of a frame.
type State uint32

func (s State) String() string {
	names := [...]string{"UNBOUND", "BINDING", "BOUND", "FREE_PENDING", "UNBINDING"}
	if int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("state %d", uint32(s))
}

// Word is the word of a frame.
type Word uint32

// State of the frame.
func (w Word) State() State { return State(w & StateMask) }

// ReadsAsZero says whether the content of a frame that is taken now is zero.
func (w Word) ReadsAsZero() bool { return w&Zero != 0 || ZeroStates>>w.State()&1 != 0 }

// Age is the number of epochs since the frame was given, of at most 2^24.
func (w Word) Age(epoch uint32) uint32 {
	return (epoch - uint32(w>>StampShift)) & (1<<(32-StampShift) - 1)
}

// Event is something that one side wants to do with a frame.
type Event int

// Events: those of the guest, then those of the host.
const (
	Take Event = iota
	Give
	BindStart
	BindDone
	UnbindStart
	UnbindDone

	NumEvents
)

func (e Event) String() string {
	return [...]string{"Take", "Give", "BindStart", "BindDone", "UnbindStart", "UnbindDone"}[e]
}

// Verdict says what an event means for a frame in a state.
type Verdict int

// Verdicts.
const (
	// Change: the word has to be exchanged for the new one.
	Change Verdict = iota
	// Skip: the event does not concern the frame.
	Skip
	// Wait: try again when the host is done.
	Wait
	// Bad: somebody scribbled over the table.
	Bad
)

// Table is the state machine: what follows a state, by event, in the encoding of
// the Next constants.
type Table [NumEvents]uint32

// Rules is the table that both sides follow.
var Rules = Table{NextTake, NextGive, NextBindStart, NextBindDone, NextUnbindStart, NextUnbindDone}

// Next is the word that follows w when e happens in the given epoch. It is
// meant to be stored by compare-and-swap, and only when the verdict is Change.
func (t *Table) Next(e Event, w Word, epoch uint32) (Word, Verdict) {
	state := w.State()
	if state >= NumStates {
		return w, Bad
	}
	next := t[e] >> (4 * state) & 15
	switch {
	case next == NextSkip:
		return w, Skip
	case next == NextWait:
		return w, Wait
	case next >= NumStates:
		return w, Bad
	case next == uint32(state):
		return w, Skip
	}
	n := Word(next)
	stamp := Word(epoch << StampShift)
	switch e {
	case Take:
		if w.ReadsAsZero() {
			n |= Zero
		}
	case Give:
		n |= stamp
	case BindDone:
		n |= stamp | Zero
	}
	return n, Change
}
