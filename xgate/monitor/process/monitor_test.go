// SPDX-License-Identifier: Apache-2.0

package process_test

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/paracell/paracell/internal/testenv"
	"github.com/paracell/paracell/vmm/platform"
	"github.com/paracell/paracell/xgate/abi"
	"github.com/paracell/paracell/xgate/monitor/process"
)

// console collects what the guest says, logs it and answers "raise" with an
// interrupt.
type console struct {
	t     *testing.T
	mu    sync.Mutex
	text  bytes.Buffer
	rest  []byte
	raise func()
}

func (c *console) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.text.Write(b)
	c.rest = append(c.rest, b...)
	for {
		line, rest, found := bytes.Cut(c.rest, []byte("\n"))
		if !found {
			return len(b), nil
		}
		c.rest = rest
		c.t.Logf("%s", line)
		if bytes.HasPrefix(line, []byte("raise ")) {
			c.raise()
		}
		if n, found := bytes.CutPrefix(line, []byte("inspect ")); found {
			go func() {
				inspect(c.t, string(n))
				c.raise()
			}()
		}
	}
}

func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.String()
}

// inspect checks that a cell at rest has no more host resources than it needs.
// The guest says how many slots there are.
func inspect(t *testing.T, slots string) {
	want, err := strconv.Atoi(slots)
	if err != nil {
		t.Error(err)
		return
	}
	self := children(t, os.Getpid())
	if len(self) != 1 {
		t.Errorf("%d child processes of the test; one cell was expected", len(self))
		return
	}
	cell := children(t, self[0])
	if len(cell) != want {
		t.Errorf("%d host processes beside the first one, the guest counts %d slots", len(cell), want)
	}
	for _, pid := range append(cell, self[0]) {
		files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		if err != nil || len(files) != 3 {
			t.Errorf("process %d has files %v, %v; want 3, 4 and 5", pid, files, err)
		}
		maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
		if err != nil {
			t.Error(err)
		}
		// Guest memory in four parts, control area, monitor in eight,
		// the vsyscall page; and up to three of the last user.
		if n := bytes.Count(maps, []byte("\n")); n > 17 {
			t.Errorf("process %d has %d mappings:\n%s", pid, n, maps)
		}
		if bytes.Contains(maps, []byte("[stack]")) || bytes.Contains(maps, []byte("[vdso]")) {
			t.Errorf("process %d has foreign mappings:\n%s", pid, maps)
		}
	}
}

// children are the PIDs of the child processes of pid.
func children(t *testing.T, pid int) []int {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Error(err)
	}
	var pids []int
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // the thread has ended
		}
		for _, word := range strings.Fields(string(b)) {
			if n, err := strconv.Atoi(word); err == nil {
				pids = append(pids, n)
			}
		}
	}
	return pids
}

// testKernel is the kernel in testdata, built anew where there is a compiler.
func testKernel(t *testing.T) *os.File {
	t.Helper()
	const image = "testdata/kernel/kernel.elf"
	if _, err := exec.LookPath("gcc"); err == nil {
		if text, err := exec.Command("make", "-s", "-C", filepath.Dir(image)).CombinedOutput(); err != nil {
			t.Fatalf("build the test kernel: %v\n%s", err, text)
		}
	}
	f, err := os.Open(image)
	if errors.Is(err, os.ErrNotExist) && !testenv.InCI() {
		t.Skip("no test kernel, and no gcc to build it: make monitor builds it")
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// symbols tells the test kernel what an attacker would find out about the
// monitor.
func symbols(t *testing.T) string {
	t.Helper()
	b, err := process.Image()
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	list, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, s := range list {
		switch s.Name {
		case "altstack":
			words = append(words, fmt.Sprintf("altstack=%x", s.Value))
		case "__text_end":
			words = append(words, fmt.Sprintf("text=%x", s.Value-abi.MonitorBase))
		case "_start":
			words = append(words, fmt.Sprintf("start=%x", s.Value-abi.MonitorBase))
		case "chain":
			words = append(words, fmt.Sprintf("chain=%x", s.Value))
		}
	}
	if os.Getenv("PARACELL_EMULATED") != "" {
		words = append(words, "emulated=1")
	}
	return strings.Join(words, " ")
}

// runKernel runs the test kernel with some of its tests, or all of them, and
// meanwhile a function of the host side.
func runKernel(t *testing.T, tests string, meanwhile func(platform.Machine)) (platform.Exit, string) {
	t.Helper()
	if tests == "" {
		tests = "all"
	}
	p := testenv.ProcessPlatform(t, testenv.Isolation())
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	c := &console{t: t}
	m, err := p.Create(ctx, platform.Config{
		Name: "monitor-test", MemSize: 64 << 20, Vcpus: 1, Isolation: testenv.Isolation(),
		Kernel: testKernel(t), Cmdline: tests + " " + symbols(t), Console: c,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	c.raise = func() {
		time.AfterFunc(20*time.Millisecond, func() {
			if err := m.RaiseIRQ(abi.IRQConsole); err != nil {
				t.Error(err)
			}
		})
	}
	if err := m.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if meanwhile != nil {
		meanwhile(m)
	}
	exit, err := m.Wait(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return exit, c.String()
}

// TestMonitor runs a small kernel that tries everything the monitor does for a
// kernel and its users.
func TestMonitor(t *testing.T) {
	testenv.Root(t)
	exit, text := runKernel(t, os.Getenv("MONITOR_TEST"), nil)
	if exit.Reason != abi.ReasonPowerOff || exit.Code != 0 {
		t.Errorf("cell ended: %+v", exit)
	}
	if !strings.Contains(text, "\ndone\n") {
		t.Error("the test kernel did not come to its end")
	}
}
