// SPDX-License-Identifier: Apache-2.0

// Package guestprog builds small static C programs and runs each of them in a
// cell that has nothing else, or on the host. A program says by its exit status
// whether all was as it should be: 0, or NotApplicable if this machine has not
// what it is about.
package guestprog

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

// NotApplicable is the exit status of a program that finds nothing to test.
const NotApplicable = 77

// Build makes the programs of a folder, relative to the top of the repository,
// which leaves them in a folder of bin, and returns their paths. In the emulated
// machine they have been brought along.
func Build(t testing.TB, folder, bin string) []string {
	t.Helper()
	if !testenv.Emulated() {
		Make(t, folder)
	}
	list, err := filepath.Glob(filepath.Join(testenv.Top(), "bin", bin, "*"))
	if err != nil || len(list) == 0 {
		t.Fatalf("no programs in bin/%s: %v", bin, err)
	}
	return list
}

// Make runs make in a folder of the repository, without what a make that runs
// the tests would pass on.
func Make(t testing.TB, folder string) {
	t.Helper()
	testenv.Program(t, "gcc", "gcc")
	cmd := exec.Command(testenv.Program(t, "make", "make"), "-s", "-C", filepath.Join(testenv.Top(), folder))
	cmd.Env = slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "MAKE") })
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make -C %s: %v\n%s", folder, err, out)
	}
}

// Root makes a root file system with programs in /bin.
func Root(t testing.TB, programs ...string) string {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{"bin", "dev", "proc", "sys", "tmp"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range programs {
		image, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, "bin", filepath.Base(p)), image, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// Run runs a command to its end in a folder of its own and returns its output
// and exit status, 128+N after signal N. One that does not end in time fails the
// test.
func Run(t testing.TB, patience time.Duration, name string, args ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
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
		t.Fatalf("no end after %v:\n%s", patience, out.Bytes())
	}
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	text := strings.TrimSpace(out.String())
	if ws := cmd.ProcessState.Sys().(syscall.WaitStatus); ws.Signaled() {
		return text, 128 + int(ws.Signal())
	}
	return text, cmd.ProcessState.ExitCode()
}

// Cell runs a program alone in a cell of platform process with the strongest
// isolation of this machine. flags are more of paracell run's.
func Cell(t testing.TB, patience time.Duration, program string, flags []string, args ...string) (string, int) {
	t.Helper()
	testenv.Root(t)
	testenv.Built(t, "paracell-kernel")
	testenv.Built(t, "paracell-init")
	isolation := testenv.Isolation()
	testenv.ProcessPlatform(t, isolation)
	all := append([]string{"run", "--isolation", string(isolation), "--rootfs", Root(t, program)}, flags...)
	all = append(append(all, "--", "/bin/"+filepath.Base(program)), args...)
	return Run(t, patience, testenv.Built(t, "paracell"), all...)
}
