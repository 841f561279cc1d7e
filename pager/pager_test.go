// SPDX-License-Identifier: Apache-2.0

package pager

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/paracell/paracell/pager/ring"
	"github.com/paracell/paracell/vmm/memory"
)

// patience bounds waiting for the Pager's goroutine.
const patience = 10 * time.Second

// cell is a Pager with a guest in the same process.
type cell struct {
	*Pager
	memory *memory.Memory
	guest  *ring.Guest
	failed chan error
	irqs   atomic.Int64
	active atomic.Uint64
}

const cellFrames = 4096

func newCell(t *testing.T, policy Policy, change func(*Options)) *cell {
	t.Helper()
	return newCellOf(t, memory.New, policy, change)
}

// allocate makes the memory of a cell.
type allocate func(name string, size, tailSize uint64) (*memory.Memory, error)

func newCellOf(t *testing.T, newMemory allocate, policy Policy, change func(*Options)) *cell {
	t.Helper()
	mem, err := newMemory("test", cellFrames*ring.FrameSize, controlSize)
	if err != nil {
		t.Fatal(err)
	}
	c := &cell{memory: mem, failed: make(chan error, 1)}
	o := Options{
		Memory: mem, Policy: policy,
		Fail:     func(err error) { c.failed <- err },
		RaiseIRQ: func(uint) error { c.irqs.Add(1); return nil },
		Activity: c.active.Load,
	}
	if change != nil {
		change(&o)
	}
	if c.Pager, err = New(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Pager.Close()
		mem.Close()
	})
	all, err := mem.Slice(0, mem.Size())
	if err != nil {
		t.Fatal(err)
	}
	if c.guest, err = ring.NewGuest(mem.Tail(), all, 0, ring.Rules); err != nil {
		t.Fatal(err)
	}
	c.guest.Notify = c.Kick
	c.guest.Boot(0, 4)
	return c
}

// touch takes frames and writes to them.
func (c *cell) touch(t *testing.T, first, count uint64) {
	t.Helper()
	for f := first; f < first+count; f++ {
		c.guest.Take(f)
		if err := c.memory.StoreUint64(f*ring.FrameSize, f); err != nil {
			t.Fatal(err)
		}
	}
}

// give frees frames and tells the host.
func (c *cell) give(t *testing.T, first, count uint64) {
	t.Helper()
	for f := first; f < first+count; f++ {
		if !c.guest.Give(f) {
			t.Fatalf("frame %d is not BOUND", f)
		}
	}
	c.guest.Tell(ring.Intent{Op: ring.OpGive, First: first, Count: count})
}

func (c *cell) resident(t *testing.T) uint64 {
	t.Helper()
	n, err := c.memory.Resident()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// eventually polls until the condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

func TestTakesBackWhatIsFree(t *testing.T) {
	c := newCell(t, Policies[0], nil)
	c.touch(t, 1000, 2000)
	before := c.resident(t)
	c.give(t, 1000, 2000)
	eventually(t, "2,000 frames go back", func() bool { return c.Pager.Stats().Unbound == 2000 })
	if n := c.resident(t); n > before-2000*ring.FrameSize {
		t.Errorf("%d bytes are bound, before %d", n, before)
	}
	if s := c.Pager.Stats(); s.UnbindCalls > 20 {
		t.Errorf("%+v", s)
	}
}

// TestWaitsWhileTheGuestWorks: what is free stays for a while, until the guest has
// nothing to do.
func TestWaitsWhileTheGuestWorks(t *testing.T) {
	policy := Policies[0]
	policy.Delay, policy.WorkDelay = 5*time.Millisecond, time.Hour
	var idle atomic.Bool
	var looks atomic.Int64
	c := newCell(t, policy, func(o *Options) {
		o.Idle = func() bool { looks.Add(1); return idle.Load() }
	})
	c.touch(t, 500, 100)
	c.give(t, 500, 100)
	eventually(t, "it looks a few times", func() bool { return looks.Load() >= 4 })
	if s := c.Pager.Stats(); s.Unbound != 0 {
		t.Errorf("%d frames went back while the guest worked", s.Unbound)
	}
	idle.Store(true)
	eventually(t, "100 frames go back", func() bool { return c.Pager.Stats().Unbound == 100 })
}

func TestFlood(t *testing.T) {
	var f flood
	for _, c := range []struct {
		epoch    uint32
		free     uint64
		activity uint64
		over     bool
	}{
		{1000, 100, 1, true},
		{1005, 100 + floodFrames, 2, true}, // not more than that
		{1010, 101 + 2*floodFrames, 3, false},
		{1100, 101 + 2*floodFrames, 3, false}, // still unmapping
		{1105, 50, 4, true},
		{1110, 51 + floodFrames, 5, false},
		{1111, 51, 6, false}, // too soon
		{1118, 51, 6, true},
		{1120, 52 + floodFrames, 7, false},
		{1120 + floodMax, 52 + floodFrames, 7, true},
	} {
		f.look(c.epoch, c.free, c.activity)
		if f.over(c.epoch) != c.over {
			t.Errorf("epoch %d: over is %t", c.epoch, !c.over)
		}
	}
}

func TestRest(t *testing.T) {
	idle, activity := true, uint64(0)
	o := &Options{Idle: func() bool { return idle }, Activity: func() uint64 { return activity }}
	var r rest
	look := func(want bool, n int, change func()) {
		t.Helper()
		for range n {
			change()
			if r.working(o) != want {
				t.Errorf("working is %t", !want)
			}
		}
	}
	look(true, restLooks-1, func() { activity++ }) // a clock that ticks
	look(false, 2, func() {})
	look(true, 3, func() { idle = false })
	idle = true
	look(true, 10, func() { activity += 1000 }) // it waits for its disk
	look(true, restLooks-1, func() {})
	look(false, 1, func() {})
	if new(rest).working(&Options{}) {
		t.Error("a guest of which nothing is known works")
	}
}

func TestKeepsWhatIsUsedAgain(t *testing.T) {
	policy := Policies[0]
	policy.Delay = 50 * time.Millisecond
	c := newCell(t, policy, nil)
	c.touch(t, 100, 10)
	c.give(t, 100, 10)
	for f := uint64(100); f < 105; f++ {
		if c.guest.Take(f) {
			t.Errorf("frame %d is called zero", f)
		}
	}
	eventually(t, "the others go back", func() bool { return c.Pager.Stats().Unbound == 5 })
	for f := uint64(100); f < 105; f++ {
		if v, _ := c.memory.LoadUint64(f * ring.FrameSize); v != f {
			t.Errorf("frame %d lost its content", f)
		}
	}
}

func TestBindsAhead(t *testing.T) {
	policy := Policies[0]
	policy.Delay = time.Hour
	c := newCell(t, policy, nil)
	before := c.resident(t)
	c.guest.Tell(ring.Intent{Op: ring.OpBind, First: 200, Count: 100})
	eventually(t, "100 frames are bound", func() bool { return c.FreeBound() == 100 })
	if got := c.resident(t) - before; got < 100*ring.FrameSize {
		t.Errorf("%d bytes bound", got)
	}
	for f := uint64(200); f < 300; f++ {
		if !c.guest.Take(f) {
			t.Errorf("frame %d is not called zero", f)
		}
	}
}

func TestUnusedGoesBack(t *testing.T) {
	c := newCell(t, Policies[0], nil)
	c.guest.Tell(ring.Intent{Op: ring.OpBind, First: 200, Count: 100})
	eventually(t, "100 unused frames go back", func() bool { return c.Pager.Stats().Unused == 100 })
}

func TestLimit(t *testing.T) {
	var limit uint64
	c := newCell(t, Policies[0], func(o *Options) {
		n, err := o.Memory.Resident()
		if err != nil {
			t.Fatal(err)
		}
		limit = n + 60*ring.FrameSize
		o.Limit = limit
	})
	c.guest.Tell(ring.Intent{Op: ring.OpBind, First: 200, Count: 100})
	eventually(t, "frames are refused", func() bool { return c.Pager.Stats().Refused > 0 })
	eventually(t, "the rest is bound", func() bool { return c.Pager.Stats().Bound > 0 })
	if n := c.resident(t); n > limit {
		t.Errorf("%d bytes are bound, the limit is %d", n, limit)
	}
}

// TestSetLimit: a limit that comes later holds, too.
func TestSetLimit(t *testing.T) {
	policy := Policies[0]
	policy.Delay = time.Hour
	c := newCell(t, policy, nil)
	before := c.resident(t)
	c.touch(t, 500, 100)
	c.give(t, 500, 100)
	c.SetLimit(before + 50*ring.FrameSize)
	eventually(t, "free frames go back", func() bool { return c.Pager.Stats().Unbound == 100 })
	if s := c.Pager.Stats(); !s.Pressure || s.Limit != before+50*ring.FrameSize {
		t.Errorf("%+v", s)
	}
	c.SetLimit(0)
	eventually(t, "there is room again", func() bool { return !c.Pager.Stats().Pressure })
	if s := c.Pager.Stats(); s.Limit < c.memory.Size() {
		t.Errorf("%+v", s)
	}
}

func TestPressure(t *testing.T) {
	policy := Policies[0]
	policy.Delay = time.Hour
	var short atomic.Bool
	short.Store(true)
	c := newCell(t, policy, func(o *Options) { o.Pressure = short.Load })
	c.touch(t, 500, 100)
	c.give(t, 500, 100)
	eventually(t, "the delay is ignored", func() bool { return c.Pager.Stats().Unbound == 100 })
	eventually(t, "cache is asked for", func() bool { return c.irqs.Load() > 0 })
	if !c.Pager.Stats().Pressure {
		t.Error("Stats do not say so")
	}
}

func TestGrain(t *testing.T) {
	policy, err := PolicyByName("huge")
	if err != nil {
		t.Fatal(err)
	}
	c := newCell(t, policy, nil)
	c.touch(t, 512, 1024)
	c.give(t, 512, 500) // not the whole block
	c.give(t, 1024, 512)
	eventually(t, "the whole block goes back", func() bool { return c.Pager.Stats().Unbound >= 512 })
	c.give(t, 1012, 12)
	eventually(t, "the other one as well", func() bool { return c.Pager.Stats().Unbound == 1024 })
	if s := c.Pager.Stats(); s.UnbindCalls > 4 {
		t.Errorf("%d calls", s.UnbindCalls)
	}
}

func TestNothingGoesBackWithout(t *testing.T) {
	none, err := PolicyByName("none")
	if err != nil {
		t.Fatal(err)
	}
	c := newCell(t, none, nil)
	c.touch(t, 100, 100)
	c.give(t, 100, 100)
	// What is freed is found when the policy changes.
	if err := c.SetPolicy(Policies[0]); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new policy takes it back", func() bool { return c.Pager.Stats().Unbound == 100 })
	if s := c.Pager.Stats(); s.Scans == 0 || s.Policy != Policies[0].Name {
		t.Errorf("%+v", s)
	}
}

func TestOverflow(t *testing.T) {
	c := newCell(t, Policies[0], nil)
	c.guest.Notify = func() {}
	c.touch(t, 100, 3000)
	for f := uint64(100); f < 3100; f++ {
		if !c.guest.Give(f) {
			t.Fatal("not BOUND")
		}
	}
	// Entries that say nothing, until the ring is full.
	// More than it holds: the pager may be reading.
	for range 4 * ring.Entries {
		c.guest.Tell(ring.Intent{Op: ring.OpGive, First: 10, Count: 1})
	}
	c.Kick()
	eventually(t, "a scan finds what the ring did not say", func() bool { return c.Pager.Stats().Unbound == 3000 })
}

// TestCorrupt: what no guest kernel writes ends the cell, with a reason.
func TestCorrupt(t *testing.T) {
	for name, break_ := range map[string]func(c *cell){
		"operation": func(c *cell) { c.guest.Tell(ring.Intent{Op: 7, First: 1, Count: 1}) },
		"no frames": func(c *cell) { c.guest.Tell(ring.Intent{Op: ring.OpGive, First: 1}) },
		"outside":   func(c *cell) { c.guest.Tell(ring.Intent{Op: ring.OpBind, First: cellFrames - 1, Count: 2}) },
		"far away":  func(c *cell) { c.guest.Tell(ring.Intent{Op: ring.OpBind, First: ring.FrameMask, Count: 1}) },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCell(t, Policies[0], nil)
			break_(c)
			select {
			case err := <-c.failed:
				if !errors.Is(err, ring.ErrCorrupt) {
					t.Errorf("%v", err)
				}
				t.Log(err)
			case <-time.After(patience):
				t.Error("the cell goes on")
			}
		})
	}
}

// bubble starts a Pager in the time of synctest, which waits for no clean-up of
// the test.
func bubble(t *testing.T, o Options) (p *Pager, guest *ring.Guest, end func()) {
	t.Helper()
	mem, err := memory.New("test", cellFrames*ring.FrameSize, controlSize)
	if err != nil {
		t.Fatal(err)
	}
	o.Memory, o.Policy, o.Fail = mem, Policies[0], func(err error) { t.Error(err) }
	if p, err = New(o); err != nil {
		t.Fatal(err)
	}
	all, err := mem.Slice(0, mem.Size())
	if err != nil {
		t.Fatal(err)
	}
	if guest, err = ring.NewGuest(mem.Tail(), all, 0, ring.Rules); err != nil {
		t.Fatal(err)
	}
	guest.Notify = p.Kick
	guest.Boot(0, 4)
	return p, guest, func() {
		p.Close()
		mem.Close()
	}
}

// TestColdCacheOfAShortHost: a cell that works is asked again and again while the
// host is short, also when it had nothing at first.
func TestColdCacheOfAShortHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var activity uint64
		_, guest, end := bubble(t, Options{
			Pressure: func() bool { return true },
			RaiseIRQ: func(uint) error { return nil }, Activity: func() uint64 { activity++; return activity },
		})
		defer end()
		guest.Tell(ring.Intent{Op: ring.OpGive, First: 9, Count: 1})
		cold, reclaimed := uint64(0), uint64(0)
		for second := range 100 {
			time.Sleep(time.Second)
			if second == 10 {
				cold = 10_000
			}
			if n, frames := guest.ReclaimRequest(); n != 0 {
				cold -= frames
				reclaimed += frames
				guest.Reclaimed(n, frames, cold)
			}
		}
		if cold > 2*coldFloor {
			t.Errorf("%d cold frames are left, %d went back", cold, reclaimed)
		}
	})
}

func TestColdCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		p, guest, end := bubble(t, Options{
			Cache:    true,
			RaiseIRQ: func(uint) error { asked++; return nil }, Activity: func() uint64 { return 1 },
		})
		defer end()
		guest.Tell(ring.Intent{Op: ring.OpGive, First: 9, Count: 1})
		time.Sleep(idleLooks*idleTick - 1)
		if asked != 0 {
			t.Error("a cell counts as idle too soon")
		}
		cold := uint64(10_000)
		for range 100 {
			time.Sleep(time.Second)
			if n, frames := guest.ReclaimRequest(); n != 0 {
				cold -= frames
				guest.Reclaimed(n, frames, cold)
			}
		}
		if cold > 2*coldFloor || cold < coldFloor/2 {
			t.Errorf("%d cold frames are left", cold)
		}
		if p.cache.next != (time.Time{}) {
			t.Error("it still looks")
		}
		t.Logf("%d requests", asked)
	})
}

func TestCPU(t *testing.T) {
	c := CPU{Root: t.TempDir()}
	if err := os.MkdirAll(filepath.Join(c.Root, "proc/pressure"), 0o755); err != nil {
		t.Fatal(err)
	}
	look := func(text string) bool {
		if err := os.WriteFile(filepath.Join(c.Root, "proc/pressure/cpu"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return c.Busy()
	}
	if look("some avg10=90.00 avg60=0.00 avg300=0.00 total=5000000000\nfull avg10=0.00 total=0\n") {
		t.Error("busy before there is anything to compare with")
	}
	if look("some avg10=0.00 avg60=0.00 avg300=0.00 total=5000000000\n") {
		t.Error("busy without waiting")
	}
	if !look("some avg10=0.00 avg60=0.00 avg300=0.00 total=9000000000\n") {
		t.Error("waiting is not seen")
	}
	if look("nothing of the kind") {
		t.Error("busy by an odd file")
	}
}

// TestBusy: a host without processors to spare does not bind ahead.
func TestBusy(t *testing.T) {
	policy := Policies[0]
	policy.Delay = time.Hour
	c := newCell(t, policy, func(o *Options) { o.Busy = func() bool { return true } })
	if c.guest.Ahead() == 0 {
		t.Error("nothing is bound ahead by default")
	}
	c.touch(t, 500, 1)
	c.give(t, 500, 1)
	eventually(t, "the guest is told", func() bool { return c.guest.Ahead() == 0 })
}

func TestPolicies(t *testing.T) {
	for _, p := range Policies {
		if err := p.check(); err != nil {
			t.Error(err)
		}
	}
	if _, err := PolicyByName("colour"); err == nil || !strings.Contains(err.Error(), "page, calm, huge, report, report4k, none, off") {
		t.Errorf("%v", err)
	}
	for _, p := range []Policy{{Unbind: true}, {Unbind: true, Grain: 3}, {BindGrain: 5}, {Delay: -1}} {
		if p.check() == nil {
			t.Errorf("%+v is accepted", p)
		}
	}
}

func TestQueue(t *testing.T) {
	var q queue
	q.add(10, 5, 1)
	q.add(15, 5, 1)
	q.add(5, 5, 1)
	if q.len() != 1 {
		t.Errorf("neighbours are not joined: %v", q.spans)
	}
	q.add(100, 1, 2)
	q.add(18, 10, 3)
	if due, n := q.due(10, 8, 100); n != 2 || len(due) != 2 || due[0] != (span{5, 15, 1}) || due[1] != (span{100, 1, 2}) {
		t.Errorf("%v", due)
	}
	if due, n := q.due(10, 0, 100); n != 1 || len(due) != 1 || !q.empty() {
		t.Errorf("%v", due)
	}
	q.add(50, 1, 5)
	q.add(60, 1, 5)
	q.add(70, 1, 20) // when the epoch was another
	if _, n := q.due(10, 0, 1); n != 1 {
		t.Errorf("%d spans instead of one", n)
	}
	if _, n := q.due(10, 0, 100); n != 1 || q.len() != 1 || q.waits(10, 0) {
		t.Errorf("%d spans are due, %d are left", n, q.len())
	}
	q.drop(20, 0)
	for i := range uint64(3 * dueMax) {
		q.add(2*i, 1, 1)
	}
	for range 3 {
		if due, n := q.due(10, 0, queueMax); n != dueMax || len(due) != dueMax {
			t.Errorf("%d spans", n)
		}
	}
	if !q.empty() || q.frames != 0 {
		t.Errorf("%d frames in %d spans are left", q.frames, q.len())
	}
	for i := range uint64(2 * queueMax) {
		q.add(2*i, 1, 1)
	}
	if len(q.spans) != queueMax || !q.overflow.Load() {
		t.Errorf("%d spans", len(q.spans))
	}
}

func TestPressureFiles(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		short bool
	}{
		"nothing": {},
		"calm":    {map[string]string{"proc/pressure/memory": "some avg10=0.10 avg60=0.00 avg300=0.00 total=1\n"}, false},
		"stalls":  {map[string]string{"proc/pressure/memory": "some avg10=12.00 avg60=0.00 avg300=0.00 total=1\n"}, true},
		"odd":     {map[string]string{"proc/pressure/memory": "some\nfull avg10=\n"}, false},
		"v1 full": {map[string]string{
			"proc/self/cgroup": "4:memory:/a\n2:cpu,cpuacct:/a\n",
			"sys/fs/cgroup/memory/a/memory.usage_in_bytes": "99\n", "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "100\n",
		}, true},
		"v1 free": {map[string]string{
			"proc/self/cgroup": "4:memory:/a\n",
			"sys/fs/cgroup/memory/a/memory.usage_in_bytes": "50\n", "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "100\n",
		}, false},
		"v2 full": {map[string]string{
			"proc/self/cgroup": "0::/b\n", "sys/fs/cgroup/b/memory.current": "100\n", "sys/fs/cgroup/b/memory.max": "100\n",
		}, true},
		"v2 max": {map[string]string{
			"proc/self/cgroup": "0::/b\n", "sys/fs/cgroup/b/memory.current": "100\n", "sys/fs/cgroup/b/memory.max": "max\n",
		}, false},
	} {
		root := t.TempDir()
		for path, text := range c.files {
			full := filepath.Join(root, path)
			if err := errors.Join(os.MkdirAll(filepath.Dir(full), 0o755), os.WriteFile(full, []byte(text), 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		if got := (Pressure{Root: root}).Short(); got != c.short {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestNeighbours: frames beside due ones go back with them, in one call.
func TestNeighbours(t *testing.T) {
	mem, err := memory.New("test", cellFrames*ring.FrameSize, controlSize)
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
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
	if _, err := host.Attach(mem.Slice); err != nil {
		t.Fatal(err)
	}
	free := func(epoch uint32, first, count uint64) {
		host.SetEpoch(epoch)
		guest.Boot(first, count)
		for f := first; f < first+count; f++ {
			guest.Give(f)
		}
	}
	free(100, 1000, 100) // due
	free(140, 990, 10)   // nearly due
	free(140, 1100, 10)
	free(170, 1110, 10) // not yet
	b := binder{ring: host, memory: mem}
	var left []ring.Intent
	take := taking{grain: 1, least: 130, epoch: 180, age: 80,
		left:    func(first, count uint64) { left = append(left, ring.Intent{First: first, Count: count}) },
		between: func() error { return nil },
	}
	if err := b.unbind(1000, 100, take); err != nil {
		t.Fatal(err)
	}
	if n := b.count.unbound.Load(); n != 0 || len(left) != 1 || left[0] != (ring.Intent{First: 1000, Count: 110}) {
		t.Errorf("%d frames went back in too short a run, and %v are left", n, left)
	}
	take.least = 120
	if err := b.unbind(1000, 100, take); err != nil {
		t.Fatal(err)
	}
	if calls, frames := b.count.unbindCalls.Load(), b.count.unbound.Load(); calls != 1 || frames != 120 {
		t.Errorf("%d frames in %d calls", frames, calls)
	}
	if n := host.Count(ring.StateFreePending); n != 10 {
		t.Errorf("%d frames are left", n)
	}
}
