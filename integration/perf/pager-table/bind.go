// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/paracell/paracell/pager"
	"github.com/paracell/paracell/pager/ring"
	"github.com/paracell/paracell/vmm/memory"
)

const (
	bindFrames  = 16384 // 64 MiB
	bindRequest = 512   // frames of an intent
	bindCall    = 64    // frames of a host call, as the pager does it
	controlSize = 16 << 20
)

// processorTime of this process so far.
func processorTime() (time.Duration, error) {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0, err
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}

// provide provides frames by the host's call alone, without a pager, and returns the
// processor time per frame.
func provide() (float64, error) {
	m, err := memory.New("pager-table", bindFrames*ring.FrameSize, controlSize)
	if err != nil {
		return 0, err
	}
	defer m.Close()
	begin, err := processorTime()
	if err != nil {
		return 0, err
	}
	for f := uint64(0); f < bindFrames; f += bindCall {
		s, err := m.Slice(f*ring.FrameSize, bindCall*ring.FrameSize)
		if err != nil {
			return 0, err
		}
		for err = unix.EINTR; err == unix.EINTR || err == unix.EAGAIN; {
			err = unix.Madvise(s, unix.MADV_POPULATE_WRITE)
		}
		if err != nil {
			return 0, err
		}
	}
	end, err := processorTime()
	return float64(end-begin) / bindFrames, err
}

// bindOnce asks a pager for the same frames, by its ring; outside is the part of
// the time that is not the host's call.
func bindOnce() (all, outside float64, err error) {
	m, err := memory.New("pager-table", bindFrames*ring.FrameSize, controlSize)
	if err != nil {
		return 0, 0, err
	}
	defer m.Close()
	policy := pager.Policies[0]
	policy.Unbind = false
	failed := make(chan error, 1)
	p, err := pager.New(pager.Options{Memory: m, Policy: policy, Limit: m.Size() + controlSize, Fail: func(err error) { failed <- err }})
	if err != nil {
		return 0, 0, err
	}
	defer p.Close()
	guest, err := m.Slice(0, m.Size())
	if err != nil {
		return 0, 0, err
	}
	g, err := ring.NewGuest(m.Tail(), guest, 0, ring.Rules)
	if err != nil {
		return 0, 0, err
	}
	const table = bindFrames * 4 / ring.FrameSize
	g.Boot(0, table)
	g.Notify = p.Kick
	begin, err := processorTime()
	if err != nil {
		return 0, 0, err
	}
	for f := uint64(table); f < bindFrames; f += bindRequest {
		g.Tell(ring.Intent{Op: ring.OpBind, First: f, Count: min(bindRequest, bindFrames-f)})
	}
	const want = bindFrames - table
	for deadline := time.Now().Add(time.Minute); p.Stats().Bound < want; {
		if time.Now().After(deadline) {
			return 0, 0, fmt.Errorf("the pager binds nothing more: %+v", p.Stats())
		}
		select {
		case err := <-failed:
			return 0, 0, err
		default:
			time.Sleep(20 * time.Millisecond)
		}
	}
	end, err := processorTime()
	call := time.Duration(p.Stats().BindNs)
	return float64(end-begin) / want, float64(end-begin-call) / want, err
}

// bind: what binding ahead costs beyond what the host takes for a zeroed page,
// on the host and in the guest.
func (t *table) bind() error {
	t.printf("## Cost of a frame that is bound ahead\n\nProcessor time in ns per frame of 4 KiB; medians, and the best round; the sides in turns.\n")
	var plain, bound, outside []float64
	for range max(10*t.rounds, 10) {
		a, err := provide()
		if err != nil {
			return err
		}
		b, o, err := bindOnce()
		if err != nil {
			return err
		}
		plain, bound, outside = append(plain, a), append(bound, b), append(outside, o)
	}
	t.printf("\n| | median | best |\n|---|---|---|\n")
	t.printf("| the host's call alone (MADV_POPULATE_WRITE, %d frames) | %.0f | %.0f |\n", bindCall, median(plain), slices.Min(plain))
	t.printf("| through ring, table and pager | %.0f | %.0f |\n", median(bound), slices.Min(bound))
	t.printf("| of it outside the host's call | %.0f | %.0f |\n", median(outside), slices.Min(outside))

	// In the guest: memory that is bound already, taken and given all the
	// time; the lists of the allocator are visited every time.
	program := filepath.Join(t.repo, "bin/perf/touch")
	sides := []string{"off", "none", "page"}
	all := map[string][]float64{}
	var delta []float64
	for range t.rounds {
		for _, side := range sides {
			r, err := t.cell(side, "512M", time.Second, fmt.Sprintf("%s 64 12 0", program))
			if err != nil {
				return err
			}
			v, err := numbers(r.out)
			if err != nil {
				return err
			}
			all[side] = append(all[side], v[2:]...)
			if side == "none" {
				n := len(v) - 2
				delta = append(delta, median(all["none"][len(all["none"])-n:])-median(all["off"][len(all["off"])-n:]))
			}
		}
	}
	t.printf("\nIn the guest, touch of memory that was used before; hooks and table are in use with `none` and `page`:\n\n| | median | best |\n|---|---|---|\n")
	for _, side := range sides {
		t.printf("| %s | %.0f | %.0f |\n", side, median(all[side]), slices.Min(all[side]))
	}
	t.printf("| `none` less `off`, neighbours | %.0f | %.0f |\n\n", median(delta), slices.Min(all["none"])-slices.Min(all["off"]))
	return nil
}
