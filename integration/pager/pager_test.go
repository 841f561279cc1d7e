// SPDX-License-Identifier: Apache-2.0

// Package pager tests the pager in real cells: memory goes back, comes when it
// is needed, and nothing in it is ever lost.
package pager

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/paracell/paracell/internal/testenv"
	"github.com/paracell/paracell/runtime/figures"
)

// stressSeconds in the environment makes the pattern test longer.
const stressSeconds = "PARACELL_PATTERN_SECONDS"

const patience = time.Minute

// build compiles a program of testdata into the root directory of a cell.
func build(t *testing.T, root, name string) {
	t.Helper()
	gcc := testenv.Program(t, "gcc", "gcc")
	out := filepath.Join(root, "bin", name)
	cmd := exec.Command(gcc, "-O2", "-static", "-Wall", "-Werror", "-o", out, filepath.Join("testdata", name+".c"))
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, text)
	}
}

func newRoot(t *testing.T, programs ...string) string {
	t.Helper()
	testenv.Root(t)
	if testenv.Emulated() {
		t.Skip("takes too long in the emulated machine")
	}
	testenv.ProcessPlatform(t, testenv.Isolation())
	testenv.Built(t, "paracell-kernel")
	testenv.Built(t, "paracell-init")
	root := t.TempDir()
	for _, d := range []string{"bin", "dev", "proc", "sys", "tmp", "files"} {
		if err := os.Mkdir(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range programs {
		build(t, root, p)
	}
	return root
}

// run is a cell with a pager.
type run struct {
	t        *testing.T
	cmd      *exec.Cmd
	out, log bytes.Buffer
	name     string
	cells    *figures.Watcher
	last     figures.Sample
}

// start runs a command in a cell whose guest checks what the pager promises.
func start(t *testing.T, root, policy, memory string, args ...string) *run {
	t.Helper()
	r := &run{t: t, name: strings.ReplaceAll(t.Name(), "/", "_")}
	line := []string{"run", "-v", "--isolation", string(testenv.Isolation()), "--memory", memory, "--name", r.name, "--rootfs", root, "--pager"}
	line = append(line, strings.Fields(policy)...)
	if policy != "off" {
		line = append(line, "--pager-verify")
		if !strings.Contains(policy, "--cold-cache") {
			line = append(line, "--cold-cache")
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience+seconds())
	t.Cleanup(cancel)
	r.cmd = exec.CommandContext(ctx, testenv.Built(t, "paracell"), slices.Concat(line, []string{"--"}, args)...)
	r.cmd.Stdout, r.cmd.Stderr = &r.out, &r.log
	r.cmd.WaitDelay = 5 * time.Second
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.cells = figures.WatchProcess(figures.Dir, r.cmd.Process.Pid)
	t.Cleanup(r.cells.Close)
	return r
}

// sample asks the cell; false if it does not answer (any more).
func (r *run) sample() bool {
	samples, err := r.cells.Samples()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, s := range samples {
		r.last = s
		return true
	}
	return false
}

// wait takes samples until the cell has ended, which must be well.
func (r *run) wait() {
	r.t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- r.cmd.Wait() }()
	for {
		select {
		case err := <-ended:
			if err != nil {
				r.t.Fatalf("%v\n%s%s", err, r.out.Bytes(), r.log.Bytes())
			}
			return
		case <-time.After(50 * time.Millisecond):
			r.sample()
		}
	}
}

func seconds() time.Duration {
	n, err := strconv.Atoi(os.Getenv(stressSeconds))
	if err != nil {
		n = 5
	}
	return time.Duration(n) * time.Second
}

// TestNothingIsLost fills memory with patterns in several processes while the
// pager binds and takes back, and lets the guest look at every frame that it
// takes for zero.
func TestNothingIsLost(t *testing.T) {
	root := newRoot(t, "pattern")
	for _, policy := range []string{"page", "huge"} {
		t.Run(policy, func(t *testing.T) {
			r := start(t, root, policy, "512M", "/bin/pattern", strconv.FormatFloat(seconds().Seconds(), 'f', 0, 64), "4", "48", "/files")
			r.wait()
			if !strings.Contains(r.out.String(), "nothing lost") {
				t.Error(r.out.String())
			}
			if r.last.Unbound == 0 {
				t.Errorf("nothing went back: %+v", r.last)
			}
			_, text, _ := strings.Cut(r.log.String(), "paracell: pager")
			t.Log(text)
		})
	}
}

// TestMemoryGoesBack: after a burst the host has its memory again.
func TestMemoryGoesBack(t *testing.T) {
	root := newRoot(t, "burst")
	for _, policy := range []string{"page", "huge", "report4k"} {
		t.Run(policy, func(t *testing.T) {
			r := start(t, root, policy, "512M", "/bin/burst", "256", "4", "2")
			high := uint64(0)
			for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
				if r.sample() {
					high = max(high, r.last.Resident)
				}
				if high > 256<<20 && r.last.Resident < high-240<<20 {
					break
				}
				if time.Now().After(end) {
					t.Fatalf("%d MiB at most, %+v", high>>20, r.last)
				}
			}
			r.wait()
			t.Log(strings.ReplaceAll(strings.TrimSpace(r.out.String()), "\n", "; "))
		})
	}
}

// TestLimit: a cell that is larger than its limit runs, is not bound beyond it
// ahead of need, and is back below it when it needs less.
func TestLimit(t *testing.T) {
	const limit = 128 << 20
	root := newRoot(t, "burst")
	r := start(t, root, "page --pager-limit 128M", "512M", "/bin/burst", "256", "2")
	high := uint64(0)
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if r.sample() {
			high = max(high, r.last.Resident)
		}
		if high > limit+64<<20 && r.last.Resident < limit {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d MiB at most, %+v", high>>20, r.last)
		}
	}
	r.wait()
	if r.last.Limit != limit || r.last.Bound*4096 > limit {
		t.Errorf("%+v", r.last)
	}
}

// TestSwitch: a cell whose memory stays with it gives it back when it is told to,
// also what has been free for long.
func TestSwitch(t *testing.T) {
	root := newRoot(t, "burst")
	r := start(t, root, "none", "512M", "/bin/burst", "256", "4")
	high := uint64(0)
	told := false
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if r.sample() {
			high = max(high, r.last.Resident)
		}
		if !told && r.last.FreeBound > 240<<20 {
			out, err := exec.Command(testenv.Built(t, "paracell"), "pager", "set", strconv.Itoa(r.cmd.Process.Pid), "page").CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			told = true
		}
		if told && r.last.Resident < high-240<<20 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d MiB at most, told: %t, %+v", high>>20, told, r.last)
		}
	}
	r.wait()
	if r.last.Policy != "page" {
		t.Errorf("%+v", r.last)
	}
}

// TestNothingGoesBackWithout is the control of TestMemoryGoesBack.
func TestNothingGoesBackWithout(t *testing.T) {
	root := newRoot(t, "burst")
	for _, policy := range []string{"none", "off"} {
		t.Run(policy, func(t *testing.T) {
			r := start(t, root, policy, "256M", "/bin/burst", "128", "1")
			r.wait()
			if n := r.last.Resident; n < 128<<20 {
				t.Errorf("%d MiB are bound at the end", n>>20)
			}
		})
	}
}
