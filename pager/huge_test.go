// SPDX-License-Identifier: Apache-2.0

package pager

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/paracell/paracell/internal/testenv"
	"github.com/paracell/paracell/pager/ring"
	"github.com/paracell/paracell/vmm/memory"
)

// hugeCell is a binder with memory that can be had in huge pages, and its guest.
type hugeCell struct {
	binder
	memory *memory.Memory
	host   *ring.Host
	guest  *ring.Guest
	left   []ring.Intent
}

func newHugeCell(t *testing.T) *hugeCell {
	t.Helper()
	testenv.Root(t)
	mem, err := memory.NewHuge("test", cellFrames*ring.FrameSize, controlSize)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mem.Close() })
	testenv.HugePages(t, mem.Huge())
	host, err := ring.NewHost(mem.Tail(), cellFrames)
	if err != nil {
		t.Fatal(err)
	}
	all, err := mem.Slice(0, mem.Size())
	if err != nil {
		t.Fatal(err)
	}
	guest, err := ring.NewGuest(mem.Tail(), all, 0, ring.Rules)
	if err != nil {
		t.Fatal(err)
	}
	guest.Boot(0, 4)
	if _, err := host.Attach(mem.Slice); err != nil {
		t.Fatal(err)
	}
	c := &hugeCell{binder: binder{ring: host, memory: mem}, memory: mem, host: host, guest: guest}
	host.Count(ring.StateBound) // touches the table
	if err := c.huge.open(cellFrames); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.huge.close)
	return c
}

// bound is how many frames are, of what has been touched before.
func (c *hugeCell) bound(t *testing.T) uint64 {
	t.Helper()
	n, err := c.memory.Resident()
	if err != nil {
		t.Fatal(err)
	}
	return n / ring.FrameSize
}

// bindAll asks for frames, and wants those of [from, to) to have been looked at.
func (c *hugeCell) bindAll(t *testing.T, first, count, from, to uint64) {
	t.Helper()
	if a, b, err := c.bind(first, count, cellFrames, 1); err != nil || a != from || b != to {
		t.Fatalf("%d to %d are bound, not %d to %d: %v", a, b, from, to, err)
	}
}

func (c *hugeCell) take(t *testing.T, first, count uint64) {
	t.Helper()
	for f := first; f < first+count; f++ {
		if !c.guest.Take(f) {
			t.Errorf("frame %d is not called zero", f)
		}
		if err := c.memory.StoreUint64(f*ring.FrameSize+8, f); err != nil {
			t.Fatal(err)
		}
	}
}

// back takes back what has been free for 100 epochs, and cuts after 1,000.
func (c *hugeCell) back(t *testing.T, epoch uint32, first, count uint64) {
	t.Helper()
	c.left = nil
	err := c.unbind(first, count, taking{
		grain: 1, least: 1, epoch: epoch, age: 100, cut: 1000,
		left:    func(first, count uint64) { c.left = append(c.left, ring.Intent{First: first, Count: count}) },
		between: func() error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestHugePages(t *testing.T) {
	c := newHugeCell(t)
	before := c.bound(t)

	// Half of a page of the host is asked for, and no frame of it has been used.
	c.bindAll(t, 1024+100, 300, 1024, 1024+512)
	if n := c.bound(t); n != before+512 || c.count.huge.Load() != 1 || c.count.bindCalls.Load() != 1 {
		t.Fatalf("%d frames are bound, in %d calls", n-before, c.count.bindCalls.Load())
	}
	// All of it goes back in one call.
	c.back(t, 200, 1024+7, 10)
	if n := c.bound(t); n != before || c.count.unbindCalls.Load() != 1 || c.count.unused.Load() != 512 {
		t.Fatalf("%d frames are bound after %d calls", n-before, c.count.unbindCalls.Load())
	}

	// One that is in use to the half: the rest stays until it is old.
	c.bindAll(t, 1024, 512, 1024, 1024+512)
	c.take(t, 1024, 300)
	c.back(t, 200, 1024, 512)
	if n := c.bound(t); n != before+512 || len(c.left) != 1 || c.left[0] != (ring.Intent{First: 1024, Count: 512}) {
		t.Fatalf("%d frames are bound, left for later is %v", n-before, c.left)
	}
	c.back(t, 1001, 1024, 512)
	if n := c.bound(t); n != before+300 {
		t.Errorf("%d frames are bound, not those 300 in use", n-before)
	}
	for f := uint64(1024); f < 1024+300; f++ {
		if v, err := c.memory.LoadUint64(f*ring.FrameSize + 8); err != nil || v != f {
			t.Fatalf("frame %d holds %d, %v", f, v, err)
		}
	}
	// It is none any more.
	c.host.SetEpoch(1001)
	for f := uint64(1024); f < 1024+20; f++ {
		c.guest.Give(f)
	}
	c.back(t, 1200, 1024, 512)
	if n := c.bound(t); n != before+280 || len(c.left) != 0 {
		t.Errorf("%d frames are bound, not those 280 in use; left is %v", n-before, c.left)
	}

	// A frame of it is in use: the others are bound one by one, as asked for.
	c.bindAll(t, 2048, 512, 2048, 2048+512)
	c.take(t, 1536, 1)
	c.bindAll(t, 1540, 100, 1540, 1640)
	if n := c.bound(t); n != before+280+512+1+100 || c.count.huge.Load() != 3 {
		t.Errorf("%d frames are bound", n-before)
	}
	// Most of one is free: that goes at once.
	c.take(t, 2048, 100)
	c.back(t, 1300, 2048, 512)
	if n := c.bound(t); n != before+280+100+1+100 {
		t.Errorf("%d frames are bound", n-before)
	}
}

// TestHugePagesFollowTheWindow: a guest that asks for a lot gets them, within the
// limit, and one that asks for little does not.
func TestHugePagesFollowTheWindow(t *testing.T) {
	testenv.Root(t)
	policy := Policies[0]
	policy.Delay = time.Hour
	c := newCellOf(t, memory.NewHuge, policy, nil)
	testenv.HugePages(t, c.memory.Huge())
	ask := func(first, count uint64) {
		c.guest.Tell(ring.Intent{Op: ring.OpBind, First: first, Count: count})
	}
	ask(512, 100)
	eventually(t, "100 frames are bound", func() bool { return c.Pager.Stats().Bound == 100 })
	ask(1024, hugeAsk)
	eventually(t, "a huge page is bound", func() bool { return c.Pager.Stats().Huge == 1 })
	c.SetLimit(c.resident(t) + hugeGrain*ring.FrameSize - 1)
	ask(2048, hugeAsk)
	eventually(t, "what was asked for is bound", func() bool { return c.Pager.Stats().Bound == 100+512+hugeAsk })
	if s := c.Pager.Stats(); s.Huge != 1 {
		t.Errorf("%d huge pages are bound, one beyond the limit", s.Huge)
	}
}

// TestRunsEndAtHugePages: what is due beside a huge page does not cut it.
func TestRunsEndAtHugePages(t *testing.T) {
	c := newHugeCell(t)
	c.bindAll(t, 1024, 512, 1024, 1536)
	c.bindAll(t, 2048, 512, 2048, 2560)
	if _, _, err := c.bind(1536, 512, 0, 1); err != nil {
		t.Fatal(err)
	}
	c.take(t, 1024, 400)
	c.take(t, 2048+200, 312)
	c.back(t, 200, 1536, 512)
	if n := c.count.unbound.Load(); n != 512 || !c.huge.has(1024) || !c.huge.has(2048) {
		t.Errorf("%d frames went back; huge pages are left: %t, %t", n, c.huge.has(1024), c.huge.has(2048))
	}
}

// TestHugePagesWithinRoom: they do not take the place of what else was asked for.
func TestHugePagesWithinRoom(t *testing.T) {
	for room, pages := range map[uint64]uint64{511: 0, 512 + 300 - 212 - 1: 0, 512 + 300 - 212: 1, 1024: 2} {
		c := newHugeCell(t)
		if _, _, err := c.bind(1024+300, 300, room, 1); err != nil {
			t.Fatal(err)
		}
		if n := c.count.huge.Load(); n != pages {
			t.Errorf("%d huge pages in the room of %d frames", n, room)
		}
	}
}

// TestStressHugePages is TestStress with huge pages that are bound, cut and taken
// back while others use their frames.
func TestStressHugePages(t *testing.T) {
	newHugeCell(t) // or there are none
	ops := 4_000_000
	if n, err := strconv.Atoi(os.Getenv(stressOps)); err == nil {
		ops = n
	}
	status, out, s := stress(t, memory.NewHuge, "huge", ops)
	if status != 0 {
		t.Fatalf("status %d: %s", status, out)
	}
	if s.Huge == 0 || s.Unbound < 1000 {
		t.Errorf("little was tried: %+v", s)
	}
	t.Logf("%d operations: %d huge pages, %d frames bound ahead, %d unbound", ops, s.Huge, s.Bound, s.Unbound)
}
