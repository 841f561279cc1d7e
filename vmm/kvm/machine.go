// SPDX-License-Identifier: Apache-2.0

package kvm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/paracell/paracell/vmm/boot"
	"github.com/paracell/paracell/vmm/memory"
	"github.com/paracell/paracell/vmm/platform"
	"github.com/paracell/paracell/xgate/abi"
)

// machine is a cell on this platform.
//
// Lock order: op before mu. op serialises Start and Close, which wait; mu guards
// guest memory and the run area against Close and is held for a few
// instructions only.
type machine struct {
	cfg       platform.Config
	isolation uint32

	op       sync.Mutex
	started  bool // Start was called
	closed   bool // Close was called
	memory   *memory.Memory
	guest    *guest
	vm       *vm // nil before Start and after Close
	prefault prefaulter

	mu      sync.RWMutex
	control *abi.Control // nil after Close
	running bool         // between a successful Start and the end of the guest
	tid     int          // of the vCPU thread, while running

	stop, kicked atomic.Bool
	// closing is closed by Close before it does anything else.
	closing   chan struct{}
	closeOnce sync.Once
	// ended is closed when the guest has ended; exit and killed are valid then.
	ended  chan struct{}
	exit   platform.Exit
	killed bool // by Close
	// startedCh is closed when Start has succeeded.
	startedCh  chan struct{}
	goroutines sync.WaitGroup

	consoleBytes, notifications, interrupts, kicks, exits atomic.Uint64
}

var _ platform.Machine = (*machine)(nil)

// newMachine allocates memory and loads the guest into it.
func newMachine(cfg platform.Config, isolation uint32) (*machine, error) {
	mem, control, err := boot.Load(&cfg, isolation)
	if err != nil {
		return nil, err
	}
	g, err := newGuest(cfg.Name, &control.Boot, isolation, false)
	if err != nil {
		return nil, errors.Join(err, mem.Close())
	}
	return makeMachine(cfg, isolation, mem, control, g), nil
}

func makeMachine(cfg platform.Config, isolation uint32, mem *memory.Memory, control *abi.Control, g *guest) *machine {
	return &machine{
		cfg: cfg, isolation: isolation, memory: mem, control: control, guest: g,
		closing: make(chan struct{}), ended: make(chan struct{}), startedCh: make(chan struct{}),
	}
}

func (m *machine) Memory() *memory.Memory { return m.memory }

func (m *machine) Devices() []abi.VirtioDevice {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.control == nil {
		return nil
	}
	return m.control.Devices[:m.cfg.Devices]
}

func (m *machine) Start(ctx context.Context) error {
	m.op.Lock()
	defer m.op.Unlock()
	switch {
	case m.closed:
		return platform.ErrClosed
	case m.started:
		return fmt.Errorf("%w: already started", platform.ErrState)
	case ctx.Err() != nil:
		return ctx.Err()
	}
	m.started = true
	if err := m.start(); err != nil {
		return fmt.Errorf("start cell %s: %w", m.cfg.Name, err)
	}
	return nil
}

func (m *machine) start() error {
	efd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return fmt.Errorf("eventfd: %w", err)
	}
	notify := os.NewFile(uintptr(efd), "paracell-notify")
	if m.vm, err = newVM(m.memory, m.guest, notify); err != nil {
		notify.Close()
		return err
	}
	if err := boot.SetClock(&m.control.Boot); err != nil {
		notify.Close()
		return err
	}
	ready := make(chan error, 1)
	m.goroutines.Go(func() {
		// Not unlocked: the thread ends with the goroutine, and the timer
		// could not hit another one.
		runtime.LockOSThread()
		timer, err := newThreadTimer()
		if err != nil {
			ready <- err
			return
		}
		defer timer.close()
		if err := m.vm.onlyInRun(); err != nil {
			ready <- err
			return
		}
		m.mu.Lock()
		m.running, m.tid = true, unix.Gettid()
		m.mu.Unlock()
		ready <- nil
		m.runVcpu(timer)
		m.mu.Lock()
		m.running = false
		m.mu.Unlock()
		notify.Close()
		close(m.ended)
	})
	if err := <-ready; err != nil {
		m.goroutines.Wait()
		notify.Close()
		return err
	}
	close(m.startedCh)
	m.goroutines.Go(func() { m.readNotify(notify) })
	m.goroutines.Go(m.awaitClose)
	return nil
}

// runVcpu runs the vCPU to its end and says how it ended.
func (m *machine) runVcpu(timer *threadTimer) {
	out := m.cfg.Console
	r := &runner{
		vm: m.vm, vcpu: &m.control.Vcpus[0], timer: timer, kHz: m.control.Boot.TSCKHz,
		stop: &m.stop, kick: &m.kicked, exits: &m.exits, tsc: boot.ReadTSC,
		console: func(b []byte) {
			m.consoleBytes.Add(uint64(len(b)))
			if out == nil {
				return
			}
			// The guest may change it meanwhile; the writer gets a copy.
			if _, err := out.Write(append([]byte(nil), b...)); err != nil {
				out = nil
			}
		},
	}
	end, err := r.loop()
	switch {
	case errors.Is(err, errStopped):
		m.killed = true
	case err != nil:
		m.exit = exitOf(ended{text: err.Error()})
	case end.text != "":
		m.exit = exitOf(end)
	default:
		m.exit = boot.ReadEnding(m.control).Exit(func(boot.Ending) string { return "it named one of another platform" })
	}
}

// awaitClose stops the vCPU when the machine is closed.
func (m *machine) awaitClose() {
	select {
	case <-m.ended:
		return
	case <-m.closing:
	}
	m.stop.Store(true)
	// Again until it has ended: the thread may be on its way into a wait.
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		m.mu.RLock()
		if m.running {
			m.interruptLocked()
			_ = futexWake(&m.control.Vcpus[0].Pending)
		}
		m.mu.RUnlock()
		select {
		case <-m.ended:
			return
		case <-tick.C:
		}
	}
}

// readNotify passes notifications on until the eventfd is closed.
func (m *machine) readNotify(f *os.File) {
	var b [8]byte
	for {
		if _, err := f.Read(b[:]); err != nil {
			return
		}
		m.notifications.Add(binary.NativeEndian.Uint64(b[:]))
		if m.cfg.Notify != nil {
			m.cfg.Notify()
		}
	}
}

func (m *machine) Wait(ctx context.Context) (platform.Exit, error) {
	select {
	case <-m.startedCh:
	default:
		select {
		case <-m.closing:
			return platform.Exit{}, platform.ErrClosed
		default:
		}
		return platform.Exit{}, fmt.Errorf("%w: not started", platform.ErrState)
	}
	select {
	case <-m.ended:
	default:
		select {
		case <-m.ended:
		case <-ctx.Done():
			return platform.Exit{}, ctx.Err()
		}
	}
	if m.killed {
		return platform.Exit{}, platform.ErrClosed
	}
	return m.exit, nil
}

// liveLocked returns nil if the guest runs; m.mu is held.
func (m *machine) liveLocked() error {
	switch {
	case m.control == nil:
		return platform.ErrClosed
	case m.running:
		return nil
	}
	select {
	case <-m.startedCh:
		return platform.ErrEnded
	default:
		return fmt.Errorf("%w: not started", platform.ErrState)
	}
}

func (m *machine) Kick(vcpu int) error {
	if vcpu < 0 || vcpu >= m.cfg.Vcpus {
		return fmt.Errorf("%w: no vCPU %d", platform.ErrConfig, vcpu)
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	if err := m.liveLocked(); err != nil {
		return err
	}
	m.kickLocked()
	return nil
}

// kickLocked makes the vCPU thread look at the pending bits.
func (m *machine) kickLocked() {
	m.kicks.Add(1)
	m.kicked.Store(true)
	m.interruptLocked()
}

// interruptLocked makes the vCPU thread leave KVM_RUN, or not enter it.
func (m *machine) interruptLocked() {
	m.vm.area.setImmediateExit(1)
	_ = unix.Tgkill(os.Getpid(), m.tid, kickSignal)
}

func (m *machine) RaiseIRQ(bit uint) error {
	if bit >= platform.MaxInterrupts {
		return fmt.Errorf("%w: no interrupt %d", platform.ErrConfig, bit)
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	if err := m.liveLocked(); err != nil {
		return err
	}
	v := &m.control.Vcpus[0]
	mask := uint64(1) << bit
	if atomic.OrUint64(&v.Pending, mask)&mask != 0 {
		return nil // whoever set it has seen to it that the guest looks
	}
	m.interrupts.Add(1)
	if atomic.LoadUint32(&v.State) == abi.VcpuIdle {
		return futexWake(&v.Pending)
	}
	m.kickLocked()
	return nil
}

// Pid is this process: the vCPU is a thread of it.
func (m *machine) Pid() int {
	select {
	case <-m.startedCh:
		return os.Getpid()
	default:
		return 0
	}
}

func (m *machine) Stats() platform.Stats {
	s := platform.Stats{
		ConsoleBytes:  m.consoleBytes.Load(),
		Notifications: m.notifications.Load(),
		Interrupts:    m.interrupts.Load(),
		Kicks:         m.kicks.Load(),
		HostCalls:     m.exits.Load(),
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.control == nil {
		return s
	}
	for _, mem := range []*memory.Memory{m.memory, m.guest.mem} {
		if n, err := mem.Resident(); err == nil {
			s.Resident += n
		}
	}
	for i := range m.control.Vcpus[:m.cfg.Vcpus] {
		v := &m.control.Vcpus[i]
		s.GateCalls += atomic.LoadUint64(&v.GateCalls)
		s.RawCalls += atomic.LoadUint64(&v.RawCalls)
		s.Faults += atomic.LoadUint64(&v.Faults)
		s.MapCalls += atomic.LoadUint64(&v.MapCalls)
		s.Handovers += atomic.LoadUint64(&v.Handovers)
	}
	s.Contexts = 1
	return s
}

func (m *machine) Close() error {
	m.closeOnce.Do(func() { close(m.closing) })
	m.op.Lock()
	defer m.op.Unlock()
	if m.closed {
		return nil
	}
	m.closed = true
	m.goroutines.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.control = nil
	var err error
	if m.vm != nil {
		err = errors.Join(m.prefault.close(), m.vm.close())
	}
	return errors.Join(err, m.guest.close(), m.memory.Close())
}
