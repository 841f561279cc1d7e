// SPDX-License-Identifier: Apache-2.0

// Package platformtest is the conformance suite of vmm/platform: what every
// platform has to do, tried with guests of a few instructions.
package platformtest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/paracell/paracell/vmm/platform"
	"github.com/paracell/paracell/xgate/abi"
)

// Run runs the suite with an isolation mode that the host has.
func Run(t *testing.T, p platform.Platform, mode platform.Isolation) {
	s := &suite{p: p, mode: mode}
	for _, test := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"OrderOfCalls", s.orderOfCalls},
		{"RefusesBadConfig", s.refusesBadConfig},
		{"ConsoleAndExitStatus", s.consoleAndExitStatus},
		{"BootParameters", s.bootParameters},
		{"ExitReasons", s.exitReasons},
		{"ExitStatusIsWhole", s.exitStatusIsWhole},
		{"InterruptWakesIdle", s.interruptWakesIdle},
		{"InterruptWhileRunning", s.interruptWhileRunning},
		{"InterruptStorm", s.interruptStorm},
		{"Kick", s.kick},
		{"Notify", s.notify},
		{"NotifyMayRaise", s.notifyMayRaise},
		{"MemoryIsShared", s.memoryIsShared},
		{"IdleCostsNothing", s.idleCostsNothing},
		{"SlowConsole", s.slowConsole},
		{"BrokenConsole", s.brokenConsole},
		{"WaitHonoursContext", s.waitHonoursContext},
		{"CloseEndsTheGuest", s.closeEndsTheGuest},
		{"CloseIsConcurrent", s.closeIsConcurrent},
		{"HostileGuests", s.hostileGuests},
		{"NothingIsLeft", s.nothingIsLeft},
	} {
		t.Run(test.name, test.run)
	}
}

type suite struct {
	p    platform.Platform
	mode platform.Isolation
}

const timeout = 20 * time.Second

// context is bounded: a guest that hangs fails its test.
func (s *suite) context(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	t.Cleanup(cancel)
	return ctx
}

func (s *suite) config(g *Guest) platform.Config {
	return platform.Config{
		Name: "conformance", MemSize: 64 << 20, Vcpus: 1, Isolation: s.mode,
		Kernel: g.Image(), Devices: 4,
	}
}

func (s *suite) create(t *testing.T, cfg platform.Config) platform.Machine {
	t.Helper()
	m, err := s.p.Create(s.context(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return m
}

func (s *suite) start(t *testing.T, cfg platform.Config) platform.Machine {
	t.Helper()
	m := s.create(t, cfg)
	if err := m.Start(s.context(t)); err != nil {
		t.Fatal(err)
	}
	return m
}

func (s *suite) wait(t *testing.T, m platform.Machine) platform.Exit {
	t.Helper()
	x, err := m.Wait(s.context(t))
	if err != nil {
		t.Fatalf("Wait: %v", err)
	}
	return x
}

// output runs a guest to its end and returns what it wrote.
func (s *suite) output(t *testing.T, cfg platform.Config) (string, platform.Exit) {
	t.Helper()
	var b bytes.Buffer
	cfg.Console = &b
	x := s.wait(t, s.start(t, cfg))
	return b.String(), x
}

func off() *Guest { return new(Guest).Exit(0, abi.ReasonPowerOff) }

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, not %v", what, err, want)
	}
}

func (s *suite) orderOfCalls(t *testing.T) {
	ctx := s.context(t)
	m := s.create(t, s.config(off()))
	_, err := m.Wait(ctx)
	wantErr(t, "Wait before Start", err, platform.ErrState)
	wantErr(t, "Kick before Start", m.Kick(0), platform.ErrState)
	wantErr(t, "RaiseIRQ before Start", m.RaiseIRQ(0), platform.ErrState)
	m.Stats()
	if err := m.Start(ctx); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "second Start", m.Start(ctx), platform.ErrState)
	s.wait(t, m)
	s.wait(t, m)
	wantErr(t, "Kick after the end", m.Kick(0), platform.ErrEnded)
	wantErr(t, "RaiseIRQ after the end", m.RaiseIRQ(0), platform.ErrEnded)
	for range 2 {
		if err := m.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if x, err := m.Wait(ctx); err != nil || !x.OK() {
		t.Errorf("Wait after Close of an ended guest: %v, %v", x, err)
	}
	wantErr(t, "Start after Close", m.Start(ctx), platform.ErrClosed)
	wantErr(t, "Kick after Close", m.Kick(0), platform.ErrClosed)
	wantErr(t, "RaiseIRQ after Close", m.RaiseIRQ(0), platform.ErrClosed)
	m.Stats()

	m = s.create(t, s.config(off()))
	if err := m.Close(); err != nil {
		t.Errorf("Close before Start: %v", err)
	}
	wantErr(t, "Start after Close", m.Start(ctx), platform.ErrClosed)
	_, err = m.Wait(ctx)
	wantErr(t, "Wait after Close", err, platform.ErrClosed)

	m = s.start(t, s.config(new(Guest).Spin()))
	wantErr(t, "Kick of an absent vCPU", m.Kick(1), platform.ErrConfig)
	wantErr(t, "Kick of a negative vCPU", m.Kick(-1), platform.ErrConfig)
	wantErr(t, "RaiseIRQ of an absent bit", m.RaiseIRQ(platform.MaxInterrupts), platform.ErrConfig)
}

func (s *suite) refusesBadConfig(t *testing.T) {
	for name, bend := range map[string]func(*platform.Config){
		"no memory":         func(c *platform.Config) { c.MemSize = 0 },
		"odd memory":        func(c *platform.Config) { c.MemSize++ },
		"little memory":     func(c *platform.Config) { c.MemSize = 1 << 20 },
		"too much memory":   func(c *platform.Config) { c.MemSize = abi.PhysMaxSize + abi.PageSize },
		"no vCPU":           func(c *platform.Config) { c.Vcpus = 0 },
		"too many vCPUs":    func(c *platform.Config) { c.Vcpus = abi.MaxVcpus + 1 },
		"no kernel":         func(c *platform.Config) { c.Kernel = nil },
		"too many devices":  func(c *platform.Config) { c.Devices = platform.MaxDevices + 1 },
		"long command line": func(c *platform.Config) { c.Cmdline = strings.Repeat("x", abi.CmdlineSize) },
		"NUL in it":         func(c *platform.Config) { c.Cmdline = "a\x00b" },
		"unknown isolation": func(c *platform.Config) { c.Isolation = "magic" },
	} {
		cfg := s.config(off())
		bend(&cfg)
		m, err := s.p.Create(s.context(t), cfg)
		if err == nil {
			m.Close()
		}
		wantErr(t, name, err, platform.ErrConfig)
	}
	cfg := s.config(off())
	cfg.Kernel = strings.NewReader("not an ELF file")
	if m, err := s.p.Create(s.context(t), cfg); err == nil {
		m.Close()
		t.Error("a text was accepted as kernel")
	}
}

func (s *suite) consoleAndExitStatus(t *testing.T) {
	out, x := s.output(t, s.config(new(Guest).Say("hello\n").Say("world\n").Exit(7, abi.ReasonPowerOff)))
	if out != "hello\nworld\n" {
		t.Errorf("console %q", out)
	}
	if !x.OK() || x.Code != 7 || x.Message == "" {
		t.Errorf("exit %+v", x)
	}
	_, x = s.output(t, s.config(new(Guest).Exit(-1, abi.ReasonPowerOff)))
	if !x.OK() || x.Code != 255 {
		t.Errorf("exit %+v", x)
	}
	// Without a console.
	m := s.start(t, s.config(new(Guest).Say("hello\n").Exit(0, abi.ReasonPowerOff)))
	if x := s.wait(t, m); !x.OK() {
		t.Errorf("exit %+v", x)
	}
	if n := m.Stats().ConsoleBytes; n != 6 {
		t.Errorf("%d console bytes counted", n)
	}
}

type literal string

func (l literal) Size() int64 { return int64(len(l)) }
func (l literal) WriteTo(w io.Writer) (int64, error) {
	n, err := io.WriteString(w, string(l))
	return int64(n), err
}

func (s *suite) bootParameters(t *testing.T) {
	// Behind the guest, which is less than a page.
	const initrd = abi.KernelGPA + abi.PageSize
	cfg := s.config(new(Guest).
		Print(cmdlineAddr, 9).
		Print(initrdAddr, 16).
		Print(tscKHzAddr, 8).
		Print(seedAddr, 64).
		Print(abi.PhysBase+initrd, 6).
		Exit(0, abi.ReasonPowerOff))
	cfg.Cmdline = "some=args"
	cfg.Initrd = literal("initrd")
	out, x := s.output(t, cfg)
	if !x.OK() || len(out) != 9+16+8+64+6 {
		t.Fatalf("%d bytes, exit %+v", len(out), x)
	}
	if out[:9] != "some=args" || out[97:] != "initrd" {
		t.Errorf("guest saw %q", out)
	}
	word := func(off int) (v uint64) {
		for i := range 8 {
			v |= uint64(out[off+i]) << (8 * i)
		}
		return v
	}
	if word(9) != initrd || word(17) != 6 {
		t.Errorf("initrd at %#x+%d", word(9), word(17))
	}
	if kHz := word(25); kHz < 100_000 || kHz > 20_000_000 {
		t.Errorf("TSC of %d kHz", kHz)
	}
	other, _ := s.output(t, cfg)
	if out[33:97] == other[33:97] || out[33:97] == strings.Repeat("\x00", 64) {
		t.Error("the random seed is not random")
	}
}

func (s *suite) exitReasons(t *testing.T) {
	for _, c := range []struct {
		name   string
		g      *Guest
		reason uint32
	}{
		{"reboot", new(Guest).Exit(0, abi.ReasonReboot), abi.ReasonReboot},
		{"panic", new(Guest).Exit(0, abi.ReasonPanic), abi.ReasonPanic},
		{"an unknown reason", new(Guest).Exit(0, 12345), 0},
		{"an ending that somebody else writes", new(Guest).Store(exitClaimAddr, 1).Exit(0, abi.ReasonPowerOff), 0},
		{"a fault without a vector", new(Guest).Raw(0x0f, 0x0b), 0},                    // ud2
		{"a read of nothing", new(Guest).SetReg(RBX, 0x1000).Raw(0x48, 0x8b, 0x03), 0}, // mov (%rbx), %rax
	} {
		_, x := s.output(t, s.config(c.g))
		if x.OK() || x.Message == "" || x.Code != 0 || (c.reason != 0 && x.Reason != c.reason) {
			t.Errorf("%s: exit %+v", c.name, x)
		}
	}
}

// exitStatusIsWhole ends guests while the platform is kept awake: it must not end
// a cell that has said that it ends, and not yet all of how.
func (s *suite) exitStatusIsWhole(t *testing.T) {
	for range 20 {
		m := s.start(t, s.config(new(Guest).Await(pendingAddr).Exit(7, abi.ReasonPowerOff)))
		for m.RaiseIRQ(abi.IRQConsole) == nil {
		}
		if x := s.wait(t, m); x.Reason != abi.ReasonPowerOff || x.Code != 7 {
			t.Fatalf("exit %+v", x)
		}
	}
}

// report says what the pending word holds and clears it.
func (g *Guest) report() *Guest {
	return g.Take(pendingAddr, abi.PhysBase+ScratchGPA).Print(abi.PhysBase+ScratchGPA, 8)
}

// pendingBits reads reports until all bits of want have come.
func pendingBits(t *testing.T, r io.Reader, want uint64) {
	t.Helper()
	var seen uint64
	var b [8]byte
	for seen&want != want {
		if _, err := io.ReadFull(r, b[:]); err != nil {
			t.Fatalf("seen %#x of %#x: %v", seen, want, err)
		}
		for i, v := range b {
			seen |= uint64(v) << (8 * i)
		}
	}
	if seen != want {
		t.Errorf("guest saw %#x, not %#x", seen, want)
	}
}

func (s *suite) interruptWakesIdle(t *testing.T) {
	s.interrupts(t, new(Guest).Call(abi.CallIdle).report().Again())
}

func (s *suite) interruptWhileRunning(t *testing.T) {
	s.interrupts(t, new(Guest).Await(pendingAddr).report().Again())
}

func (s *suite) interrupts(t *testing.T, g *Guest) {
	r, w := io.Pipe()
	defer r.Close()
	cfg := s.config(g)
	cfg.Console = w
	m := s.start(t, cfg)
	for _, bit := range []uint{abi.IRQConsole, abi.IRQDevice0, platform.MaxInterrupts - 1, abi.IRQConsole} {
		if err := m.RaiseIRQ(bit); err != nil {
			t.Fatal(err)
		}
		pendingBits(t, r, 1<<bit)
	}
	if n := m.Stats().Interrupts; n != 4 {
		t.Errorf("%d interrupts counted", n)
	}
}

// interruptStorm raises from many goroutines; no wake-up may be lost.
func (s *suite) interruptStorm(t *testing.T) {
	r, w := io.Pipe()
	defer r.Close()
	cfg := s.config(new(Guest).Call(abi.CallIdle).report().Again())
	cfg.Console = w
	m := s.start(t, cfg)
	const raisers, rounds = 4, 500
	var arrived [raisers]chan struct{}
	for i := range arrived {
		arrived[i] = make(chan struct{}, 1)
	}
	go func() {
		var b [8]byte
		for {
			if _, err := io.ReadFull(r, b[:]); err != nil {
				return
			}
			for i := range arrived {
				if b[1]&(1<<i) != 0 { // bit IRQDevice0 + i
					arrived[i] <- struct{}{}
				}
			}
		}
	}()
	var wg sync.WaitGroup
	for i := range raisers {
		wg.Go(func() {
			for n := range rounds {
				if err := m.RaiseIRQ(uint(abi.IRQDevice0 + i)); err != nil {
					t.Errorf("RaiseIRQ: %v", err)
					return
				}
				select {
				case <-arrived[i]:
				case <-time.After(timeout):
					t.Errorf("interrupt %d of device %d was lost", n, i)
					return
				}
			}
		})
	}
	wg.Wait()
}

func (s *suite) kick(t *testing.T) {
	cfg := s.config(new(Guest).Await(abi.PhysBase+ScratchGPA).Exit(3, abi.ReasonPowerOff))
	m := s.start(t, cfg)
	for range 100 {
		if err := m.Kick(0); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Memory().StoreUint64(ScratchGPA, 1); err != nil {
		t.Fatal(err)
	}
	if x := s.wait(t, m); !x.OK() || x.Code != 3 {
		t.Errorf("exit %+v", x)
	}
	if n := m.Stats().Kicks; n != 100 {
		t.Errorf("%d kicks counted", n)
	}
}

func (s *suite) notify(t *testing.T) {
	const device = 2
	called := make(chan struct{}, 1)
	cfg := s.config(new(Guest).
		Store(devicesAddr+device*deviceSize+notifyOffset, 1<<1).
		Call(abi.CallNotify, device, 1).
		Await(abi.PhysBase+ScratchGPA).Exit(0, abi.ReasonPowerOff))
	cfg.Notify = func() {
		select {
		case called <- struct{}{}:
		default:
		}
	}
	m := s.start(t, cfg)
	select {
	case <-called:
	case <-time.After(timeout):
		t.Fatal("Notify was not called")
	}
	if len(m.Devices()) != cfg.Devices {
		t.Fatalf("%d devices", len(m.Devices()))
	}
	if got := atomic.SwapUint64(&m.Devices()[device].NotifyQueues, 0); got != 1<<1 {
		t.Errorf("queues %#x", got)
	}
	if err := m.Memory().StoreUint64(ScratchGPA, 1); err != nil {
		t.Fatal(err)
	}
	s.wait(t, m)
	if n := m.Stats().Notifications; n != 1 {
		t.Errorf("%d notifications counted", n)
	}
}

// notifyMayRaise: a device answers a notification with an interrupt.
func (s *suite) notifyMayRaise(t *testing.T) {
	cfg := s.config(new(Guest).
		Call(abi.CallNotify, 0, 0).Call(abi.CallIdle).report().
		Call(abi.CallNotify, 0, 0).Call(abi.CallIdle).report().
		Exit(0, abi.ReasonPowerOff))
	var out bytes.Buffer
	cfg.Console = &out
	var m platform.Machine
	ready := make(chan struct{})
	cfg.Notify = func() {
		<-ready
		if err := m.RaiseIRQ(abi.IRQDevice0); err != nil {
			t.Errorf("RaiseIRQ: %v", err)
		}
	}
	m = s.create(t, cfg)
	close(ready)
	if err := m.Start(s.context(t)); err != nil {
		t.Fatal(err)
	}
	if x := s.wait(t, m); !x.OK() {
		t.Errorf("exit %+v", x)
	}
	pendingBits(t, &out, 1<<abi.IRQDevice0)
}

func (s *suite) memoryIsShared(t *testing.T) {
	const gpa = ScratchGPA
	cfg := s.config(new(Guest).
		Print(abi.PhysBase+gpa, 5).
		Store(abi.PhysBase+gpa+0x2000, 0x1122334455667788).
		Exit(0, abi.ReasonPowerOff))
	var out bytes.Buffer
	cfg.Console = &out
	m := s.create(t, cfg)
	if err := m.Memory().Write(gpa, []byte("bytes")); err != nil {
		t.Fatal(err)
	}
	if err := m.Start(s.context(t)); err != nil {
		t.Fatal(err)
	}
	s.wait(t, m)
	if out.String() != "bytes" {
		t.Errorf("guest saw %q", out.String())
	}
	if v, err := m.Memory().LoadUint64(gpa + 0x2000); err != nil || v != 0x1122334455667788 {
		t.Errorf("host sees %#x, %v", v, err)
	}
	if m.Memory().Size() != cfg.MemSize {
		t.Errorf("memory of %d bytes", m.Memory().Size())
	}
}

// idleCostsNothing: an idle guest makes no host call.
func (s *suite) idleCostsNothing(t *testing.T) {
	m := s.start(t, s.config(new(Guest).Call(abi.CallIdle).report().Again()))
	for end := time.Now().Add(timeout); ; { // it has to get there first
		before := m.Stats().HostCalls
		time.Sleep(300 * time.Millisecond)
		calls := m.Stats().HostCalls - before
		if calls == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d host calls in 0.3 s", calls)
		}
	}
}

type slowWriter struct{ n int }

func (w *slowWriter) Write(p []byte) (int, error) {
	time.Sleep(time.Millisecond)
	w.n += len(p)
	return len(p), nil
}

func (s *suite) slowConsole(t *testing.T) {
	const n = 1 << 20
	w := &slowWriter{}
	cfg := s.config(new(Guest).Print(abi.PhysBase+ScratchGPA, n).Exit(0, abi.ReasonPowerOff))
	cfg.Console = w
	if x := s.wait(t, s.start(t, cfg)); !x.OK() {
		t.Errorf("exit %+v", x)
	}
	if w.n != n {
		t.Errorf("%d of %d bytes arrived", w.n, n)
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func (s *suite) brokenConsole(t *testing.T) {
	cfg := s.config(new(Guest).Print(abi.PhysBase+ScratchGPA, 1<<20).Exit(0, abi.ReasonPowerOff))
	cfg.Console = brokenWriter{}
	if x := s.wait(t, s.start(t, cfg)); !x.OK() {
		t.Errorf("exit %+v", x)
	}
}

func (s *suite) waitHonoursContext(t *testing.T) {
	m := s.start(t, s.config(new(Guest).Call(abi.CallIdle).Again()))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	_, err := m.Wait(ctx)
	wantErr(t, "Wait", err, context.DeadlineExceeded)
	if err := m.Kick(0); err != nil {
		t.Errorf("the guest did not survive: %v", err)
	}
	ctx, cancel = context.WithCancel(context.Background())
	cancel()
	m = s.create(t, s.config(off()))
	if err := m.Start(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Start with a cancelled context: %v", err)
	}
}

func (s *suite) closeEndsTheGuest(t *testing.T) {
	for name, g := range map[string]*Guest{
		"spinning": new(Guest).Spin(),
		"idle":     new(Guest).Call(abi.CallIdle).Again(),
		"printing": new(Guest).Print(abi.PhysBase+ScratchGPA, 1<<20).Again(),
	} {
		m := s.start(t, s.config(g))
		errc := make(chan error, 1)
		go func() {
			_, err := m.Wait(s.context(t))
			errc <- err
		}()
		begin := time.Now()
		if err := m.Close(); err != nil {
			t.Errorf("%s: Close: %v", name, err)
		}
		if d := time.Since(begin); d > 5*time.Second {
			t.Errorf("%s: Close took %v", name, d)
		}
		wantErr(t, name+": Wait", <-errc, platform.ErrClosed)
	}
}

// closeIsConcurrent calls everything while the machine is being closed.
func (s *suite) closeIsConcurrent(t *testing.T) {
	for range 5 {
		m := s.start(t, s.config(new(Guest).Call(abi.CallNotify, 0, 0).Again()))
		var wg sync.WaitGroup
		stop := make(chan struct{})
		for _, f := range []func(){
			func() { _ = m.Kick(0) },
			func() { _ = m.RaiseIRQ(abi.IRQDevice0) },
			func() { m.Stats(); m.Devices() },
			func() { _, _ = m.Wait(s.context(t)) },
		} {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						f()
					}
				}
			})
		}
		time.Sleep(5 * time.Millisecond)
		for range 2 {
			wg.Go(func() {
				if err := m.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			})
		}
		time.Sleep(5 * time.Millisecond)
		close(stop)
		wg.Wait()
	}
}

// hostileGuests writes nonsense where host side and monitor look. The guest
// may end or go on; the host side has to stay whole, and Close has to work.
func (s *suite) hostileGuests(t *testing.T) {
	for name, g := range map[string]*Guest{
		"message":  new(Guest).Fill(exitMsgAddr, abi.ExitMsgSize, 0xff).Exit(0, abi.ReasonPanic),
		"mailbox":  new(Guest).Fill(wardenAddr, mailboxSize, 0xff).Exit(0, abi.ReasonPowerOff),
		"slots":    new(Guest).Fill(slotsAddr, slotsSize, 0xff).Exit(0, abi.ReasonPowerOff),
		"vcpu":     new(Guest).Fill(vcpusAddr, vcpuSize, 0xff).Exit(0, abi.ReasonPowerOff),
		"devices":  new(Guest).Fill(devicesAddr, 4*deviceSize, 0xff).Call(abi.CallNotify, 0, 0).Exit(0, abi.ReasonPowerOff),
		"all":      new(Guest).Fill(abi.ControlBase, abi.ControlSize, 0xa5).Exit(0, abi.ReasonPowerOff),
		"call":     new(Guest).Call(-1, 1, 2, 3).Call(1<<20, 1).Exit(0, abi.ReasonPowerOff),
		"console":  new(Guest).Print(0, 1<<40).Print(abi.MonitorBase, 1<<62).Exit(0, abi.ReasonPowerOff),
		"map":      new(Guest).Call(abi.CallKmap, abi.VmallocBase, 1<<40, abi.PageSize, 3).Call(abi.CallKunmap, 0, ^uint64(0)).Exit(0, abi.ReasonPowerOff),
		"spaces":   new(Guest).Call(abi.CallASDestroy, 0).Call(abi.CallASDestroy, 1<<40).Call(abi.CallASFlush, ^uint64(0)).Exit(0, abi.ReasonPowerOff),
		"notifies": new(Guest).Call(abi.CallNotify, ^uint64(0), ^uint64(0)).Exit(0, abi.ReasonPowerOff),
	} {
		t.Run(name, func(t *testing.T) {
			m := s.start(t, s.config(g))
			for range 3 {
				_ = m.RaiseIRQ(abi.IRQDevice0)
				_ = m.Kick(0)
				m.Stats()
			}
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			defer cancel()
			x, err := m.Wait(ctx)
			if err != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Wait: %v", err)
			}
			for _, c := range x.Message {
				if c < ' ' || c > '~' {
					t.Errorf("message %q", x.Message)
					break
				}
			}
			if err := m.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
}

// nothingIsLeft: files and mappings of this process are as before.
func (s *suite) nothingIsLeft(t *testing.T) {
	count := func() (files, maps int) {
		f, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile("/proc/self/maps")
		if err != nil {
			t.Fatal(err)
		}
		return len(f), bytes.Count(b, []byte("memfd:paracell:conformance"))
	}
	run := func() {
		m, err := s.p.Create(s.context(t), s.config(off()))
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Start(s.context(t)); err != nil {
			t.Error(err)
		}
		s.wait(t, m)
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
	run()
	files, maps := count()
	for range 20 {
		run()
	}
	if f, m := count(); f != files || m != maps {
		t.Errorf("%d files and %d mappings before, %d and %d after", files, maps, f, m)
	}
}
