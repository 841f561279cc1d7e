// SPDX-License-Identifier: Apache-2.0

package pager

import "github.com/paracell/paracell/pager/ring"

// Frames in numbers, and times in epochs.
const (
	// floodFrames more that are free than at the last look are a part of what is
	// being freed.
	floodFrames = 16 << 20 / ring.FrameSize
	// floodEnd is the time without a flood after which it may be over, floodMax
	// the one after which it is.
	floodEnd = 8
	floodMax = 200
)

// flood finds out whether the guest is freeing a lot.
type flood struct {
	free     uint64 // frames, at the last look
	activity uint64 // Options.Activity
	last     uint32 // epoch in which it was seen
	moved    bool   // there has been activity since
}

// look is called once a round.
func (f *flood) look(epoch uint32, free, activity uint64) {
	more := free > f.free && free-f.free > floodFrames
	switch {
	case more:
		f.last, f.moved = epoch, false
	case activity != f.activity:
		f.moved = true
	}
	f.free, f.activity = free, activity
}

// over says whether it is. When all frames are free the guest's kernel has still
// to unmap them: until it is back in its user there is neither call nor fault.
func (f *flood) over(epoch uint32) bool {
	passed := epoch - f.last
	return passed >= floodMax || passed >= floodEnd && f.moved
}

// rest finds out whether the guest works.
type rest struct {
	activity uint64
	quiet    int // looks in a row that saw nobody at work
}

const (
	// restLooks is how many looks in a row have to see nobody at work. A guest
	// waits for its disk and the network, too.
	restLooks = 6
	// restActivity is how much of Options.Activity there may be between two looks.
	restActivity = 16
)

// working is called once a round.
func (r *rest) working(o *Options) bool {
	if o.Activity == nil {
		return false
	}
	before := r.activity
	r.activity = o.Activity()
	if o.Idle == nil {
		return false
	}
	if !o.Idle() || r.activity-before > restActivity {
		r.quiet = 0
	} else {
		r.quiet++
	}
	return r.quiet < restLooks
}
