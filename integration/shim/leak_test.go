// SPDX-License-Identifier: Apache-2.0

package shim

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"

	"github.com/paracell/paracell/integration/containerd/daemon"
)

// TestCycles starts and stops containers and then finds as much of everything as
// before. PARACELL_CYCLES says how often; it was run with 100.
func TestCycles(t *testing.T) {
	h := start(t, daemon.Options{})
	cycle := func() {
		task, exit := h.task(t, h.container(t, command(forever)), h.streams(nil, &buffer{}, &buffer{}))
		must(t, task.Start(h.ctx))
		if out := h.output(t, task, "/bin/echo", "x"); out != "x\n" {
			t.Errorf("%q", out)
		}
		must(t, task.Kill(h.ctx, syscall.SIGTERM))
		status(t, exit)
		_, err := task.Delete(h.ctx)
		must(t, err)
		c, err := h.Client(t).LoadContainer(h.ctx, task.ID())
		must(t, err)
		must(t, c.Delete(h.ctx, client.WithSnapshotCleanup))
	}
	for range 3 { // what is made once
		cycle()
	}
	before := h.usage(t)
	for range count(t, "PARACELL_CYCLES", 10) {
		cycle()
		if t.Failed() {
			return
		}
	}
	// Go's collector closes what its finalizers have; the rest has to be gone.
	eventually(t, func() error {
		after := h.usage(t)
		for what, n := range after {
			if n > before[what] {
				return fmt.Errorf("%d %s, %d before", n, what, before[what])
			}
		}
		return nil
	})
}

// usage counts what containers of the daemon use on the host.
func (h *harness) usage(t *testing.T) map[string]int {
	t.Helper()
	n := map[string]int{}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", h.Pid()))
	must(t, err)
	n["files of containerd"] = len(fds)
	n["shims"] = len(h.Shims())
	n["mounts"] = len(h.Mounts())
	n["processes below this one"] = len(children(os.Getpid()))
	n["memory files of cells"] = memoryFiles()
	for i := range names.Load() {
		if _, err := os.Lstat(h.socket(t, fmt.Sprint("c", i+1))); err == nil {
			n["sockets of shims"]++
		}
	}
	// Bundles, FIFOs.
	must(t, filepath.WalkDir(h.Dir, func(string, fs.DirEntry, error) error {
		n["files in the daemon's folder"]++
		return nil
	}))
	for _, dir := range []string{"/sys/fs/cgroup"} {
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() && containerName(filepath.Base(path)) {
				n["control groups"]++
			}
			return nil
		})
	}
	return n
}

// containerName says whether a name is one of this package's containers.
func containerName(s string) bool {
	rest, ok := strings.CutPrefix(s, "c")
	return ok && rest != "" && strings.Trim(rest, "0123456789") == ""
}

// memoryFiles are guest memories that processes have mapped: of this package's
// containers.
func memoryFiles() int {
	files := map[string]bool{}
	dirs, _ := filepath.Glob("/proc/[0-9]*/maps")
	for _, path := range dirs {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			if _, name, ok := strings.Cut(line, "/memfd:paracell:"); ok {
				name, _, _ = strings.Cut(name, " ")
				if containerName(name) {
					files[name] = true
				}
			}
		}
	}
	return len(files)
}

// TestManyCells runs 30 cells at once.
func TestManyCells(t *testing.T) {
	h := start(t, daemon.Options{})
	n := count(t, "PARACELL_CELLS", 30)
	tasks := make([]client.Task, n)
	// They start a few at a time: a machine with two processors has no use for
	// more, and containerd gives up waiting for what is starved.
	each := func(f func(i int)) {
		next := make(chan int)
		var workers sync.WaitGroup
		for range 4 {
			workers.Go(func() {
				for i := range next {
					f(i)
				}
			})
		}
		for i := range n {
			next <- i
		}
		close(next)
		workers.Wait()
	}
	containers := make([]client.Container, n)
	for i := range containers {
		containers[i] = h.container(t, command(forever))
	}
	each(func(i int) {
		task, err := containers[i].NewTask(h.ctx, cio.NullIO)
		if err == nil {
			err = task.Start(h.ctx)
		}
		if err != nil {
			t.Errorf("cell %d: %v", i, err)
			return
		}
		tasks[i] = task
	})
	if t.Failed() {
		each(func(i int) {
			if tasks[i] != nil {
				_, _ = tasks[i].Delete(h.ctx, client.WithProcessKill)
			}
		})
		return
	}
	if shims := h.Shims(); len(shims) != n {
		t.Errorf("%d shims", len(shims))
	}
	var mu sync.Mutex
	var names []string
	each(func(i int) {
		var out buffer
		p, err := tasks[i].Exec(h.ctx, "name", processSpec("/bin/hostname"), h.streams(nil, &out, nil))
		if err != nil {
			t.Errorf("cell %d: %v", i, err)
			return
		}
		if _, err := startAndDelete(h, p); err != nil {
			t.Errorf("cell %d: %v", i, err)
		}
		mu.Lock()
		defer mu.Unlock()
		names = append(names, out.String())
	})
	if len(names) != n || slices.Contains(names, "") {
		t.Errorf("%q", names)
	}
	each(func(i int) {
		if _, err := tasks[i].Delete(h.ctx, client.WithProcessKill); err != nil {
			t.Errorf("cell %d: %v", i, err)
		}
	})
}
