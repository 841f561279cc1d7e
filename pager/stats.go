// SPDX-License-Identifier: Apache-2.0

package pager

import (
	"sync/atomic"

	"github.com/paracell/paracell/pager/ring"
)

// counters of the host's side.
type counters struct {
	bound, unbound         atomic.Uint64
	bindCalls, unbindCalls atomic.Uint64
	bindNs, unbindNs       atomic.Uint64
	unused, refused, scans atomic.Uint64
	huge                   atomic.Uint64
}

// Stats are the figures of a Pager. Frames have ring.FrameSize bytes.
type Stats struct {
	// Policy is the name of the policy in force.
	Policy string
	// Frames are all frames of the cell.
	Frames uint64
	// Bound and Unbound count frames that were bound ahead and taken back;
	// the calls are how many host calls that took, and the times are processor
	// time in ns.
	Bound, Unbound         uint64
	BindCalls, UnbindCalls uint64
	BindNs, UnbindNs       uint64
	// Huge pages were bound whole; their frames are in Bound.
	Huge uint64
	// Unused frames were bound ahead and taken back without having been used.
	Unused uint64
	// Refused frames were not bound ahead because of a limit or pressure, or while
	// the memory of a burst went back.
	Refused uint64
	// Scans of the whole table, after the ring overflowed.
	Scans uint64
	// Pressure says that the host is short of memory, or that more than Limit is
	// bound.
	Pressure bool
	// Limit of bound memory, in bytes.
	Limit uint64
	// Guest is the guest's own word.
	Guest ring.GuestStats
}

// Used is the guest memory that is not free, in bytes, as the guest says.
func (s *Stats) Used() uint64 {
	return (s.Frames - min(s.Frames, s.Guest.FreeFrames)) * ring.FrameSize
}

// Waste is (resident - used) / used: what is bound beyond need. Resident is in
// bytes. It is below zero when memory in use has never been touched.
func (s *Stats) Waste(resident uint64) float64 {
	used := s.Used()
	if used == 0 {
		return 0
	}
	return (float64(resident) - float64(used)) / float64(used)
}

// Stats may be called at any time before Close.
func (p *Pager) Stats() Stats {
	c := &p.binder.count
	return Stats{
		Policy: p.policy.Load().Name, Frames: p.ring.Frames(),
		Bound: c.bound.Load(), Unbound: c.unbound.Load(),
		BindCalls: c.bindCalls.Load(), UnbindCalls: c.unbindCalls.Load(),
		BindNs: c.bindNs.Load(), Huge: c.huge.Load(), UnbindNs: c.unbindNs.Load(),
		Unused: c.unused.Load(), Refused: c.refused.Load(), Scans: c.scans.Load(),
		Pressure: p.pressed.Load(), Limit: p.limit(), Guest: p.ring.Guest(),
	}
}
