// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"context"
	"errors"
	"testing"

	"github.com/paracell/paracell/vmm/platform"
	"github.com/paracell/paracell/xgate/abi"
)

// fake is a machine whose guest runs until it is told to end.
type fake struct {
	Life
	end                chan platform.Exit
	startErr           error
	interrupted, freed int
}

func newFake(t *testing.T) *fake {
	t.Helper()
	mem, control, err := Blank("life", 4<<20, false)
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{end: make(chan platform.Exit, 1)}
	f.Init(platform.Config{Name: "life", Vcpus: 1, Devices: 2}, mem, control, Ways{
		Start: func(context.Context) error {
			if f.startErr != nil {
				return f.startErr
			}
			f.Runs(func() {})
			f.Go(func() {
				var x platform.Exit
				select {
				case x = <-f.end:
				case <-f.Closing():
					f.Kill()
				}
				f.Stopped()
				f.Ended(x)
			})
			return nil
		},
		Interrupt: func(int) error { f.interrupted++; return nil },
		Free:      func() error { f.freed++; return nil },
	})
	t.Cleanup(func() {
		if err := errors.Join(f.Close(), f.Close()); err != nil || f.freed != 1 || f.Devices() != nil {
			t.Errorf("Close: %v, %d times freed", err, f.freed)
		}
	})
	return f
}

func want(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) || (want == nil) != (err == nil) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

func (f *fake) wait() error {
	_, err := f.Wait(context.Background())
	return err
}

func TestLife(t *testing.T) {
	f := newFake(t)
	want(t, "Wait before Start", f.wait(), platform.ErrState)
	want(t, "Kick before Start", f.Kick(0), platform.ErrState)
	want(t, "Start", f.Start(t.Context()), nil)
	want(t, "Start again", f.Start(t.Context()), platform.ErrState)
	want(t, "Kick", f.Kick(0), nil)
	want(t, "Kick of another vCPU", f.Kick(1), platform.ErrConfig)
	want(t, "RaiseIRQ", f.RaiseIRQ(3), nil)
	want(t, "RaiseIRQ again", f.RaiseIRQ(3), nil)
	want(t, "RaiseIRQ out of range", f.RaiseIRQ(platform.MaxInterrupts), platform.ErrConfig)
	if p := f.Control().Vcpus[0].Pending; p != 1<<3 || f.interrupted != 2 {
		t.Errorf("pending %#x, %d times interrupted", p, f.interrupted)
	}
	f.end <- platform.Exit{Reason: abi.ReasonPowerOff, Code: 7}
	if x, err := f.Wait(t.Context()); err != nil || x.Code != 7 {
		t.Errorf("Wait: %+v, %v", x, err)
	}
	want(t, "Kick after the end", f.Kick(0), platform.ErrEnded)
	want(t, "RaiseIRQ after the end", f.RaiseIRQ(4), platform.ErrEnded)
	if s := f.Stats(func(*platform.Stats, *abi.Control) {}); s.Kicks != 2 || s.Interrupts != 1 {
		t.Errorf("stats %+v", s)
	}
}

func TestLifeClosedWhileRunning(t *testing.T) {
	f := newFake(t)
	want(t, "Start", f.Start(t.Context()), nil)
	want(t, "Close", f.Close(), nil)
	want(t, "Wait", f.wait(), platform.ErrClosed)
	want(t, "Kick", f.Kick(0), platform.ErrClosed)
	want(t, "Start", f.Start(t.Context()), platform.ErrClosed)
	f.Stats(func(*platform.Stats, *abi.Control) { t.Error("figures of a machine that is gone") })
}

func TestLifeNotStarted(t *testing.T) {
	f := newFake(t)
	f.startErr = errors.New("no")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	want(t, "Start with an ended context", f.Start(ctx), context.Canceled)
	want(t, "Start that fails", f.Start(t.Context()), f.startErr)
	want(t, "Wait", f.wait(), platform.ErrState)
	want(t, "Close", f.Close(), nil)
	want(t, "Wait after Close", f.wait(), platform.ErrClosed)
}
