// SPDX-License-Identifier: Apache-2.0

package pager

import (
	"fmt"
	"strings"
	"time"

	"github.com/paracell/paracell/pager/ring"
)

// Policy says when memory of a cell is bound and taken back.
type Policy struct {
	// Name of the policy.
	Name string
	// Unbind takes free frames back.
	Unbind bool
	// Delay is how long a frame has been free before it is taken back: a
	// cell that frees and allocates all the time keeps what it works with.
	Delay time.Duration
	// WorkDelay, if it is more, is the delay while the guest works.
	WorkDelay time.Duration
	// BurstDelay, unless 0, is the delay when a lot waits to go back (256
	// MiB): to hold that costs more than to bind some of it again.
	BurstDelay time.Duration
	// Grain is the number of frames that are taken back together: aligned
	// blocks of that size that are free as a whole. A power of two.
	Grain uint64
	// Ahead is how many frames are bound ahead of need, at most; 0 none.
	Ahead uint32
	// BindGrain, if above 1, binds whole aligned blocks when a frame of one
	// is needed. A power of two.
	BindGrain uint32
}

// Off is the name of having no Pager at all: the guest keeps no table.
const Off = "off"

// hugeGrain is the number of frames of a huge page.
const hugeGrain = 512

// A compromise: free memory of a guest that has nothing to do is back on the host
// within 100 ms. While it works most of what it frees is used again within a
// second, and providing a frame anew costs it more than the frame is worth that
// long; but a program that ends often leaves much that nobody needs.
const (
	delay      = 75 * time.Millisecond
	workDelay  = 100 * time.Millisecond
	burstDelay = 10 * time.Millisecond
)

// calmDelay is that of a policy that shall cost nothing while the cell works.
const calmDelay = time.Second

// cutDelay is how much longer than other frames a part of a huge page of the host
// has been free before the page is cut, while the guest works.
const cutDelay = 200 * time.Millisecond

// reportDelay is how long Linux's free page reporting waits after the first free
// page (mm/page_reporting.c, PAGE_REPORTING_DELAY).
const reportDelay = 2 * time.Second

// Policies are those that can be chosen by name: first ours, then what it is
// compared with.
var Policies = []Policy{
	{Name: "page", Unbind: true, Delay: delay, WorkDelay: workDelay, BurstDelay: burstDelay, Grain: 1, Ahead: 1024},
	// To wait so long costs next to no time, and memory still follows the demand
	// of phases.
	{Name: "calm", Unbind: true, Delay: delay, WorkDelay: calmDelay, BurstDelay: burstDelay, Grain: 1, Ahead: 1024},
	// Like page, with the grain of systems that give memory in huge pages
	// (HyperAlloc). It has our hysteresis, so that only the grain differs.
	{Name: "huge", Unbind: true, Delay: delay, WorkDelay: workDelay, BurstDelay: burstDelay, Grain: hugeGrain, Ahead: 1024, BindGrain: hugeGrain},
	// Free page reporting, as virtio-balloon does it with order 9 and 0.
	{Name: "report", Unbind: true, Delay: reportDelay, Grain: hugeGrain},
	{Name: "report4k", Unbind: true, Delay: reportDelay, Grain: 1},
	// Memory is bound when it is touched and never taken back.
	{Name: "none"},
}

// PolicyByName finds one of Policies.
func PolicyByName(name string) (Policy, error) {
	var names []string
	for _, p := range Policies {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return Policy{}, fmt.Errorf("pager policy %q: one of %s, %s is needed", name, strings.Join(names, ", "), Off)
}

// check says what is wrong with a policy.
func (p *Policy) check() error {
	powerOfTwo := func(n uint64) bool { return n&(n-1) == 0 }
	switch {
	case p.Unbind && (p.Grain == 0 || !powerOfTwo(p.Grain) || p.Grain > ring.CountMask):
		return fmt.Errorf("pager policy %s: a grain of %d frames is no power of two", p.Name, p.Grain)
	case !powerOfTwo(uint64(p.BindGrain)) || p.BindGrain > ring.CountMask:
		return fmt.Errorf("pager policy %s: blocks of %d frames are no power of two", p.Name, p.BindGrain)
	case p.Delay < 0 || p.Delay > time.Hour:
		return fmt.Errorf("pager policy %s: a delay of %v", p.Name, p.Delay)
	}
	return nil
}
