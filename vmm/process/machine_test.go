// SPDX-License-Identifier: Apache-2.0

package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/paracell/paracell/internal/leakcheck"
	"github.com/paracell/paracell/vmm/platform"
	"github.com/paracell/paracell/vmm/platform/platformtest"
	"github.com/paracell/paracell/xgate/abi"
)

// The test binary plays the monitor when it is started as one: it follows the
// start protocol and then does what the kernel command line says.
const fakePrefix = "paracell:fake-"

func TestMain(m *testing.M) {
	if strings.HasPrefix(os.Args[0], fakePrefix) {
		fakeMonitor(strings.TrimPrefix(os.Args[0], fakePrefix))
	}
	leakcheck.Main(m, "memfd:paracell-monitor") // kept for the life of the process
}

// fakeMonitor is the first process of a fake cell.
func fakeMonitor(script string) {
	status := os.NewFile(fdStatus, "status")
	die := func(format string, args ...any) {
		fmt.Fprintf(status, format, args...)
		os.Exit(1)
	}
	if script == "setup-error" {
		die("cannot pivot_root: %v", unix.EPERM)
	}
	if script == "setup-silent" {
		os.Exit(3)
	}
	if script == "setup-hang" {
		unix.Pause()
	}
	size, err := strconv.ParseInt(os.Args[1], 10, 64)
	if err != nil {
		die("memory size: %v", err)
	}
	if fi, err := os.ReadDir(os.Args[2]); err != nil || len(fi) != 0 {
		die("root directory: %v %v", fi, err)
	}
	if os.Getpid() != 1 {
		die("not PID 1")
	}
	tail, err := unix.Mmap(fdMemory, size, abi.ControlSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		die("map control area: %v", err)
	}
	c := controlIn(tail)
	filter := make([]byte, 65536)
	if n, err := unix.Read(fdFilter, filter); err != nil || n == 0 || n%8 != 0 {
		die("filter: %d bytes, %v", n, err)
	}
	if c.Boot.TSCKHz == 0 || c.Boot.MemSize != uint64(size) || c.Boot.Version != abi.Version {
		die("boot parameters: %d kHz, %d bytes", c.Boot.TSCKHz, c.Boot.MemSize)
	}
	fmt.Fprint(status, "ok\n")
	status.Close()
	unix.Close(fdFilter)

	end := func(reason uint32, code int32, detail int64, msg string) {
		atomic.StoreInt32(&c.ExitCode, code)
		atomic.StoreInt64(&c.ExitDetail, detail)
		copy(c.ExitMsg[:], msg)
		atomic.StoreUint32(&c.ExitReason, reason)
		os.Exit(0)
	}
	console := os.NewFile(fdConsole, "console")
	switch script {
	case "poweroff":
		fmt.Fprint(console, strings.Repeat("x", 200000)+"end\n")
		end(abi.ReasonPowerOff, 42, 0, "")
	case "denied":
		end(abi.ReasonDenied, 0, unix.SYS_SOCKET, "")
	case "panic":
		end(abi.ReasonPanic, 0, 0, "Attempted to kill init!\x1b[2J")
	case "killed":
		end(abi.ReasonChildDied, 0, int64(syscall.SIGKILL), "")
	case "die":
		os.Exit(7)
	case "notify":
		unix.Write(fdNotify, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		unix.Pause()
	case "irq": // wait for a pending bit as a running vCPU, then as an idle one
		for {
			word := atomic.LoadUint32(&c.WardenWord) // before the mask: it changes after it
			if atomic.LoadUint64(&c.KickMask) != 0 {
				break
			}
			futexSleep(&c.WardenWord, word)
		}
		first := atomic.SwapUint64(&c.Vcpus[0].Pending, 0)
		atomic.StoreUint32(&c.Vcpus[0].State, abi.VcpuIdle)
		fmt.Fprintf(console, "%#x\n", first)
		for atomic.LoadUint64(&c.Vcpus[0].Pending) == 0 {
			futexSleepPending(&c.Vcpus[0].Pending, 0)
		}
		fmt.Fprintf(console, "%#x\n", atomic.LoadUint64(&c.Vcpus[0].Pending))
		end(abi.ReasonPowerOff, 0, 0, "")
	default: // run until killed
		unix.Pause()
	}
}

// fakePlatform runs the test binary as monitor.
func fakePlatform(t *testing.T) *Platform {
	t.Helper()
	if err := (&Platform{}).Probe().Err(platform.IsolationNone); err != nil {
		t.Skip(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return &Platform{monitor: func() (string, error) { return exe, nil }, rules: allowList}
}

func fakeConfig(script string) platform.Config {
	return platform.Config{
		Name: "fake-" + script, MemSize: 64 << 20, Vcpus: 1, Devices: 1,
		Isolation: platform.IsolationNone, Kernel: new(platformtest.Guest).Exit(0, abi.ReasonPowerOff).Image(),
	}
}

func create(t *testing.T, cfg platform.Config) platform.Machine {
	t.Helper()
	m, err := fakePlatform(t).Create(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func startAndWait(t *testing.T, cfg platform.Config) platform.Exit {
	t.Helper()
	m := create(t, cfg)
	if err := m.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	x, err := m.Wait(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestExitReasons(t *testing.T) {
	for script, want := range map[string]platform.Exit{
		"denied": {Reason: abi.ReasonDenied, Message: "host call 41 (socket) is not in the cell's allow-list"},
		"panic":  {Reason: abi.ReasonPanic, Message: "guest kernel panic: Attempted to kill init!?[2J"},
		"killed": {Reason: abi.ReasonChildDied, Message: "host process killed by signal 9 (SIGKILL): killed from outside, or by the host's out-of-memory killer"},
		"die":    {Reason: abi.ReasonMonitor, Message: "cell ended without a reason: host process exited with status 7"},
	} {
		t.Run(script, func(t *testing.T) {
			if got := startAndWait(t, fakeConfig(script)); got != want {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestConsoleIsCompleteWhenWaitReturns(t *testing.T) {
	var out bytes.Buffer
	cfg := fakeConfig("poweroff")
	cfg.Console = &out
	x := startAndWait(t, cfg)
	if x.Reason != abi.ReasonPowerOff || x.Code != 42 || !x.OK() {
		t.Errorf("exit %+v", x)
	}
	if out.Len() != 200004 || !strings.HasSuffix(out.String(), "xend\n") {
		t.Errorf("%d console bytes", out.Len())
	}
}

func TestSetupFailures(t *testing.T) {
	for script, want := range map[string]string{
		"setup-error":  "monitor: cannot pivot_root: operation not permitted",
		"setup-silent": "monitor ended during set-up: host process exited with status 3",
	} {
		m := create(t, fakeConfig(script))
		err := m.Start(context.Background())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", script, err)
		}
		if _, err := m.Wait(context.Background()); !errors.Is(err, platform.ErrState) {
			t.Errorf("%s: Wait: %v", script, err)
		}
	}
}

func TestStartIsBoundedByItsContext(t *testing.T) {
	m := create(t, fakeConfig("setup-hang"))
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if err := m.Start(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Start: %v", err)
	}
}

func TestCloseInterruptsStart(t *testing.T) {
	m := create(t, fakeConfig("setup-hang"))
	errc := make(chan error, 1)
	go func() { errc <- m.Start(context.Background()) }()
	time.Sleep(50 * time.Millisecond) // any moment will do
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	if err := <-errc; err == nil {
		t.Error("Start succeeded")
	}
}

func TestInterruptsReachTheVcpu(t *testing.T) {
	lines := newLineWriter()
	cfg := fakeConfig("irq")
	cfg.Console = lines
	m := create(t, cfg)
	if err := m.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	for _, bit := range []uint{abi.IRQDevice0, abi.IRQConsole} {
		if err := m.RaiseIRQ(bit); err != nil {
			t.Fatal(err)
		}
		if got, want := <-lines.c, fmt.Sprintf("%#x", 1<<bit); got != want {
			t.Errorf("guest saw %s, not %s", got, want)
		}
	}
	if _, err := m.Wait(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := m.RaiseIRQ(0); !errors.Is(err, platform.ErrEnded) {
		t.Errorf("RaiseIRQ after the end: %v", err)
	}
	if s := m.Stats(); s.Kicks != 1 || s.Interrupts != 2 {
		t.Errorf("stats %+v", s)
	}
}

func TestNotifyIsCalled(t *testing.T) {
	called := make(chan struct{}, 1)
	cfg := fakeConfig("notify")
	cfg.Notify = func() { called <- struct{}{} }
	m := create(t, cfg)
	if err := m.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	<-called
	if n := m.Stats().Notifications; n != 1 {
		t.Errorf("%d notifications", n)
	}
}

func TestIsolationIsNeverWeakenedSilently(t *testing.T) {
	missing := platform.Report{Platform: "process", Checks: []platform.Check{
		{Name: "protection keys", Err: errors.New("absent"), For: mpkOnly},
	}}
	for _, mode := range []platform.Isolation{platform.IsolationAuto, platform.IsolationMPK, ""} {
		_, err := chooseIsolation(mode, func() platform.Report { return missing })
		if !errors.Is(err, platform.ErrUnsupported) || !strings.Contains(err.Error(), "--isolation none") {
			t.Errorf("%s: %v", mode, err)
		}
		if got, err := chooseIsolation(mode, func() platform.Report { return platform.Report{} }); err != nil || got != abi.IsolationMPK {
			t.Errorf("%s with keys: %d, %v", mode, got, err)
		}
	}
	if got, err := chooseIsolation(platform.IsolationNone, func() platform.Report { return missing }); err != nil || got != abi.IsolationNone {
		t.Errorf("none: %d, %v", got, err)
	}
	if _, err := chooseIsolation("pagetable", func() platform.Report { return missing }); !errors.Is(err, platform.ErrConfig) {
		t.Errorf("pagetable: %v", err)
	}
}

func TestRelease(t *testing.T) {
	for release, ok := range map[string]bool{
		"6.12.0": true, "6.18.44-fc-v657": true, "7.0-rc1": true, "6.12-custom": true,
		"6.11.9": false, "5.15.0": false, "6": false, "": false, "x.y": false,
	} {
		if err := checkRelease(release); (err == nil) != ok {
			t.Errorf("%q: %v", release, err)
		}
	}
}

// lineWriter passes console lines on.
type lineWriter struct {
	c    chan string
	rest []byte
}

func newLineWriter() *lineWriter { return &lineWriter{c: make(chan string, 100)} }

func (w *lineWriter) Write(p []byte) (int, error) {
	w.rest = append(w.rest, p...)
	for {
		line, rest, ok := bytes.Cut(w.rest, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		w.c <- string(line)
		w.rest = rest
	}
}
