// SPDX-License-Identifier: Apache-2.0

package pager

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/paracell/paracell/pager/ring"
	"github.com/paracell/paracell/vmm/memory"
)

// hostileSeconds in the environment makes TestHostileGuest longer.
const hostileSeconds = "PARACELL_HOSTILE_SECONDS"

// TestHostileGuest scribbles over everything that the guest can write while the
// Pager works: entries, indices, words and the place of the table. What the host
// has beside the guest's frames must stay as it is, and the Pager either goes on
// or ends the cell with a reason.
func TestHostileGuest(t *testing.T) {
	seconds, err := strconv.Atoi(os.Getenv(hostileSeconds))
	if err != nil {
		seconds = 1
	}
	ended := 0
	began := time.Now()
	rounds := 0
	// One round in twenty ends it, and how many there are depends on the machine.
	for ; time.Since(began) < time.Duration(seconds)*time.Second || ended == 0 && rounds < 500; rounds++ {
		if hostileRound(t, uint64(rounds)) {
			ended++
		}
	}
	if ended == 0 {
		t.Error("no round has ended a cell: the guest was not hostile enough")
	}
	t.Logf("%d rounds, %d of them ended the cell", rounds, ended)
}

// hostileRound says whether the Pager gave up.
func hostileRound(t *testing.T, seed uint64) (failed bool) {
	policy := Policies[seed%uint64(len(Policies))]
	policy.Delay = 0
	newMemory := memory.New
	if seed/uint64(len(Policies))%2 == 0 {
		newMemory = memory.NewHuge
	}
	c := newCellOf(t, newMemory, policy, func(o *Options) { o.Verify = seed%2 == 0 })
	defer c.Pager.Close()
	// Behind the ring the control area belongs to others.
	tail := c.memory.Tail()
	const behind = ring.Offset + 256<<10
	fence := tail[behind : behind+4096]
	for i := range fence {
		fence[i] = 0xa5
	}
	var guests sync.WaitGroup
	stop := make(chan struct{})
	for cpu := range uint64(2) {
		guests.Go(func() {
			r := rand.New(rand.NewPCG(seed, cpu))
			for n := 0; n < 20_000; n++ {
				select {
				case <-stop:
					return
				default:
				}
				c.scribble(r, seed)
			}
		})
	}
	done := make(chan struct{})
	go func() { guests.Wait(); close(done) }()
	select {
	case err := <-c.failed:
		close(stop)
		<-done
		if !errors.Is(err, ring.ErrCorrupt) {
			t.Errorf("round %d: %v", seed, err)
		}
		failed = true
	case <-done:
	}
	for i, b := range fence {
		if b != 0xa5 {
			t.Fatalf("round %d: byte %d behind the ring was changed", seed, i)
		}
	}
	if n := c.resident(t); n > c.memory.Size()+uint64(len(tail)) {
		t.Errorf("round %d: %d bytes are bound", seed, n)
	}
	_ = c.Pager.Stats()
	_ = c.FreeBound()
	return failed
}

// scribble writes one thing that no guest of ours would write.
func (c *cell) scribble(r *rand.Rand, seed uint64) {
	area := c.memory.Tail()[ring.Offset:]
	switch r.IntN(8) {
	case 0, 1, 2: // words of any frame, in any state
		_ = c.memory.StoreUint32(r.Uint64N(cellFrames)*4, r.Uint32())
	case 3, 4: // entries that are in order but lie
		f := r.Uint64N(cellFrames)
		c.guest.Tell(ring.Intent{Op: 1 + r.Uint32N(2), First: f, Count: 1 + r.Uint64N(cellFrames-f)})
	case 5: // figures
		binary.NativeEndian.PutUint64(area[192+8*r.IntN(14):], r.Uint64())
	case 6:
		c.Kick()
	case 7:
		if seed%4 != 3 || r.IntN(2000) != 0 {
			return
		}
		// Indices, entries, the place of the table.
		binary.NativeEndian.PutUint64(area[128+8*r.IntN(4):], r.Uint64())
	}
}

// TestEntriesBeforeTable: a ring that is never empty, and no table to go with it,
// must not keep the Pager busy for ever.
func TestEntriesBeforeTable(t *testing.T) {
	mem, err := memory.New("test", cellFrames*ring.FrameSize, controlSize)
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	failed := make(chan error, 1)
	p, err := New(Options{
		Memory: mem, Policy: Policies[0], Fail: func(err error) { failed <- err },
		RaiseIRQ: func(uint) error { return nil }, Activity: func() uint64 { return 0 },
	})
	if err != nil {
		t.Fatal(err)
	}
	const tail = 128 // PAGER_AREA_TAIL_OFFSET
	binary.NativeEndian.PutUint64(mem.Tail()[ring.Offset+tail:], 1)
	p.Kick()
	select {
	case err := <-failed:
		if !errors.Is(err, ring.ErrCorrupt) {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("it did not notice")
	}
	p.Close()
}
