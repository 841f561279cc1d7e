// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// Guest is the guest's end as kernel/src/arch/um/paracell/pager.c has it, for
// tests. Methods may be called from many goroutines for different frames.
type Guest struct {
	area  *Area
	words []uint32
	rules Table
	// Notify is called when the host has to be woken.
	Notify func()

	mu sync.Mutex // the zone's lock: producers of the ring
}

// NewGuest starts the guest's end: the table of words is at gpa of memory.
func NewGuest(control, memory []byte, gpa uint64, rules Table) (*Guest, error) {
	a, err := areaOf(control)
	if err != nil {
		return nil, err
	}
	frames := uint64(len(memory)) / FrameSize
	g := &Guest{area: a, words: wordsOf(memory[gpa : gpa+4*frames]), rules: rules, Notify: func() {}}
	atomic.StoreUint64(&a.TableGPA, gpa)
	atomic.StoreUint64(&a.TableFrames, frames)
	return g, nil
}

// Take takes a frame out of the free lists and says whether it reads as zero.
func (g *Guest) Take(frame uint64) (zero bool) {
	w := &g.words[frame]
	for {
		old := Word(atomic.LoadUint32(w))
		next, verdict := g.rules.Next(Take, old, 0)
		switch verdict {
		case Wait:
			runtime.Gosched()
			continue
		case Skip, Bad:
			return false
		}
		if atomic.CompareAndSwapUint32(w, uint32(old), uint32(next)) {
			return g.use(w)
		}
	}
}

// use hands the frame to its user, as post_alloc_hook does.
func (g *Guest) use(w *uint32) bool {
	old := atomic.LoadUint32(w)
	return old&Zero != 0 && atomic.CompareAndSwapUint32(w, old, old&^Zero)
}

// Give puts a frame into the free lists without telling the host.
func (g *Guest) Give(frame uint64) bool {
	return do(&g.words[frame], &g.rules, Give, atomic.LoadUint32(&g.area.Epoch))
}

// Tell puts an entry into the ring.
func (g *Guest) Tell(i Intent) {
	g.mu.Lock()
	defer g.mu.Unlock()
	a := g.area
	tail := atomic.LoadUint64(&a.Tail)
	if tail-atomic.LoadUint64(&a.Head) >= Entries {
		atomic.StoreUint32(&a.Overflow, 1)
	} else {
		atomic.StoreUint64(&a.Ring[tail%Entries], uint64(i.Op)<<OpShift|i.Count<<CountShift|i.First)
		atomic.StoreUint64(&a.Tail, tail+1)
	}
	depth := atomic.LoadUint32(&a.Sleeping)
	if depth == SleepDeep || depth == SleepNap && i.Op == OpBind {
		if atomic.CompareAndSwapUint32(&a.Sleeping, depth, SleepNot) {
			g.Notify()
		}
	}
}

// Boot marks frames that are in use before the allocator starts.
func (g *Guest) Boot(first, count uint64) {
	for f := first; f < first+count; f++ {
		atomic.StoreUint32(&g.words[f], StateBound)
	}
}

// ReclaimRequest is the request for page cache that has not been answered; 0 if
// there is none.
func (g *Guest) ReclaimRequest() (seq uint32, frames uint64) {
	seq = atomic.LoadUint32(&g.area.ReclaimSeq)
	if seq == atomic.LoadUint32(&g.area.ReclaimAck) {
		return 0, 0
	}
	return seq, atomic.LoadUint64(&g.area.ReclaimFrames)
}

// Reclaimed answers a request: so many frames went back, so many cold ones are
// left.
func (g *Guest) Reclaimed(seq uint32, frames, cold uint64) {
	atomic.AddUint64(&g.area.Stats.Reclaimed, frames)
	atomic.StoreUint64(&g.area.Stats.ColdFrames, cold)
	atomic.StoreUint32(&g.area.ReclaimAck, seq)
}

// Ahead is how many frames may be bound ahead.
func (g *Guest) Ahead() uint32 { return atomic.LoadUint32(&g.area.AheadMax) }
