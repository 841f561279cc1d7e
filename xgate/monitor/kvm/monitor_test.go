// SPDX-License-Identifier: Apache-2.0

package kvm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/paracell/paracell/internal/testenv"
	"github.com/paracell/paracell/vmm/kvm"
	"github.com/paracell/paracell/vmm/platform"
	"github.com/paracell/paracell/xgate/abi"
	monitor "github.com/paracell/paracell/xgate/monitor/kvm"
)

// tests of the small kernel in xgate/monitor/process/testdata that say something
// about this monitor: all but those of host processes and signal frames.
const tests = "gate speed faults foreign_calls bad_ops timer deferred kernel_faults handover state flags step " +
	"storm many alive_at_once host_irq attack"

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
	}
}

func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.String()
}

// testKernel is the kernel of the other monitor's tests, built anew where there
// is a compiler.
func testKernel(t *testing.T) *os.File {
	t.Helper()
	image := filepath.Join(testenv.Top(), "xgate", "monitor", "process", "testdata", "kernel", "kernel.elf")
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

// symbols tells the test kernel what an attacker would find out.
func symbols(t *testing.T) string {
	t.Helper()
	m, err := monitor.Load()
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for word, symbol := range map[string]string{"text": "__text_end", "start": "monitor_main"} {
		off, err := m.Symbol(symbol)
		if err != nil {
			t.Fatal(err)
		}
		words = append(words, fmt.Sprintf("%s=%x", word, off))
	}
	// There is no signal stack: an address whose memory the user cannot have.
	words = append(words, fmt.Sprintf("chain=%x", uint64(abi.ControlBase)))
	if testenv.Emulated() {
		words = append(words, "emulated=1")
	}
	return strings.Join(words, " ")
}

func quirky(r platform.Report) bool {
	for _, c := range r.Checks {
		if c.Detail == kvm.Quirk {
			return true
		}
	}
	return false
}

// TestMonitor runs a small kernel that tries everything the monitor does for a
// kernel and its users.
func TestMonitor(t *testing.T) {
	for _, mode := range []platform.Isolation{platform.IsolationMPK, platform.IsolationPageTable, platform.IsolationNone} {
		if mode != platform.IsolationMPK && testenv.Emulated() && os.Getenv("MONITOR_TEST") == "" {
			continue
		}
		t.Run(string(mode), func(t *testing.T) {
			p := testenv.KVMPlatform(t, mode)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			c := &console{t: t}
			cmdline := os.Getenv("MONITOR_TEST")
			if cmdline == "" {
				cmdline = tests
			}
			if quirky(p.Probe()) {
				// int n comes as an invalid opcode there, and NT gets lost.
				cmdline = strings.NewReplacer("foreign_calls ", "", "flags ", "").Replace(cmdline) + " slow=14"
			} else if testenv.Emulated() {
				cmdline += " slow=14"
			}
			m, err := p.Create(ctx, platform.Config{
				Name: "monitor-test", MemSize: 64 << 20, Vcpus: 1, Isolation: mode,
				Kernel: testKernel(t), Cmdline: cmdline + " " + symbols(t), Console: c,
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
			exit, err := m.Wait(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if exit.Reason != abi.ReasonPowerOff || exit.Code != 0 {
				t.Errorf("cell ended: %+v", exit)
			}
			if !strings.Contains(c.String(), "\ndone\n") {
				t.Error("the test kernel did not come to its end")
			}
		})
	}
}
