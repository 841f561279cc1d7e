// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"bytes"
	"context"
	"errors"
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

const (
	passed        = 0
	notApplicable = 77
)

// needHardware lists the programs that may find nothing to test, because the
// processor has not what they are about. Any other skip in a cell is a failure.
var needHardware = []string{"zmm_signal"}

// emulated says that these tests run in the emulated machine: slow, and with
// no compiler.
var emulated = os.Getenv("PARACELL_EMULATED") == "1"

func patience() time.Duration {
	if emulated {
		return 15 * time.Minute
	}
	return 3 * time.Minute
}

// quirks returns the programs of integration/quirks, built.
func quirks(t *testing.T) []string {
	t.Helper()
	dir := filepath.Join(testenv.Top(), "bin", "quirks")
	if !emulated {
		testenv.Program(t, "gcc", "gcc")
		build := exec.Command(testenv.Program(t, "make", "make"), "-s", "-C", filepath.Join(testenv.Top(), "integration", "quirks"))
		build.Env = slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "MAKE") })
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build the programs: %v\n%s", err, out)
		}
	}
	programs, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(programs) == 0 {
		t.Fatalf("no programs in %s: %v", dir, err)
	}
	return programs
}

// run runs a command to its end or to the deadline and returns its output and
// exit status.
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
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%v\n%s", err, out.Bytes())
	}
	if ws := cmd.ProcessState.Sys().(syscall.WaitStatus); ws.Signaled() {
		return out.String(), 128 + int(ws.Signal())
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// TestQuirksOnHost proves the programs themselves: what they demand of a cell
// has to be what Linux on this processor does.
func TestQuirksOnHost(t *testing.T) {
	for _, program := range quirks(t) {
		t.Run(filepath.Base(program), func(t *testing.T) {
			switch out, status := run(t, program); status {
			case passed:
			case notApplicable:
				t.Skip(strings.TrimSpace(out))
			default:
				t.Errorf("status %d: %s", status, strings.TrimSpace(out))
			}
		})
	}
}

// TestQuirksInCell runs each program in a cell of its own.
func TestQuirksInCell(t *testing.T) {
	testenv.Root(t)
	paracell := testenv.Built(t, "paracell")
	testenv.Built(t, "paracell-kernel")
	testenv.Built(t, "paracell-init")
	isolation := testenv.Isolation()
	testenv.ProcessPlatform(t, isolation)
	for _, program := range quirks(t) {
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
			out, status := run(t, paracell, "run", "--isolation", string(isolation), "--rootfs", root, "--", "/bin/"+name)
			switch {
			case status == passed:
			case status == notApplicable && slices.Contains(needHardware, name):
				t.Skip(strings.TrimSpace(out))
			default:
				t.Errorf("status %d: %s", status, strings.TrimSpace(out))
			}
		})
	}
}
