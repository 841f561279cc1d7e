// SPDX-License-Identifier: Apache-2.0

// Package sidebyside runs the same shell script on the host and in a cell
// whose root file system is the host's, read-only. Software written by others
// is so tested in the version that the host has, and the host is what a cell
// has to be like.
package sidebyside

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/paracell/paracell/internal/testenv"
)

// Result is what a script gave.
type Result struct {
	// Status is the exit status, 128+N after signal N.
	Status int
	// Output is standard output and error.
	Output string
}

// prepare gives the script a cell's /tmp of its own, without which most
// programs do not work, and the files of the test, which may be below /tmp. The
// two streams leave the cell on their own ways; merged in it they keep order.
const prepare = `exec 2>&1; mount --bind "$1" /mnt && mount -t tmpfs tmpfs /tmp && cd /tmp && FILES=/mnt && export FILES && eval "$2"`

// Host runs script with a new working directory. In $FILES it finds files.
// A script that has not ended in time fails the test.
func Host(t testing.TB, files, script string, patience time.Duration) Result {
	t.Helper()
	return run(t, patience, t.TempDir(), []string{"FILES=" + files}, "/bin/sh", "-c", script)
}

// Cell is Host for a cell with 2 GiB of memory.
func Cell(t testing.TB, files, script string, patience time.Duration) Result {
	t.Helper()
	testenv.Root(t)
	if testenv.Emulated() {
		t.Skip("the emulated machine has not the programs of a host")
	}
	mode := testenv.Isolation()
	testenv.ProcessPlatform(t, mode)
	testenv.Built(t, "paracell-kernel")
	testenv.Built(t, "paracell-init")
	args := []string{"run", "--isolation", string(mode), "--memory", "2G", "--rootfs", "/", "--read-only"}
	for _, name := range []string{"PATH", "LANG", "LC_ALL"} {
		if value, ok := os.LookupEnv(name); ok {
			args = append(args, "--env", name+"="+value)
		}
	}
	args = append(args, "--env", "HOME=/root", "--", "/bin/sh", "-c", prepare, "sh", files, script)
	return run(t, patience, "", nil, testenv.Built(t, "paracell"), args...)
}

func run(t testing.TB, patience time.Duration, dir string, env []string, name string, args ...string) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	// Children of what hangs may hold the output open.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if ctx.Err() != nil {
		t.Fatalf("%s: no end after %v\n%s", name, patience, tail(out.Bytes()))
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v\n%s", name, err, tail(out.Bytes()))
	}
	status := cmd.ProcessState.ExitCode()
	if ws := cmd.ProcessState.Sys().(syscall.WaitStatus); ws.Signaled() {
		status = 128 + int(ws.Signal())
	}
	return Result{status, out.String()}
}

// tail is the last 4 KiB, which say why.
func tail(b []byte) []byte { return b[max(0, len(b)-4096):] }
