// SPDX-License-Identifier: Apache-2.0

package pager

import (
	"time"

	"github.com/paracell/paracell/pager/ring"
)

// cache gives back page cache that an idle cell does not need, half of the cold
// part at a time, and cold page cache of any cell while the host is short of
// memory. It belongs to the Pager's goroutine.
type cache struct {
	pager *Pager

	next      time.Time // when to look again; zero: when the guest does something
	looked    time.Time // when it looked last
	heard     bool      // of the guest, since then
	activity  uint64
	idle      int    // looks in a row that saw no activity
	asked     uint32 // number of the last request
	reclaimed uint64 // guest's counter when it was made
}

const (
	// idleLooks is how many looks without activity make a cell idle.
	idleLooks = 2
	// coldFloor is what is left to an idle cell, in frames.
	coldFloor = 256
)

// busy: the guest has put something into the ring.
func (c *cache) busy() {
	c.heard = true
	if c.next.IsZero() {
		// After a long sleep what is known of the host is old.
		c.next = later(time.Now(), c.looked.Add(c.interval()))
	}
}

// soon makes the next round look.
func (c *cache) soon() {
	c.heard, c.next = true, time.Now()
}

// interval between looks.
func (c *cache) interval() time.Duration {
	if c.pager.options.Cache {
		return idleTick
	}
	return slowTick
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// round looks, if it is time, and returns when it wants to look again; 0 never.
func (c *cache) round() time.Duration {
	if c.next.IsZero() {
		return 0
	}
	now := time.Now()
	if wait := c.next.Sub(now); wait > 0 {
		return wait
	}
	c.looked = now
	again := c.look()
	if !again && !c.heard {
		c.next = time.Time{}
		return 0
	}
	c.heard = false
	c.next = now.Add(c.interval())
	return c.interval()
}

// look returns false when there is nothing to look for until the guest does
// something.
func (c *cache) look() bool {
	p := c.pager
	resident, limit, err := p.resident()
	pressed := err == nil && resident > limit || p.options.Pressure != nil && p.options.Pressure()
	busy := p.options.Busy != nil && p.options.Busy()
	if p.pressed.Swap(pressed) != pressed || p.busy.Swap(busy) != busy {
		p.apply(p.policy.Load())
	}
	if p.options.Activity == nil || p.options.RaiseIRQ == nil {
		return pressed
	}
	now := p.options.Activity()
	if now != c.activity {
		c.activity, c.idle = now, 0
		if !pressed {
			return p.options.Cache
		}
	} else {
		c.idle++
	}
	if !pressed && (!p.options.Cache || c.idle < idleLooks) {
		return p.options.Cache
	}
	if !p.ring.ReclaimDone(c.asked) {
		return true
	}
	guest := p.ring.Guest()
	first := c.idle == idleLooks || c.asked == 0
	if !first && (guest.ColdFrames < coldFloor || guest.Reclaimed == c.reclaimed) {
		// Nothing is left that is worth it. A guest that works may have more
		// meanwhile, and a host that is short wants to know.
		if pressed {
			c.ask(0, guest.Reclaimed)
		}
		return pressed
	}
	want := guest.ColdFrames / 2
	if first {
		want = 0 // the figures are old: only asks for new ones
	}
	c.ask(want, guest.Reclaimed)
	return true
}

func (c *cache) ask(frames, reclaimed uint64) {
	c.asked++
	if frames > 0 {
		c.reclaimed = reclaimed
	} else {
		c.reclaimed = ^uint64(0)
	}
	c.pager.ring.AskReclaim(c.asked, frames)
	// An ended guest needs no memory.
	_ = c.pager.options.RaiseIRQ(ring.IRQ)
}
