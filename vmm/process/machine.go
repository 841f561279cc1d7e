// SPDX-License-Identifier: Apache-2.0

package process

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/paracell/paracell/vmm/boot"
	"github.com/paracell/paracell/vmm/platform"
	"github.com/paracell/paracell/xgate/abi"
)

// machine is a cell on this platform.
type machine struct {
	boot.Life
	cfg       platform.Config
	platform  *Platform
	isolation uint32
	kernel    *boot.Image  // until Start or Close
	pid       atomic.Int64 // of the first process; 0 before a successful Start
}

var _ platform.Machine = (*machine)(nil)

// newMachine allocates memory and loads the guest into it.
func newMachine(cfg platform.Config, isolation uint32, p *Platform) (*machine, error) {
	mem, control, kernel, err := boot.LoadShared(&cfg, isolation)
	if err != nil {
		return nil, err
	}
	m := &machine{cfg: cfg, platform: p, isolation: isolation, kernel: kernel}
	m.Init(cfg, mem, control, boot.Ways{Start: m.start, Interrupt: m.interrupt, Free: m.free})
	return m, nil
}

func (m *machine) start(ctx context.Context) error {
	defer m.kernel.Close()
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

	if err := boot.SetClock(&m.Control().Boot); err != nil {
		consoleR.Close()
		notify.Close()
		return err
	}
	cancel, stopCancel := m.cancelled(ctx)
	h, err := launch(path, spawnArgs{
		memory: m.Memory().File(), console: consoleW, notify: notify, filter: filter,
		kernel: *m.kernel, memSize: m.cfg.MemSize, isolation: m.isolation, name: m.cfg.Name,
		maxPid: pidLimit(m.Control().Boot.MaxSlots),
	}, cancel)
	stopCancel()
	if err != nil {
		consoleR.Close()
		notify.Close()
		return err
	}
	m.Runs(func() { m.pid.Store(int64(h.proc.Pid)) })

	var console sync.WaitGroup
	console.Go(func() {
		m.readConsole(consoleR)
		consoleR.Close()
	})
	m.Go(func() { m.ReadNotify(notify) })
	m.Go(func() {
		<-h.done
		m.Stopped()
		notify.Close()
		console.Wait()
		m.Ended(decodeExit(h.waitStatus(), boot.ReadEnding(m.Control())))
	})
	m.Go(func() {
		select {
		case <-m.Closing():
			m.Kill()
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
		case <-m.Closing():
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
	say := m.Console()
	buf := make([]byte, 16<<10)
	for {
		n, err := r.Read(buf)
		say(buf[:n])
		if err != nil {
			return
		}
	}
}

// interrupt asks the warden to interrupt a vCPU.
func (m *machine) interrupt(vcpu int) error {
	c := m.Control()
	atomic.OrUint64(&c.KickMask, 1<<vcpu)
	atomic.AddUint32(&c.WardenWord, 1)
	return futexWake(&c.WardenWord)
}

func (m *machine) Pid() int { return int(m.pid.Load()) }

func (m *machine) Stats() platform.Stats {
	return m.Life.Stats(func(s *platform.Stats, c *abi.Control) {
		s.Contexts = uint64(atomic.LoadUint32(&c.NumSlots))
	})
}

func (m *machine) free() error {
	_ = m.kernel.Close() // Start has done it, if it was called
	return nil
}
