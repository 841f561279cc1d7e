// SPDX-License-Identifier: Apache-2.0

package process

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/paracell/paracell/vmm/boot"
	"github.com/paracell/paracell/vmm/memory"
	"github.com/paracell/paracell/vmm/platform"
	"github.com/paracell/paracell/xgate/abi"
)

// machine is a cell on this platform.
//
// Lock order: op before mu. op serialises Start and Close, which wait for
// processes; mu guards the mapping of guest memory against Close and is held
// for a few instructions only.
type machine struct {
	cfg       platform.Config
	platform  *Platform
	isolation uint32

	op      sync.Mutex
	started bool // Start was called
	closed  bool // Close was called
	memory  *memory.Memory
	kernel  *boot.Image // until Start or Close

	mu      sync.RWMutex
	control *abi.Control // nil after Close
	pid     int          // of the first process; 0 before a successful Start
	running bool         // between a successful Start and the end of the guest

	// closing is closed by Close before it does anything else.
	closing   chan struct{}
	closeOnce sync.Once
	// ended is closed when the guest has ended by itself or by Close and its
	// console is drained; exit is valid from then on.
	ended chan struct{}
	exit  platform.Exit
	// killed says that it was Close that ended the guest.
	killed atomic.Bool
	// startedCh is closed when Start has succeeded.
	startedCh chan struct{}
	readers   sync.WaitGroup

	consoleBytes, notifications, interrupts, kicks atomic.Uint64
}

var _ platform.Machine = (*machine)(nil)

// newMachine allocates memory and loads the guest into it.
func newMachine(cfg platform.Config, isolation uint32, p *Platform) (*machine, error) {
	mem, control, kernel, err := boot.LoadShared(&cfg, isolation)
	if err != nil {
		return nil, err
	}
	return &machine{
		cfg: cfg, platform: p, isolation: isolation,
		memory: mem, control: control, kernel: kernel,
		closing: make(chan struct{}), ended: make(chan struct{}), startedCh: make(chan struct{}),
	}, nil
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
	defer m.kernel.Close()
	if err := m.start(ctx); err != nil {
		if ctx.Err() != nil {
			err = errors.Join(ctx.Err(), err)
		}
		return fmt.Errorf("start cell %s: %w", m.cfg.Name, err)
	}
	return nil
}

func (m *machine) start(ctx context.Context) error {
	path, err := m.platform.monitor()
	if err != nil {
		return err
	}
	filter, err := cellFilter(m.platform.rules)
	if err != nil {
		return err
	}
	consoleR, consoleW, err := blockingPipe()
	if err != nil {
		return fmt.Errorf("console pipe: %w", err)
	}
	defer consoleW.Close()
	efd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		consoleR.Close()
		return fmt.Errorf("eventfd: %w", err)
	}
	notify := os.NewFile(uintptr(efd), "paracell-notify")

	if err := boot.SetClock(&m.control.Boot); err != nil {
		consoleR.Close()
		notify.Close()
		return err
	}
	cancel, stopCancel := m.cancelled(ctx)
	h, err := launch(path, spawnArgs{
		memory: m.memory.File(), console: consoleW, notify: notify, filter: filter,
		kernel: *m.kernel, memSize: m.cfg.MemSize, isolation: m.isolation, name: m.cfg.Name,
	}, cancel)
	stopCancel()
	if err != nil {
		consoleR.Close()
		notify.Close()
		return err
	}
	m.mu.Lock()
	m.running, m.pid = true, h.proc.Pid
	m.mu.Unlock()
	close(m.startedCh)

	var console sync.WaitGroup
	console.Go(func() {
		m.readConsole(consoleR)
		consoleR.Close()
	})
	m.readers.Go(func() { m.readNotify(notify) })
	m.readers.Go(func() {
		<-h.done
		m.mu.Lock()
		m.running = false
		m.mu.Unlock()
		notify.Close()
		console.Wait()
		m.exit = decodeExit(h.waitStatus(), boot.ReadEnding(m.control))
		close(m.ended)
	})
	m.readers.Go(func() {
		select {
		case <-m.closing:
			m.killed.Store(true)
			h.kill()
		case <-h.done:
		}
	})
	return nil
}

// cancelled returns a channel that is closed when ctx or the machine is.
func (m *machine) cancelled(ctx context.Context) (<-chan struct{}, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-m.closing:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx.Done(), cancel
}

// blockingPipe is a pipe whose write end blocks, for the cell, and whose read
// end is polled.
func blockingPipe() (r, w *os.File, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, err
	}
	if err := unix.SetNonblock(p[0], true); err != nil {
		unix.Close(p[0])
		unix.Close(p[1])
		return nil, nil, err
	}
	return os.NewFile(uintptr(p[0]), "paracell-console"), os.NewFile(uintptr(p[1]), "paracell-console"), nil
}

// readConsole copies the console until the last process of the cell is gone.
func (m *machine) readConsole(r io.Reader) {
	out := m.cfg.Console
	buf := make([]byte, 16<<10)
	for {
		n, err := r.Read(buf)
		m.consoleBytes.Add(uint64(n))
		if n > 0 && out != nil {
			if _, werr := out.Write(buf[:n]); werr != nil {
				out = nil
			}
		}
		if err != nil {
			return
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
	if m.killed.Load() {
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
	return m.kickLocked(vcpu)
}

// kickLocked asks the warden to interrupt a vCPU.
func (m *machine) kickLocked(vcpu int) error {
	m.kicks.Add(1)
	atomic.OrUint64(&m.control.KickMask, 1<<vcpu)
	atomic.AddUint32(&m.control.WardenWord, 1)
	return futexWake(&m.control.WardenWord)
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
		return futexWakePending(&v.Pending)
	}
	return m.kickLocked(0)
}

func (m *machine) Pid() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.pid
}

func (m *machine) Stats() platform.Stats {
	s := platform.Stats{
		ConsoleBytes:  m.consoleBytes.Load(),
		Notifications: m.notifications.Load(),
		Interrupts:    m.interrupts.Load(),
		Kicks:         m.kicks.Load(),
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.control == nil {
		return s
	}
	if n, err := m.memory.Resident(); err == nil {
		s.Resident = n
	}
	for i := range m.control.Vcpus[:m.cfg.Vcpus] {
		v := &m.control.Vcpus[i]
		s.GateCalls += atomic.LoadUint64(&v.GateCalls)
		s.RawCalls += atomic.LoadUint64(&v.RawCalls)
		s.Faults += atomic.LoadUint64(&v.Faults)
		s.HostCalls += atomic.LoadUint64(&v.HostCalls)
		s.MapCalls += atomic.LoadUint64(&v.MapCalls)
		s.Handovers += atomic.LoadUint64(&v.Handovers)
	}
	s.Contexts = uint64(atomic.LoadUint32(&m.control.NumSlots))
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
	if !m.started {
		m.kernel.Close()
	}
	m.readers.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.control = nil
	return m.memory.Close()
}
