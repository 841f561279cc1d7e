// SPDX-License-Identifier: Apache-2.0

package pager

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/paracell/paracell/internal/testenv"
	"github.com/paracell/paracell/pager"
)

// pressGroup makes a control group with so much memory, in either version of
// control groups.
func pressGroup(t *testing.T, limit string) string {
	t.Helper()
	name := fmt.Sprintf("paracell-press-%d", os.Getpid())
	dir, file := filepath.Join("/sys/fs/cgroup/memory", name), "memory.limit_in_bytes"
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		dir, file = filepath.Join("/sys/fs/cgroup", name), "memory.max"
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skipf("no control group for memory: %v", err)
	}
	t.Cleanup(func() {
		for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
			err := os.Remove(dir)
			if err == nil {
				return
			}
			if time.Now().After(end) {
				t.Errorf("%s is left: %v", dir, err)
				return
			}
		}
	})
	if err := os.WriteFile(filepath.Join(dir, file), []byte(limit), 0); err != nil {
		t.Skipf("no limit of memory: %v", err)
	}
	return dir
}

// press lets processes of a group that is too small read files until the test
// ends: they wait for memory most of the time, and the host says so.
func press(t *testing.T) {
	t.Helper()
	group, files := pressGroup(t, "16M"), t.TempDir()
	const script = `echo $$ >"$0/cgroup.procs" && dd if=/dev/zero of="$1" bs=1M count=48 2>/dev/null && while :; do cat "$1" >/dev/null; done`
	for n := range 4 {
		cmd := exec.Command("/bin/sh", "-c", script, group, filepath.Join(files, fmt.Sprint(n)))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
	}
}

// TestHostPressure: a cell that works gives page cache back when processes of the
// host wait for memory, and keeps it otherwise.
func TestHostPressure(t *testing.T) {
	if _, err := os.Stat("/proc/pressure/memory"); err != nil {
		t.Skipf("the host does not tell of pressure: %v", err)
	}
	root := newRoot(t)
	busybox := testenv.Program(t, "busybox", "busybox-static")
	program, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "bin/busybox"), program, 0o755); err != nil {
		t.Fatal(err)
	}
	const cache = 128 << 20
	if err := os.WriteFile(filepath.Join(root, "files/data"), make([]byte, cache), 0o644); err != nil {
		t.Fatal(err)
	}
	const work = `b=/bin/busybox; $b cat /files/data >/dev/null; n=0; while [ $n -lt 3000 ]; do $b sleep 0.1; n=$((n + 1)); done`
	for end := time.Now().Add(patience); (pager.Pressure{}).Short(); time.Sleep(time.Second) {
		if time.Now().After(end) {
			t.Skip("the host is short of memory before the test begins")
		}
	}
	r := start(t, root, "page --cold-cache=false", "512M", "/bin/busybox", "sh", "-c", work)
	high := uint64(0)
	t.Cleanup(func() { _ = r.cmd.Process.Kill(); _ = r.cmd.Wait() })
	for end := time.Now().Add(patience); high < cache; time.Sleep(10 * time.Millisecond) {
		if r.sample() {
			high = max(high, r.last.Resident)
		}
		if time.Now().After(end) {
			t.Fatalf("%d MiB at most, %+v", high>>20, r.last)
		}
	}
	short := false // other tests may see to that too
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		short = short || (pager.Pressure{}).Short()
		r.sample()
		high = max(high, r.last.Resident)
		if r.last.Resident < cache && !short {
			t.Fatalf("it gave cache back without need: %+v", r.last)
		}
	}
	press(t)
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		short = short || (pager.Pressure{}).Short()
		if r.sample() && short && r.last.Resident < high-100<<20 {
			break
		}
		if time.Now().After(end) {
			if !short {
				t.Skip("the host does not get short of memory by this")
			}
			t.Fatalf("%d MiB at most, %+v", high>>20, r.last)
		}
	}
}
