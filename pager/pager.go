// SPDX-License-Identifier: Apache-2.0

// Package pager lets the host memory of a cell follow what the guest needs, at
// the grain of a frame: it binds frames before the guest touches them and takes
// back those that are free. docs/pager.md describes it; pager/ring is what it
// shares with the guest.
//
// One goroutine per cell does the work. It sleeps until the guest notifies it,
// and an idle cell does not wake it.
package pager

import (
	"cmp"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/paracell/paracell/pager/ring"
	"github.com/paracell/paracell/vmm/memory"
)

// Options of a Pager.
type Options struct {
	// Memory of the cell. The guest must not run before New has returned.
	Memory *memory.Memory
	// Policy to begin with.
	Policy Policy
	// Limit is the host memory, in bytes, that the cell should have at most; 0
	// is the size of the cell. The Pager never binds beyond it, and while more
	// is bound, by touch, it gives back as when the host is short of memory.
	Limit uint64
	// Cache gives back page cache of an idle cell.
	Cache bool
	// Verify lets the guest check that what it takes for zero is. For tests:
	// it touches every such frame.
	Verify bool
	// Fail ends the cell with a reason. Called at most once.
	Fail func(error)
	// RaiseIRQ raises an interrupt of the guest (platform.Machine).
	RaiseIRQ func(bit uint) error
	// Activity is a number that changes when the guest's processes run. nil:
	// the cell never counts as idle.
	Activity func() uint64
	// Idle says whether the guest's processors sleep. nil: they always do.
	Idle func() bool
	// Pressure says whether the host is short of memory. nil: never.
	Pressure func() bool
	// Group, if there is one, is asked before memory is bound, and closed with the
	// Pager.
	Group *Group
	// Busy says whether the host has no processor to spare for binding ahead
	// of need. nil: it has.
	Busy func() bool
	// Prefault is called for memory that was bound, with GPA and bytes, for
	// platforms with tables of their own (KVM_PRE_FAULT_MEMORY). May be nil.
	Prefault func(gpa, n uint64) error
}

// Pager is the host's side for one cell.
type Pager struct {
	options Options
	ring    *ring.Host
	binder  binder
	started time.Time

	policy  atomic.Pointer[Policy]
	most    atomic.Uint64 // Options.Limit
	look    atomic.Bool   // at the limit, soon
	pressed atomic.Bool
	busy    atomic.Bool

	wake    chan struct{} // capacity 1
	closing chan struct{}
	once    sync.Once
	done    sync.WaitGroup

	// Of the goroutine.
	intents []ring.Intent
	pending queue
	rest    rest
	flood   flood
	burst   bool // one has ended, and its memory goes back
	cache   cache
	pacer   pacer
}

// Times of the goroutine.
const (
	// epochUnit is what Area.Epoch counts.
	epochUnit = time.Millisecond
	// tick is how often freed frames are looked at while there are some and the
	// guest does not work, workTick while it does: each look is taken from it.
	tick     = 5 * time.Millisecond
	workTick = 40 * time.Millisecond
	// collectTime is how long due frames wait for more of them: fewer host
	// calls for the same memory.
	collectTime = 15 * time.Millisecond
	// slowTick is how often idleness and pressure are looked at.
	slowTick = time.Second
	// idleTick is slowTick for cells that give cache back when they are idle.
	idleTick = 250 * time.Millisecond
)

// Frames in numbers.
const (
	// burstFrames waiting to go back are the end of a burst; see
	// Policy.BurstDelay.
	burstFrames = 256 << 20 / ring.FrameSize
	// groupMargin is what is left of a control group's limit: for what others in it
	// use within groupTime.
	groupMargin = 16 << 20 / ring.FrameSize
)

// New prepares the shared area and starts the goroutine, which waits for the
// first notification. Close must be called before the memory is closed.
func New(o Options) (*Pager, error) {
	if err := o.Policy.check(); err != nil {
		return nil, err
	}
	h, err := ring.NewHost(o.Memory.Tail(), o.Memory.Size()/ring.FrameSize)
	if err != nil {
		return nil, err
	}
	p := &Pager{
		options: o, ring: h, binder: binder{ring: h, memory: o.Memory, prefault: o.Prefault},
		started: time.Now(), wake: make(chan struct{}, 1), closing: make(chan struct{}),
	}
	if o.Memory.Huge() {
		if err := p.binder.huge.open(h.Frames()); err != nil {
			return nil, err
		}
	}
	p.cache.pager = p
	p.most.Store(o.Limit)
	p.apply(&o.Policy)
	p.done.Go(p.run)
	return p, nil
}

// apply puts a policy into force.
func (p *Pager) apply(policy *Policy) {
	p.policy.Store(policy)
	flags := uint32(ring.FlagTrack)
	if policy.Unbind {
		flags |= ring.FlagGive
	}
	if p.options.Verify {
		flags |= ring.FlagVerify
	}
	p.ring.SetFlags(flags)
	ahead := policy.Ahead
	if p.pressed.Load() || p.busy.Load() {
		ahead = 0
	}
	p.ring.SetAhead(ahead, policy.BindGrain)
}

// SetPolicy changes the policy of a running cell.
func (p *Pager) SetPolicy(policy Policy) error {
	if err := policy.check(); err != nil {
		return err
	}
	old := p.policy.Load()
	p.apply(&policy)
	if policy.Unbind && !old.Unbind {
		p.pending.overflow.Store(true) // what was freed before is in no ring
	}
	p.Kick()
	return nil
}

// SetLimit changes Options.Limit of a running cell.
func (p *Pager) SetLimit(limit uint64) {
	p.most.Store(limit)
	p.look.Store(true)
	p.Kick()
}

// Kick makes the Pager look at the ring. It does not block and may be called at
// any time.
func (p *Pager) Kick() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Close ends the goroutine and waits for it.
func (p *Pager) Close() {
	p.once.Do(func() {
		close(p.closing)
		p.done.Wait()
		p.binder.huge.close()
		if p.options.Group != nil {
			_ = p.options.Group.Close()
		}
	})
}

var errClosing = errors.New("closing")

// run is the goroutine.
func (p *Pager) run() {
	// A thread of its own: see call_unsafe.go. It ends with the goroutine.
	runtime.LockOSThread()
	exactPauses()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		wait, err := p.round()
		if errors.Is(err, errClosing) {
			return
		}
		if err != nil {
			p.options.Fail(fmt.Errorf("pager: %w", err))
			return
		}
		depth := uint32(ring.SleepDeep)
		if !p.pending.empty() {
			depth = ring.SleepNap
		}
		if !p.ring.Sleep(depth) {
			select {
			case <-p.closing: // a guest can see to it that there is always something
				return
			default:
			}
			continue
		}
		var expired <-chan time.Time
		if wait > 0 {
			timer.Reset(wait)
			expired = timer.C
		}
		select {
		case <-p.closing:
			return
		case <-p.wake:
		case <-expired:
		}
		timer.Stop()
		p.ring.Awake()
	}
}

// now is the epoch.
func (p *Pager) now() uint32 { return uint32(time.Since(p.started) / epochUnit) }

// round does what there is to do and says when the next one is due at the
// latest; 0: when something happens.
func (p *Pager) round() (time.Duration, error) {
	p.pacer.begin()
	// Before the table is looked for: the guest fills the ring after it.
	waiting := p.ring.Waiting()
	ready, err := p.ring.Attach(p.options.Memory.Slice)
	if err == nil && !ready && waiting {
		err = fmt.Errorf("%w: entries before there is a table of words", ring.ErrCorrupt)
	}
	if err != nil || !ready {
		return 0, err
	}
	epoch := p.now()
	p.ring.SetEpoch(epoch)
	if err := p.read(epoch); err != nil {
		return 0, err
	}
	policy := p.policy.Load()
	if p.pending.overflow.Swap(false) || p.ring.Overflowed() {
		p.scan(epoch)
	}
	working := p.rest.working(&p.options)
	p.flood.look(epoch, p.ring.Guest().FreeFrames, p.rest.activity)
	age, collect := p.delays(policy, epoch, working)
	if p.pending.waits(epoch, age+collect) {
		if err := p.takeBack(policy, epoch, age, working); err != nil {
			return 0, err
		}
	}
	p.burst = false
	if p.look.Swap(false) {
		p.cache.soon()
	}
	slow := p.cache.round()
	if p.pending.empty() {
		p.pending.shrink()
		p.intents = nil
		return slow, nil
	}
	wait := tick
	if working && p.rest.quiet == 0 && (p.pending.frames <= burstFrames || p.flood.over(epoch)) {
		wait = max(tick, min(time.Duration(age)*epochUnit/5, workTick))
	}
	return wait, nil
}

// delays finds out whether a burst has ended, and says how long a frame has to have been free, and how long due frames
// wait for more of them, in epochs.
func (p *Pager) delays(policy *Policy, epoch uint32, working bool) (age, collect uint32) {
	age, collect = uint32(policy.Delay/epochUnit), uint32(collectTime/epochUnit)
	if working {
		age = max(age, uint32(policy.WorkDelay/epochUnit))
	}
	switch {
	case p.pressed.Load():
		return 0, 0
	case policy.BurstDelay == 0 || p.pending.frames <= burstFrames:
	case !p.flood.over(epoch):
		// More is coming: the guest shall not be held up while it frees it.
		age = max(age, 2*floodMax)
	case p.surplus() > burstFrames:
		p.burst = true
		return min(age, uint32(policy.BurstDelay/epochUnit)), 0
	}
	return age, collect
}

// read empties the ring: frames to bind are bound at once, free ones are queued.
func (p *Pager) read(epoch uint32) (err error) {
	select {
	case <-p.closing:
		return errClosing
	default:
	}
	if !p.ring.Waiting() {
		return nil
	}
	p.intents, err = p.ring.Read(p.intents[:0])
	if err != nil {
		return err
	}
	p.cache.busy()
	asked := uint64(0)
	for _, i := range p.intents {
		if i.Op == ring.OpBind {
			asked += i.Count
		}
	}
	for _, i := range p.intents {
		if i.Op == ring.OpGive {
			p.pending.add(i.First, i.Count, epoch)
			continue
		}
		if err := p.bind(i.First, i.Count, asked >= hugeAsk, epoch); err != nil {
			return err
		}
	}
	return nil
}

// bind provides memory ahead of need, within the limits; in huge pages if there
// are some.
func (p *Pager) bind(first, count uint64, huge bool, epoch uint32) error {
	policy := p.policy.Load()
	resident, limit, err := p.resident()
	if err != nil {
		return err
	}
	most, room := uint64(max(policy.Ahead, policy.BindGrain)), uint64(0)
	if resident < limit {
		room = (limit - resident) / ring.FrameSize
	}
	if p.options.Group != nil {
		room = min(room, p.options.Group.Room()/ring.FrameSize)
		room -= min(room, groupMargin)
	}
	if p.pressed.Load() || p.burst {
		// The guest has a window open still as wide as the burst was.
		most = 0
	}
	most = min(most, room)
	if count > most {
		p.binder.count.refused.Add(count - most)
		count = most
	}
	if count == 0 {
		return nil
	}
	if !huge {
		room = 0 // for more than was asked for
	}
	before := p.binder.count.bound.Load()
	from, to, err := p.binder.bind(first, count, room, epoch)
	if p.options.Group != nil {
		p.options.Group.bound((p.binder.count.bound.Load() - before) * ring.FrameSize)
	}
	if errors.Is(err, errNoMemory) {
		p.binder.count.refused.Add(first + count - min(to, first+count))
	} else if err != nil {
		return err
	}
	if policy.Unbind && to > from {
		// What is not used soon goes back.
		p.pending.add(from, to-from, epoch)
	}
	return nil
}

// resident is the host memory that is bound, and its limit, in bytes.
func (p *Pager) resident() (now, limit uint64, err error) {
	now, err = p.options.Memory.Resident()
	return now, p.limit(), err
}

// surplus is how many frames are bound and not in use, at least: some of those in
// use have never been touched. The queue may have a frame many times.
func (p *Pager) surplus() uint64 {
	resident, _, err := p.resident()
	used := p.ring.Frames() - min(p.ring.Frames(), p.ring.Guest().FreeFrames)
	if bound := resident / ring.FrameSize; err == nil && bound > used {
		return bound - used
	}
	return 0
}

// limit of host memory in bytes.
func (p *Pager) limit() uint64 {
	return cmp.Or(p.most.Load(), p.options.Memory.Size()+uint64(len(p.options.Memory.Tail())))
}

// takeBack unbinds what has been free long enough.
func (p *Pager) takeBack(policy *Policy, epoch, age uint32, working bool) error {
	if !policy.Unbind {
		p.pending.drop(epoch, age)
		return nil
	}
	t := taking{grain: policy.Grain, least: 1, epoch: epoch, age: age}
	if working && !p.pressed.Load() {
		t.least, t.cut = workRun, age+uint32(cutDelay/epochUnit)
	}
	t.left = func(first, count uint64) { p.pending.add(first, count, epoch) }
	t.between = func() error {
		if !p.pressed.Load() {
			p.pacer.rest()
		}
		// The epoch stays: for what is freed or bound meanwhile, too.
		return p.read(epoch)
	}
	// What is left over for later has its turn then.
	for todo := p.pending.len(); todo > 0; {
		due, n := p.pending.due(epoch, age, todo)
		if n == 0 {
			break
		}
		todo -= n
		for _, r := range due {
			if err := p.binder.unbind(r.first, r.count, t); err != nil {
				return err
			}
		}
		if err := t.between(); err != nil {
			return err
		}
	}
	return nil
}

// scan looks for free frames in the whole table.
func (p *Pager) scan(epoch uint32) {
	p.binder.count.scans.Add(1)
	start := uint64(0)
	frames := p.ring.Frames()
	for f := uint64(0); f <= frames; f++ {
		if f < frames && p.ring.Word(f).State() == ring.StateFreePending {
			continue
		}
		if f > start {
			p.pending.add(start, f-start, epoch)
		}
		start = f + 1
	}
}

// FreeBound counts the frames that are bound and free, by the table: what is
// bound without need. It reads the whole table. It may be called at any time
// before Close.
func (p *Pager) FreeBound() uint64 {
	return p.ring.Count(ring.StateFreePending)
}
