// SPDX-License-Identifier: Apache-2.0

package pager

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/paracell/paracell/pager/ring"
	"github.com/paracell/paracell/vmm/memory"
)

// The stress test runs a guest's page allocator in another process, on the same
// memfd as the Pager. Its users fill frames with patterns and look whether they
// find them again, and whether what is called zero is zero.

const (
	// stressRole is set in the environment of the guest's process: the rules
	// that it follows.
	stressRole = "PARACELL_STRESS_ROLE"
	// stressOps is the number of allocations and frees; the default is
	// short.
	stressOps = "PARACELL_STRESS_OPS"

	stressFrames  = 4096
	controlSize   = 16 << 20
	stressCPUs    = 2
	tableGPA      = 0
	tableFrames   = stressFrames * 4 / ring.FrameSize
	statusLost    = 3
	stressTimeout = 3 * time.Hour // of a long one
)

// brokenRules let the guest take a frame whose memory is being taken away.
func brokenRules() ring.Table {
	r := ring.Rules
	r[ring.Take] = r[ring.Take]&^(15<<(4*ring.StateUnbinding)) | ring.StateBound<<(4*ring.StateUnbinding)
	return r
}

// allocator is the guest's free lists: last in, first out, as in a kernel.
type allocator struct {
	guest *ring.Guest
	mem   []byte
	huge  bool // ask for huge pages
	mu    sync.Mutex
	free  []uint64
	seq   atomic.Uint64
}

// pop and push also do what the zone's lock protects in the kernel.
func (a *allocator) pop(r *rand.Rand) (frame uint64, zero, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := len(a.free)
	if n == 0 {
		return 0, false, false
	}
	if !a.huge && r.IntN(8) == 0 { // now and then from anywhere
		i := r.IntN(n)
		a.free[i], a.free[n-1] = a.free[n-1], a.free[i]
	}
	frame = a.free[n-1]
	a.free = a.free[:n-1]
	zero = a.guest.Take(frame)
	if n > 64 && r.IntN(16) == 0 {
		a.guest.Tell(ring.Intent{Op: ring.OpBind, First: a.free[n-32], Count: 1})
	}
	if a.huge && r.IntN(64) == 0 {
		a.guest.Tell(ring.Intent{Op: ring.OpBind, First: r.Uint64N(stressFrames/hugeGrain) * hugeGrain, Count: hugeGrain})
	}
	return frame, zero, true
}

func (a *allocator) push(frame uint64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	ok := a.guest.Give(frame)
	a.guest.Tell(ring.Intent{Op: ring.OpGive, First: frame, Count: 1})
	a.free = append(a.free, frame)
	return ok
}

// sort makes the lowest frames the next, as a kernel does by joining neighbours: or
// no huge page would ever be free as a whole.
func (a *allocator) sort() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.huge {
		slices.SortFunc(a.free, func(x, y uint64) int { return cmp.Compare(y, x) })
	}
}

// page is the memory of a frame; places are the words of it that are looked at.
func (a *allocator) page(frame uint64) []byte {
	return a.mem[frame*ring.FrameSize : (frame+1)*ring.FrameSize]
}

var places = []int{0, 8, 64, 1024, 2048, 3000 &^ 7, 4088}

func (a *allocator) holds(frame, pattern uint64) bool {
	p := a.page(frame)
	for _, at := range places {
		if binary.NativeEndian.Uint64(p[at:]) != pattern {
			return false
		}
	}
	return true
}

func (a *allocator) fill(frame, pattern uint64) {
	p := a.page(frame)
	for _, at := range places {
		binary.NativeEndian.PutUint64(p[at:], pattern)
	}
}

// cpu allocates and frees until ops are done or something is lost.
func (a *allocator) cpu(seed uint64, ops int) error {
	r := rand.New(rand.NewPCG(seed, seed))
	type held struct{ frame, pattern uint64 }
	var mine []held
	grow := true
	for range ops {
		if len(mine) == 0 {
			grow = true
			a.sort()
		} else if len(mine) > stressFrames/stressCPUs*9/10 || r.IntN(4000) == 0 {
			grow = false
		}
		if grow == (r.IntN(4) != 0) {
			frame, zero, ok := a.pop(r)
			if !ok {
				grow = false
				continue
			}
			if zero && !a.holds(frame, 0) {
				return fmt.Errorf("frame %#x is called zero and holds %x", frame, a.page(frame)[:8])
			}
			h := held{frame, a.seq.Add(1)}
			a.fill(h.frame, h.pattern)
			mine = append(mine, h)
		} else if n := len(mine); n > 0 {
			i := r.IntN(n)
			h := mine[i]
			mine[i] = mine[n-1]
			mine = mine[:n-1]
			if !a.holds(h.frame, h.pattern) {
				return fmt.Errorf("frame %#x lost its content: %x instead of %x", h.frame, a.page(h.frame)[:8], h.pattern)
			}
			if !a.push(h.frame) {
				return fmt.Errorf("frame %#x is not BOUND when it is freed", h.frame)
			}
		}
	}
	return nil
}

// stressGuest is the guest's process: memfd at 3, notification pipe at 4.
func stressGuest(role string) int {
	mem, err := unix.Mmap(3, 0, stressFrames*ring.FrameSize+controlSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	rules := ring.Rules
	if role == "broken" {
		rules = brokenRules()
	}
	const size = stressFrames * ring.FrameSize
	g, err := ring.NewGuest(mem[size:], mem[:size], tableGPA, rules)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	g.Notify = func() { _, _ = unix.Write(4, []byte{1}) }
	g.Boot(0, tableFrames)
	a := &allocator{guest: g, mem: mem[:size], huge: role == "huge"}
	for f := uint64(stressFrames) - 1; f >= tableFrames; f-- {
		a.free = append(a.free, f)
	}
	ops, _ := strconv.Atoi(os.Getenv(stressOps))
	errs := make(chan error)
	for c := range stressCPUs {
		go func() { errs <- a.cpu(uint64(c)+1, ops/stressCPUs) }()
	}
	for range stressCPUs {
		if err := <-errs; err != nil {
			fmt.Println(err)
			return statusLost
		}
	}
	return 0
}

// stress runs the guest's process against a Pager and returns its exit status,
// its output and the Pager's figures.
func stress(t *testing.T, newMemory allocate, role string, ops int) (int, string, Stats) {
	t.Helper()
	mem, err := newMemory("stress", stressFrames*ring.FrameSize, controlSize)
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	var failed atomic.Pointer[error]
	policy := Policies[0]
	policy.Delay = 0
	p, err := New(Options{Memory: mem, Policy: policy, Fail: func(err error) { failed.Store(&err) }})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), stressTimeout)
	defer cancel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), stressRole+"="+role, stressOps+"="+strconv.Itoa(ops))
	cmd.ExtraFiles = []*os.File{mem.File(), w}
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	var kicks sync.WaitGroup
	kicks.Go(func() {
		defer r.Close()
		buf := make([]byte, 4096)
		for {
			if _, err := r.Read(buf); err != nil {
				return
			}
			p.Kick()
		}
	})
	_ = cmd.Wait()
	kicks.Wait()
	if err := failed.Load(); err != nil {
		t.Fatalf("the pager ended the cell: %v", *err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), p.Stats()
}

func TestStress(t *testing.T) {
	ops := 400_000
	if n, err := strconv.Atoi(os.Getenv(stressOps)); err == nil {
		ops = n
	}
	status, out, s := stress(t, memory.New, "right", ops)
	if status != 0 {
		t.Fatalf("status %d: %s", status, out)
	}
	if s.Bound == 0 || s.Unbound == 0 {
		t.Errorf("nothing was tried: %+v", s)
	}
	t.Logf("%d operations: %d frames bound ahead, %d unbound", ops, s.Bound, s.Unbound)
}

// TestStressFindsPlantedBug: the same test has to notice a guest that does not
// wait.
func TestStressFindsPlantedBug(t *testing.T) {
	for range 20 {
		if status, out, _ := stress(t, memory.New, "broken", 400_000); status == statusLost {
			t.Log(strings.TrimSpace(out))
			return
		}
	}
	t.Error("not found in 20 runs")
}
