// SPDX-License-Identifier: Apache-2.0

package kvm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/paracell/paracell/vmm/boot"
	"github.com/paracell/paracell/vmm/memory"
	"github.com/paracell/paracell/vmm/platform"
	"github.com/paracell/paracell/xgate/abi"
)

// machine is a cell on this platform.
type machine struct {
	boot.Life
	cfg       platform.Config
	isolation uint32
	guest     *guest
	vm        *vm // nil before Start
	prefault  prefaulter
	tid       int // of the vCPU thread, while it runs

	stop, kicked atomic.Bool
	exits        atomic.Uint64
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
	m := &machine{cfg: cfg, isolation: isolation, guest: g}
	m.Init(cfg, mem, control, boot.Ways{Start: m.start, Interrupt: m.interrupt, Free: m.free})
	return m
}

func (m *machine) start(context.Context) error {
	efd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return fmt.Errorf("eventfd: %w", err)
	}
	notify := os.NewFile(uintptr(efd), "paracell-notify")
	if m.vm, err = newVM(m.Memory(), m.guest, notify); err != nil {
		notify.Close()
		return err
	}
	if err := boot.SetClock(&m.Control().Boot); err != nil {
		notify.Close()
		return err
	}
	ready := make(chan error, 1)
	m.Go(func() {
		// Not unlocked: the thread ends with the goroutine, and the timer
		// could not hit another one.
		runtime.LockOSThread()
		timer, err := newThreadTimer()
		if err == nil {
			defer timer.close()
			err = m.vm.onlyInRun()
		}
		if err != nil {
			ready <- err
			return
		}
		m.Runs(func() { m.tid = unix.Gettid() })
		ready <- nil
		x := m.runVcpu(timer)
		m.Stopped()
		notify.Close()
		m.Ended(x)
	})
	if err := <-ready; err != nil {
		notify.Close()
		return err
	}
	m.Go(func() { m.ReadNotify(notify) })
	m.Go(m.awaitClose)
	return nil
}

// runVcpu runs the vCPU to its end and returns how it ended.
func (m *machine) runVcpu(timer *threadTimer) platform.Exit {
	say := m.Console()
	r := &runner{
		vm: m.vm, vcpu: &m.Control().Vcpus[0], timer: timer, kHz: m.Control().Boot.TSCKHz,
		stop: &m.stop, kick: &m.kicked, exits: &m.exits, tsc: boot.ReadTSC,
		// The guest may change it meanwhile; the writer gets a copy.
		console: func(b []byte) { say(append([]byte(nil), b...)) },
	}
	end, err := r.loop()
	switch {
	case errors.Is(err, errStopped):
		m.Kill()
		return platform.Exit{}
	case err != nil:
		return exitOf(ended{text: err.Error()})
	case end.text != "":
		return exitOf(end)
	}
	return boot.ReadEnding(m.Control()).Exit(func(boot.Ending) string { return "it named one of another platform" })
}

// awaitClose stops the vCPU when the machine is closed.
func (m *machine) awaitClose() {
	select {
	case <-m.Done():
		return
	case <-m.Closing():
	}
	m.stop.Store(true)
	// Again until it has ended: the thread may be on its way into a wait.
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		_ = m.Whole(func(c *abi.Control) error {
			m.leaveGuest()
			return boot.WakeVcpu(&c.Vcpus[0])
		})
		select {
		case <-m.Done():
			return
		case <-tick.C:
		}
	}
}

// interrupt makes the vCPU thread look at the pending bits.
func (m *machine) interrupt(int) error {
	m.kicked.Store(true)
	m.leaveGuest()
	return nil
}

// leaveGuest makes the vCPU thread leave KVM_RUN, or not enter it.
func (m *machine) leaveGuest() {
	m.vm.area.setImmediateExit(1)
	_ = unix.Tgkill(os.Getpid(), m.tid, kickSignal)
}

// Pid is this process: the vCPU is a thread of it.
func (m *machine) Pid() int {
	if !m.Started() {
		return 0
	}
	return os.Getpid()
}

func (m *machine) Stats() platform.Stats {
	s := m.Life.Stats(func(s *platform.Stats, _ *abi.Control) {
		if n, err := m.guest.mem.Resident(); err == nil {
			s.Resident += n
		}
		s.Contexts = 1
	})
	s.HostCalls = m.exits.Load()
	return s
}

func (m *machine) free() error {
	var err error
	if m.vm != nil {
		err = errors.Join(m.prefault.close(), m.vm.close())
	}
	return errors.Join(err, m.guest.close())
}
