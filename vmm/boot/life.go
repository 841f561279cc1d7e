// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"github.com/paracell/paracell/vmm/memory"
	"github.com/paracell/paracell/vmm/platform"
	"github.com/paracell/paracell/xgate/abi"
)

// Life is what the machines of all platforms have in common: the order of calls,
// guest memory and its control area, interrupts, counters. A machine embeds it and
// has its methods of platform.Machine.
//
// Lock order: op before mu. op serialises Start and Close, which wait; mu guards
// guest memory, and what Ways.Free gives back, against Close, and is held for a few
// instructions only.
type Life struct {
	cfg    platform.Config
	ways   Ways
	memory *memory.Memory

	op    sync.Mutex
	begun bool // Start was called
	done  bool // Close was called

	mu      sync.RWMutex
	control *abi.Control // nil after Close
	running bool         // between a successful Start and the end of the guest

	closing   chan struct{} // closed by Close before it does anything else
	closeOnce sync.Once
	started   chan struct{} // closed when Start has succeeded
	ended     chan struct{} // closed when the guest has ended; exit is valid then
	exit      platform.Exit
	killed    atomic.Bool

	goroutines                                     sync.WaitGroup
	consoleBytes, notifications, interrupts, kicks atomic.Uint64
}

// Ways is what a platform does in its own way.
type Ways struct {
	// Start lets the guest run, and calls Runs when it does. What it has
	// begun before an error it ends by itself.
	Start func(context.Context) error
	// Interrupt makes a vCPU of a running guest look at its pending bits.
	Interrupt func(vcpu int) error
	// Free gives back all but memory. The guest has ended, or never begun.
	Free func() error
}

// Init prepares a machine that has memory and a loaded control area.
func (l *Life) Init(cfg platform.Config, mem *memory.Memory, control *abi.Control, ways Ways) {
	l.cfg, l.memory, l.control, l.ways = cfg, mem, control, ways
	l.closing, l.started, l.ended = make(chan struct{}), make(chan struct{}), make(chan struct{})
}

// Memory implements platform.Machine.
func (l *Life) Memory() *memory.Memory { return l.memory }

// Devices implements platform.Machine.
func (l *Life) Devices() []abi.VirtioDevice {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.control == nil {
		return nil
	}
	return l.control.Devices[:l.cfg.Devices]
}

// Start implements platform.Machine.
func (l *Life) Start(ctx context.Context) error {
	l.op.Lock()
	defer l.op.Unlock()
	switch {
	case l.done:
		return platform.ErrClosed
	case l.begun:
		return fmt.Errorf("%w: already started", platform.ErrState)
	case ctx.Err() != nil:
		return ctx.Err()
	}
	l.begun = true
	if err := l.ways.Start(ctx); err != nil {
		if ctx.Err() != nil {
			err = errors.Join(ctx.Err(), err)
		}
		return fmt.Errorf("start cell %s: %w", l.cfg.Name, err)
	}
	close(l.started)
	return nil
}

// Control is the control area, for Start and for goroutines that end before the
// machine is closed.
func (l *Life) Control() *abi.Control { return l.control }

// Closing is closed when the machine is being closed.
func (l *Life) Closing() <-chan struct{} { return l.closing }

// Started says whether Start has succeeded.
func (l *Life) Started() bool {
	select {
	case <-l.started:
		return true
	default:
		return false
	}
}

// Done is closed when the guest has ended.
func (l *Life) Done() <-chan struct{} { return l.ended }

// Go runs f; Close waits for its end.
func (l *Life) Go(f func()) { l.goroutines.Go(f) }

// Runs says that the guest runs from now on; set is called before anybody may
// interrupt it.
func (l *Life) Runs(set func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	set()
	l.running = true
}

// Stopped says that the guest does not run any more: nobody interrupts it.
func (l *Life) Stopped() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running = false
}

// Kill notes that it is Close that ends the guest, unless that has ended before.
func (l *Life) Kill() {
	select {
	case <-l.ended:
	default:
		l.killed.Store(true)
	}
}

// Ended says how the guest has ended. Called once.
func (l *Life) Ended(x platform.Exit) {
	l.exit = x
	close(l.ended)
}

// Whole calls f with the machine guarded against Close, if the guest runs.
// Otherwise it returns why it does not.
func (l *Life) Whole(f func(*abi.Control) error) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	switch {
	case l.control == nil:
		return platform.ErrClosed
	case l.running:
		return f(l.control)
	}
	if l.Started() {
		return platform.ErrEnded
	}
	return fmt.Errorf("%w: not started", platform.ErrState)
}

// Wait implements platform.Machine.
func (l *Life) Wait(ctx context.Context) (platform.Exit, error) {
	if !l.Started() {
		select {
		case <-l.closing:
			return platform.Exit{}, platform.ErrClosed
		default:
			return platform.Exit{}, fmt.Errorf("%w: not started", platform.ErrState)
		}
	}
	select {
	case <-l.ended:
	default:
		select {
		case <-l.ended:
		case <-ctx.Done():
			return platform.Exit{}, ctx.Err()
		}
	}
	if l.killed.Load() {
		return platform.Exit{}, platform.ErrClosed
	}
	return l.exit, nil
}

// Kick implements platform.Machine.
func (l *Life) Kick(vcpu int) error {
	if vcpu < 0 || vcpu >= l.cfg.Vcpus {
		return fmt.Errorf("%w: no vCPU %d", platform.ErrConfig, vcpu)
	}
	return l.Whole(func(*abi.Control) error { return l.kick(vcpu) })
}

func (l *Life) kick(vcpu int) error {
	l.kicks.Add(1)
	return l.ways.Interrupt(vcpu)
}

// RaiseIRQ implements platform.Machine.
func (l *Life) RaiseIRQ(bit uint) error {
	if bit >= platform.MaxInterrupts {
		return fmt.Errorf("%w: no interrupt %d", platform.ErrConfig, bit)
	}
	return l.Whole(func(c *abi.Control) error {
		v := &c.Vcpus[0]
		mask := uint64(1) << bit
		if atomic.OrUint64(&v.Pending, mask)&mask != 0 {
			return nil // whoever set it has seen to it that the guest looks
		}
		l.interrupts.Add(1)
		if atomic.LoadUint32(&v.State) == abi.VcpuIdle {
			return WakeVcpu(v)
		}
		return l.kick(0)
	})
}

// ReadNotify passes notifications on until the eventfd is closed.
func (l *Life) ReadNotify(f *os.File) {
	var b [8]byte
	for {
		if _, err := f.Read(b[:]); err != nil {
			return
		}
		l.notifications.Add(binary.NativeEndian.Uint64(b[:]))
		if l.cfg.Notify != nil {
			l.cfg.Notify()
		}
	}
}

// Console returns what writes to the guest's console: until its first error, and
// never with one. One goroutine uses it.
func (l *Life) Console() func([]byte) {
	out := l.cfg.Console
	return func(b []byte) {
		l.consoleBytes.Add(uint64(len(b)))
		if len(b) == 0 || out == nil {
			return
		}
		if _, err := out.Write(b); err != nil {
			out = nil
		}
	}
}

// Stats are the counters that all platforms have, and those of the guest; more
// adds to them under the guard of Whole, and is not called after Close.
func (l *Life) Stats(more func(*platform.Stats, *abi.Control)) platform.Stats {
	s := platform.Stats{
		ConsoleBytes:  l.consoleBytes.Load(),
		Notifications: l.notifications.Load(),
		Interrupts:    l.interrupts.Load(),
		Kicks:         l.kicks.Load(),
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.control == nil {
		return s
	}
	if n, err := l.memory.Resident(); err == nil {
		s.Resident = n
	}
	s.Idle = true
	for i := range l.control.Vcpus[:l.cfg.Vcpus] {
		v := &l.control.Vcpus[i]
		s.Idle = s.Idle && atomic.LoadUint32(&v.State) == abi.VcpuIdle
		s.GateCalls += atomic.LoadUint64(&v.GateCalls)
		s.RawCalls += atomic.LoadUint64(&v.RawCalls)
		s.Faults += atomic.LoadUint64(&v.Faults)
		s.HostCalls += atomic.LoadUint64(&v.HostCalls)
		s.MapCalls += atomic.LoadUint64(&v.MapCalls)
		s.Handovers += atomic.LoadUint64(&v.Handovers)
	}
	more(&s, l.control)
	return s
}

// Close implements platform.Machine.
func (l *Life) Close() error {
	l.closeOnce.Do(func() { close(l.closing) })
	l.op.Lock()
	defer l.op.Unlock()
	if l.done {
		return nil
	}
	l.done = true
	l.goroutines.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.control = nil
	return errors.Join(l.ways.Free(), l.memory.Close())
}
