// SPDX-License-Identifier: Apache-2.0

package run

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// footprint is what a cell takes from its host.
type footprint struct {
	processes, mappings, files int
	resident                   int64 // bytes of guest memory
}

func measure(t *testing.T, name string) footprint {
	t.Helper()
	pids := cellProcesses(t, name)
	f := footprint{processes: len(pids)}
	for _, pid := range pids {
		maps, err := os.ReadFile("/proc/" + pid + "/maps")
		if gone(err) {
			return measure(t, name)
		}
		if err != nil {
			t.Fatal(err)
		}
		f.mappings += bytes.Count(maps, []byte("\n"))
		files, err := os.ReadDir("/proc/" + pid + "/fd")
		if gone(err) {
			return measure(t, name)
		}
		if err != nil {
			t.Fatal(err)
		}
		f.files += len(files)
	}
	var st syscall.Stat_t
	if err := syscall.Stat("/proc/"+pids[0]+"/fd/3", &st); err != nil {
		t.Fatal(err)
	}
	f.resident = st.Blocks * 512
	return f
}

// gone says whether an error means that a process has ended, as those do that are
// too many in stock.
func gone(err error) bool { return errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) }

// settled waits until two measurements a while apart agree, and returns the
// last. The warden ends what is too many in stock one to two quiet seconds later,
// on a busy host later than that.
func settled(t *testing.T, name string) footprint {
	t.Helper()
	var last footprint
	for range 20 {
		now := measure(t, name)
		if now.processes == last.processes && now.mappings == last.mappings {
			return now
		}
		last = now
		time.Sleep(5 * time.Second)
	}
	t.Fatalf("no rest: %+v", last)
	return last
}

// TestForkAndExecLeakNothing: 10,000 times fork, exec and exit leave as many
// host processes, mappings, files and bound pages as before.
func TestForkAndExecLeakNothing(t *testing.T) {
	const cycles = 10_000
	name := unique("forks")
	loop := func(n int) string {
		return fmt.Sprintf("i=0; while [ $i -lt %d ]; do /bin/true; i=$((i+1)); done; echo done; ", n)
	}
	args := append(paracell(t), "--name", name, "--rootfs", busyboxRoot(t), "--",
		"sh", "-c", loop(500)+"sleep 60; "+loop(cycles)+"sleep 1000")
	cmd := exec.Command(args[0], args[1:]...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	timer := time.AfterFunc(20*time.Minute, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	lines := bufio.NewScanner(out)
	await := func() {
		for lines.Scan() {
			if bytes.Contains(lines.Bytes(), []byte("done")) {
				return
			}
		}
		t.Fatal("the script ended early")
	}
	await()
	before := settled(t, name)
	begin := time.Now()
	await()
	took := time.Since(begin)
	after := settled(t, name)
	t.Logf("%d cycles in %v: %+v before, %+v after", cycles, took, before, after)
	const slack = 2 << 20 // what the guest's own caches may grow by
	if after.processes > before.processes || after.files > before.files || after.mappings > before.mappings ||
		after.resident > before.resident+slack {
		t.Errorf("%d cycles: %+v before, %+v after", cycles, before, after)
	}
}
