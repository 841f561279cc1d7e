// SPDX-License-Identifier: Apache-2.0

// Package ring is what the guest kernel and the Pager share: the layout of the
// shared area, the word of state that every guest frame has, and both ends of
// the ring of intents. docs/pager.md is the text to it.
//
// The table of words is the truth, the ring is a hint: an entry that is lost or
// made up costs time or memory of the guest's own, never content. Guest memory
// is written by the guest at any time, so everything here is read once and
// checked.
//
// C sees this file through the generated header paracell_ring.h. The guest's end
// in C is kernel/src/arch/um/paracell/pager.c; the one in Go (Guest) is for
// tests.
package ring

//go:generate go run ../../xgate/abi/gen

// Version is written by the host and compared by the guest, which leaves the
// Pager alone when it is another.
const Version = 1

const (
	// Offset of Area in the cell's control area.
	Offset = 0x80_0000

	// IRQ is the bit of Vcpu.Pending that asks the guest to look at
	// Area.ReclaimSeq.
	IRQ = 3

	// Size of a frame in bytes.
	FrameSize = 4096

	// Entries of the ring; a power of two.
	Entries = 8192
)

// States of a frame: the low bits of its word.
const (
	// StateUnbound: no host memory; reads as zero. A touch binds it.
	StateUnbound = 0
	// StateBinding: the host is providing memory; reads as zero.
	StateBinding = 1
	// StateBound: out of the guest's free lists. The host leaves it alone.
	StateBound = 2
	// StateFreePending: in the guest's free lists and bound. The host may
	// take it back.
	StateFreePending = 3
	// StateUnbinding: the host is taking it back; the guest must wait before
	// it uses the frame.
	StateUnbinding = 4

	NumStates = 5

	// StateMask selects the state in a word.
	StateMask = 7
	// Zero is set in a word when the frame is bound and has not been used
	// since the host provided it.
	Zero = 8
	// StampShift is where the epoch of the last Give stands in a word.
	StampShift = 8
)

// The next state of a frame by event: four bits for each state, state 0 lowest.
// NextSkip leaves the frame alone, NextWait means try again later, NextBad
// cannot happen unless somebody scribbles over the table.
const (
	NextSkip = 13
	NextWait = 14
	NextBad  = 15

	// Guest: a frame leaves the free lists.
	NextTake = StateBound | StateBound<<4 | StateBound<<8 | StateBound<<12 | NextWait<<16
	// Guest: a frame enters the free lists. The unbound ones are those that
	// nobody has used before they get there, at boot.
	NextGive = StateUnbound | NextBad<<4 | StateFreePending<<8 | NextBad<<12 | NextBad<<16
	// Host: begin to provide memory.
	NextBindStart = StateBinding | NextSkip<<4 | NextSkip<<8 | NextSkip<<12 | NextSkip<<16
	// Host: memory is there. A frame that was taken meanwhile is not ours.
	NextBindDone = NextSkip | StateFreePending<<4 | NextSkip<<8 | NextSkip<<12 | NextSkip<<16
	// Host: begin to take memory back.
	NextUnbindStart = NextSkip | NextSkip<<4 | NextSkip<<8 | StateUnbinding<<12 | NextSkip<<16
	// Host: memory is gone.
	NextUnbindDone = NextBad | NextBad<<4 | NextBad<<8 | NextBad<<12 | StateUnbound<<16

	// States that Take may find whose frames read as zero, one bit each;
	// other frames do only if their word says Zero.
	ZeroStates = 1<<StateUnbound | 1<<StateBinding
)

// An entry of the ring: operation, number of frames and first frame.
const (
	OpGive = 1 // frames have entered the free lists
	OpBind = 2 // frames will be used soon

	OpShift    = 60
	CountShift = 40
	CountMask  = 0xf_ffff
	FrameMask  = 0xff_ffff_ffff
)

// Area.Sleeping.
const (
	SleepNot  = 0
	SleepNap  = 1 // the host comes back soon: only OpBind wakes it
	SleepDeep = 2 // every entry wakes it
)

// Bits of Area.Flags.
const (
	// FlagTrack: the guest keeps the table. Constant from boot on.
	FlagTrack = 1
	// FlagGive: the guest puts entries OpGive into the ring.
	FlagGive = 2
	// FlagVerify: the guest looks whether frames that it takes for zero are,
	// and panics if not. For tests.
	FlagVerify = 4
)

// Area is the head of the shared area, cache lines by writer.
type Area struct {
	// Host, before the guest starts and at any time after.
	Version uint32
	Flags   uint32
	// Epoch counts ticks of the Pager; the guest copies it into words.
	Epoch uint32
	// AheadMax is how many frames the guest may ask to be bound ahead of
	// need; 0 none.
	AheadMax uint32
	// BindGrain is a power of two of frames: the guest asks for whole
	// aligned blocks of that size when it takes an unbound frame of one; 0
	// or 1: it does not.
	BindGrain uint32
	// ReclaimSeq changes when the guest shall give back ReclaimFrames of its
	// coldest page cache.
	ReclaimSeq    uint32
	ReclaimFrames uint64
	// Head is the ring's consumer index; it only grows.
	Head uint64
	_    [3]uint64

	// Sleeping is set by the host before it sleeps (Sleep constants). A guest
	// that has something to wake it for exchanges it with 0 and notifies it.
	Sleeping uint32
	_        [15]uint32

	// Guest. Tail is the ring's producer index; it only grows.
	Tail uint64
	// Overflow is set when an entry was dropped because the ring was full.
	Overflow uint32
	// ReclaimAck is the last ReclaimSeq carried out.
	ReclaimAck uint32
	// TableGPA is where the table of words is, TableFrames how many it has.
	// Written once, before the first entry.
	TableGPA    uint64
	TableFrames uint64
	_           [4]uint64

	// Guest, for metrics only.
	Stats GuestStats
	_     [2]uint64

	Ring [Entries]uint64
}

// GuestStats are the guest's own figures; counters unless said otherwise.
type GuestStats struct {
	// FreeFrames are the frames in the free lists now.
	FreeFrames uint64
	// CacheFrames and ColdFrames are the page cache and its inactive part, at
	// the last ReclaimAck.
	CacheFrames uint64
	ColdFrames  uint64
	// Taken and Given are frames that left and entered the free lists.
	Taken uint64
	Given uint64
	// TakenUnbound, TakenBinding and TakenAhead of the taken ones were
	// unbound, being bound, and bound ahead.
	TakenUnbound uint64
	TakenBinding uint64
	TakenAhead   uint64
	// ZeroSkipped are frames that needed no zeroing.
	ZeroSkipped uint64
	// Waits for the host, all of them in TSC cycles, and the longest.
	Waits         uint64
	WaitCycles    uint64
	WaitMaxCycles uint64
	// Kicks are notifications of the host.
	Kicks uint64
	// Reclaimed are frames of page cache given back on request.
	Reclaimed uint64
}
