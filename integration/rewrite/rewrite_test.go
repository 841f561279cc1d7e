// SPDX-License-Identifier: Apache-2.0

package rewrite

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/paracell/paracell/internal/testenv"
)

const notApplicable = 77

func patience() time.Duration {
	if testenv.Emulated() {
		return 10 * time.Minute
	}
	return 2 * time.Minute
}

// programs returns the programs of this folder, built.
func programs(t *testing.T) []string {
	t.Helper()
	if !testenv.Emulated() { // there is no compiler in the machine
		testenv.Program(t, "gcc", "gcc")
		build := exec.Command(testenv.Program(t, "make", "make"), "-s", "-C", filepath.Join(testenv.Top(), "integration", "rewrite", "programs"))
		build.Env = slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "MAKE") })
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build the programs: %v\n%s", err, out)
		}
	}
	list, err := filepath.Glob(filepath.Join(testenv.Top(), "bin", "rewrite", "*"))
	if err != nil || len(list) == 0 {
		t.Fatalf("no programs in bin/rewrite: %v", err)
	}
	return list
}

// run runs a command to its end and returns its output and exit status.
func run(t *testing.T, name string, args ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience())
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	// A program that hangs may have children that hold the output open.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	cmd.Dir = t.TempDir()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if ctx.Err() != nil {
		t.Fatalf("no end after %v:\n%s", patience(), out.Bytes())
	}
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	if ws := cmd.ProcessState.Sys().(syscall.WaitStatus); ws.Signaled() {
		return out.String(), 128 + int(ws.Signal())
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// TestOnHost proves the programs themselves: what they demand of a cell has to
// be what Linux on this processor does.
func TestOnHost(t *testing.T) {
	if testenv.Emulated() {
		t.Skip("the emulated processor is not the model")
	}
	for _, program := range programs(t) {
		t.Run(filepath.Base(program), func(t *testing.T) {
			if out, status := run(t, program); status == notApplicable {
				t.Skip(strings.TrimSpace(out))
			} else if status != 0 {
				t.Errorf("status %d: %s", status, strings.TrimSpace(out))
			}
		})
	}
}

func inCell(t *testing.T, arg string, flags ...string) {
	testenv.Root(t)
	paracell := testenv.Built(t, "paracell")
	testenv.Built(t, "paracell-kernel")
	testenv.Built(t, "paracell-init")
	isolation := testenv.Isolation()
	testenv.ProcessPlatform(t, isolation)
	for _, program := range programs(t) {
		name := filepath.Base(program)
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for _, dir := range []string{"bin", "dev", "proc", "sys", "tmp"} {
				if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			image, err := os.ReadFile(program)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(root, "bin", name), image, 0o755); err != nil {
				t.Fatal(err)
			}
			args := append([]string{"run", "--isolation", string(isolation), "--rootfs", root}, flags...)
			if out, status := run(t, paracell, append(args, "--", "/bin/"+name, arg)...); status != 0 {
				t.Errorf("status %d: %s", status, strings.TrimSpace(out))
			}
		})
	}
}

// TestInCell runs each program in a cell, and expects that its calls go by the
// gate.
func TestInCell(t *testing.T) {
	inCell(t, "rewritten")
}

// TestSwitchedOff runs them where the kernel does not rewrite.
func TestSwitchedOff(t *testing.T) {
	inCell(t, "plain", "--kernel-arg", "paracell.rewrite=off")
}
