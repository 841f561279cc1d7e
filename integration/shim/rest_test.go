// SPDX-License-Identifier: Apache-2.0

package shim

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/paracell/paracell/integration/containerd/daemon"
)

// guestMemory is the host memory of the cells of shims, in bytes.
func guestMemory(t *testing.T, shims []int) int64 {
	t.Helper()
	var sum int64
	for _, pid := range shims {
		fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		must(t, err)
		for _, fd := range fds {
			target, _ := os.Readlink(fd)
			var st syscall.Stat_t
			if strings.HasPrefix(target, "/memfd:paracell:") && syscall.Stat(fd, &st) == nil {
				sum += st.Blocks * 512
			}
		}
	}
	if sum == 0 {
		t.Fatal("no memory of a cell is open in its shim")
	}
	return sum
}

// TestRest sees a cell with nothing to do give memory back, and go on after it.
func TestRest(t *testing.T) {
	h := start(t, daemon.Options{})
	task, exit := h.task(t, h.container(t, command(forever)), h.streams(nil, &buffer{}, &buffer{}))
	must(t, task.Start(h.ctx))
	fill := []string{"/bin/sh", "-c", "dd if=/dev/zero of=/dev/shm/x bs=1M count=32 2>/dev/null && md5sum </dev/shm/x"}
	before := h.output(t, task, fill...)
	full := guestMemory(t, h.Shims())
	h.output(t, task, "/bin/rm", "/dev/shm/x")
	eventually(t, func() error {
		if now := guestMemory(t, h.Shims()); full-now < 30<<20 {
			return fmt.Errorf("a cell at rest keeps %d of %d MiB", now>>20, full>>20)
		}
		return nil
	})
	if after := h.output(t, task, fill...); after != before {
		t.Errorf("%q, and after the rest %q", before, after)
	}
	must(t, task.Kill(h.ctx, syscall.SIGKILL))
	status(t, exit)
}
