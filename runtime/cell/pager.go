// SPDX-License-Identifier: Apache-2.0

package cell

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/paracell/paracell/pager"
	"github.com/paracell/paracell/runtime/config"
	"github.com/paracell/paracell/runtime/figures"
	"github.com/paracell/paracell/vmm/platform"
)

// hasPager says whether a cell is to have one.
func hasPager(spec config.Cell) bool { return spec.Pager != "" && spec.Pager != pager.Off }

// newPager makes the pager of a cell that has not been started; nil if it has
// none.
func newPager(spec config.Cell, m platform.Machine, fail func(error)) (*pager.Pager, error) {
	if !hasPager(spec) {
		return nil, nil
	}
	policy, err := pager.PolicyByName(spec.Pager)
	if err != nil {
		return nil, err
	}
	var prefault func(gpa, n uint64) error
	if f, ok := m.(platform.Prefaulter); ok {
		prefault = f.Prefault
	}
	group, err := pager.OpenGroup("")
	if err != nil {
		return nil, fmt.Errorf("control group of this process: %w", err)
	}
	p, err := pager.New(pager.Options{
		Group:  group,
		Memory: m.Memory(), Policy: policy, Limit: spec.PagerLimit, Cache: spec.ColdCache, Verify: spec.PagerVerify,
		Fail: fail, RaiseIRQ: m.RaiseIRQ, Prefault: prefault, Pressure: pager.Pressure{}.Short, Busy: new(pager.CPU).Busy,
		Idle: func() bool { return m.Stats().Idle },
		Activity: func() uint64 {
			s := m.Stats()
			return s.GateCalls + s.RawCalls + s.Faults
		},
	})
	if err != nil {
		return nil, errors.Join(err, group.Close())
	}
	return p, nil
}

// SetPager changes the policy of the pager, by its name, of a cell that has one.
// It must not be called after Close.
func (c *Cell) SetPager(name string) error {
	if c.pager == nil {
		return fmt.Errorf("it runs without a pager, so its guest keeps no account of its memory: start it with --pager none to change that later")
	}
	if name == pager.Off {
		return fmt.Errorf("a pager that runs cannot be taken out: policy none leaves memory where it is")
	}
	policy, err := pager.PolicyByName(name)
	if err != nil {
		return err
	}
	return c.pager.SetPolicy(policy)
}

// SetMemoryLimit changes the limit of what the pager binds, in bytes; 0 is the
// cell's memory. Without a pager, and after Close, it does nothing.
func (c *Cell) SetMemoryLimit(limit uint64) {
	c.figuresMu.RLock()
	defer c.figuresMu.RUnlock()
	if c.pager != nil && !c.closing {
		c.pager.SetLimit(limit)
	}
}

// Pager are the figures of the pager, false if the cell has none. It must not be
// called after Close.
func (c *Cell) Pager() (pager.Stats, bool) {
	if c.pager == nil {
		return pager.Stats{}, false
	}
	return c.pager.Stats(), true
}

// Figures are the figures that others see; false once the cell is being closed.
func (c *Cell) Figures() (figures.Sample, bool) {
	c.figuresMu.RLock()
	defer c.figuresMu.RUnlock()
	if c.closing {
		return figures.Sample{}, false
	}
	return c.sample(), true
}

// sample must not be called after Close.
func (c *Cell) sample() figures.Sample {
	m := c.machine.Stats()
	s := figures.Sample{
		Time: time.Now(), Cell: c.name, Pid: os.Getpid(), Policy: pager.Off,
		Resident: m.Resident, GateCalls: m.GateCalls, RawCalls: m.RawCalls, Faults: m.Faults,
	}
	if p, ok := c.Pager(); ok {
		s.Policy, s.Used, s.FreeBound = p.Policy, p.Used(), c.FreeBound()
		s.Bound, s.Unbound, s.Taken = p.Bound, p.Unbound, p.Guest.Taken
		s.BindNs, s.UnbindNs, s.Limit = p.BindNs, p.UnbindNs, p.Limit
	}
	return s
}

// FreeBound is the memory in bytes that is bound and free, by the pager's table;
// counting takes a while. It must not be called after Close.
func (c *Cell) FreeBound() uint64 {
	if c.pager == nil {
		return 0
	}
	return c.pager.FreeBound() * 4096
}
