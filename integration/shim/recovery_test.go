// SPDX-License-Identifier: Apache-2.0

package shim

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/paracell/paracell/integration/containerd/daemon"
)

func TestRecovery(t *testing.T) {
	h := start(t, daemon.Options{})
	for name, test := range map[string]func(*testing.T, *harness){
		"shim killed": testShimKilled, "shim killed after the exit": testShimKilledAfterExit,
		"warden killed": testWardenKilled, "slot killed": testSlotKilled, "guest panics": testPanic, "agent ends": testAgentEnds,
		"shim told to end": testShimTerminated, "guest hangs": testGuestHangs,
	} {
		t.Run(name, func(t *testing.T) { test(t, h) })
	}
}

// socket is where the shim of a container listens.
func (h *harness) socket(t *testing.T, id string) string {
	t.Helper()
	address, err := shim.CreateSocketAddress(h.ctx, "/run/containerd/s", h.Address(), id, false)
	must(t, err)
	path := strings.TrimPrefix(address, "unix://")
	return path
}

// temporary are the directories that the programs may have made.
func temporary() []string {
	list, _ := filepath.Glob(filepath.Join(os.TempDir(), "paracell-*"))
	return list
}

// shim is the only shim of the daemon.
func (h *harness) shim(t *testing.T) int {
	t.Helper()
	shims := h.Shims()
	if len(shims) != 1 {
		t.Fatalf("shims %v", shims)
	}
	return shims[0]
}

// gone waits until processes have ended.
func gone(t *testing.T, pids ...int) {
	t.Helper()
	eventually(t, func() error {
		for _, pid := range pids {
			if alive(pid) {
				return fmt.Errorf("process %d still lives", pid)
			}
		}
		return nil
	})
}

// nothing waits until nothing is left of a container.
func (h *harness) nothing(t *testing.T, id string, before []string) {
	t.Helper()
	if left := h.Left(); left != "" {
		t.Errorf("left:\n%s", left)
	}
	socket := h.socket(t, id)
	eventually(t, func() error {
		if _, err := os.Lstat(socket); err == nil {
			return fmt.Errorf("socket %s is left", socket)
		}
		return nil
	})
	eventually(t, func() error {
		var left []string
		_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() && d.Name() == id {
				left = append(left, path)
			}
			return nil
		})
		if len(left) != 0 {
			return fmt.Errorf("control groups are left: %v", left)
		}
		return nil
	})
	// Others may use the directory too: what stays is what is left.
	left := slices.DeleteFunc(temporary(), func(dir string) bool { return slices.Contains(before, dir) })
	eventually(t, func() error {
		left = slices.DeleteFunc(left, func(dir string) bool { _, err := os.Lstat(dir); return err != nil })
		if len(left) != 0 {
			return fmt.Errorf("left: %v", left)
		}
		return nil
	})
}

func testShimKilled(t *testing.T, h *harness) {
	before := temporary()
	source := t.TempDir()
	must(t, os.WriteFile(filepath.Join(source, "file"), []byte("text"), 0o600))
	r := h.record(t)
	task := h.running(t, oci.WithMounts([]specs.Mount{
		{Type: "bind", Source: source, Destination: "/dir", Options: []string{"rbind", "rw"}},
		{Type: "bind", Source: filepath.Join(source, "file"), Destination: "/file", Options: []string{"rbind", "ro"}},
	}))
	shim := h.shim(t)
	all := append(children(shim), shim)
	if len(all) < 3 {
		t.Fatalf("processes %v", all)
	}
	// A shim tells of a start when it has answered, if it lives so long.
	r.await(t, task.ID(), "/tasks/create", "/tasks/start")
	must(t, syscall.Kill(shim, syscall.SIGKILL))
	gone(t, all...)
	// containerd gives events what the delete command says.
	r.await(t, task.ID(), "/tasks/create", "/tasks/start", "/tasks/exit "+task.ID()+" 137", "/tasks/delete 137")
	h.nothing(t, task.ID(), before)
	_, err := task.Delete(h.ctx)
	if err != nil && !errdefs.IsNotFound(err) {
		t.Errorf("delete: %v", err)
	}
}

// testShimKilledAfterExit: the status that a container ended with is not lost with
// its shim.
func testShimKilledAfterExit(t *testing.T, h *harness) {
	r := h.record(t)
	task, exit := h.task(t, h.container(t, command("exit 23")), cio.NullIO)
	must(t, task.Start(h.ctx))
	if code := status(t, exit); code != 23 {
		t.Errorf("status %d", code)
	}
	must(t, syscall.Kill(h.shim(t), syscall.SIGKILL))
	// The exit is told by the shim, by containerd in its place, or by both.
	eventually(t, func() error {
		got := r.of(task.ID())
		if len(got) == 0 || got[len(got)-1] != "/tasks/delete 23" || !slices.Contains(got, "/tasks/exit "+task.ID()+" 23") {
			return fmt.Errorf("events %q", got)
		}
		return nil
	})
}

// testShimTerminated: a shim that is told to end takes its cell with it.
func testShimTerminated(t *testing.T, h *harness) {
	before := temporary()
	task := h.running(t)
	if _, err := os.Lstat(h.socket(t, task.ID())); err != nil {
		t.Fatalf("the socket is elsewhere: %v", err)
	}
	shim := h.shim(t)
	all := append(children(shim), shim)
	must(t, syscall.Kill(shim, syscall.SIGTERM))
	gone(t, all...)
	h.nothing(t, task.ID(), before)
}

// ends checks that a cell that was broken ends with a clear status, that the log
// says why, and that the task can be deleted.
func (h *harness) ends(t *testing.T, task client.Task, exit <-chan client.ExitStatus, why ...string) {
	t.Helper()
	if code := status(t, exit); code != 137 {
		t.Errorf("status %d", code)
	}
	is(t, "kill", task.Kill(h.ctx, syscall.SIGKILL), errdefs.IsNotFound)
	if s, err := task.Status(h.ctx); err != nil || s.Status != client.Stopped {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := task.Delete(h.ctx); err != nil {
		t.Errorf("delete: %v", err)
	}
	eventually(t, func() error {
		for line := range strings.Lines(h.Log()) {
			if !strings.Contains(line, "the cell has ended") || !strings.Contains(line, "cell="+task.ID()+" ") {
				continue
			}
			for _, w := range why {
				if !strings.Contains(line, w) {
					return fmt.Errorf("no %q in %s", w, line)
				}
			}
			return nil
		}
		return fmt.Errorf("the log does not say why the cell has ended")
	})
}

func testWardenKilled(t *testing.T, h *harness) {
	task := h.running(t)
	_, added := h.exec(t, task, cio.NullIO, "/bin/sleep", "1000")
	exit, err := task.Wait(h.ctx)
	must(t, err)
	all := children(h.shim(t))
	must(t, syscall.Kill(int(task.Pid()), syscall.SIGKILL))
	gone(t, all...)
	if code := status(t, added); code != 137 {
		t.Errorf("status %d of the added process", code)
	}
	h.ends(t, task, exit, "killed by signal 9", "killed from outside")
}

func testSlotKilled(t *testing.T, h *harness) {
	task := h.running(t)
	exit, err := task.Wait(h.ctx)
	must(t, err)
	all := children(h.shim(t))
	i := slices.IndexFunc(all, func(pid int) bool { return pid != int(task.Pid()) })
	if i < 0 {
		t.Fatalf("processes %v", all)
	}
	must(t, syscall.Kill(all[i], syscall.SIGKILL))
	gone(t, all...)
	h.ends(t, task, exit, "killed by signal 9")
}

// testGuestHangs: KILL works also when the guest does not run any more.
func testGuestHangs(t *testing.T, h *harness) {
	task := h.running(t)
	exit, err := task.Wait(h.ctx)
	must(t, err)
	all := children(h.shim(t))
	for _, pid := range all {
		// One that was too many in stock may end meanwhile.
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil && err != syscall.ESRCH {
			t.Fatal(err)
		}
	}
	must(t, task.Kill(h.ctx, syscall.SIGKILL))
	gone(t, all...)
	if code := status(t, exit); code != 137 {
		t.Errorf("status %d", code)
	}
	_, err = task.Delete(h.ctx)
	must(t, err)
}

// inCell starts a container that sees the agent.
func (h *harness) inCell(t *testing.T, script string) (client.Task, <-chan client.ExitStatus) {
	t.Helper()
	task, exit := h.task(t, h.container(t, command(script), oci.WithHostNamespace(specs.PIDNamespace), oci.WithPrivileged,
		oci.WithAllDevicesAllowed, oci.WithWriteableSysfs, oci.WithMaskedPaths(nil), oci.WithReadonlyPaths(nil),
		oci.WithMemoryLimit(24<<20)), cio.NullIO)
	must(t, task.Start(h.ctx))
	return task, exit
}

// testPanic has the kernel panic for want of memory.
func testPanic(t *testing.T, h *harness) {
	task, exit := h.inCell(t, "echo 2 >/proc/sys/vm/panic_on_oom && tail /dev/zero; sleep 1000")
	h.ends(t, task, exit, "guest kernel panic: ", "panic_on_oom")
}

// testAgentEnds: a Go program ends at QUIT, with the stacks of its goroutines.
func testAgentEnds(t *testing.T, h *harness) {
	task, exit := h.inCell(t, "kill -QUIT 1; sleep 1000")
	h.ends(t, task, exit, "guest kernel panic: ", "kill init")
	if !strings.Contains(h.Log(), "SIGQUIT") {
		t.Error("the log does not have the agent's last words")
	}
}

func TestRestart(t *testing.T) {
	h := start(t, daemon.Options{})
	var out buffer
	c := h.container(t, command("trap 'exit 11' TERM; echo ready; while :; do sleep 1000 & wait; done"))
	task, _ := h.task(t, c, h.streams(nil, &out, nil))
	must(t, task.Start(h.ctx))
	out.await(t, "ready")
	stopped, exit := h.task(t, h.container(t, command("exit 12")), cio.NullIO)
	must(t, stopped.Start(h.ctx))
	status(t, exit)
	pid := task.Pid()

	h.Restart(t)
	c, err := h.Client(t).LoadContainer(h.ctx, c.ID())
	must(t, err)
	task, err = c.Task(h.ctx, nil)
	must(t, err)
	if task.Pid() != pid {
		t.Errorf("process %d, was %d", task.Pid(), pid)
	}
	if s, err := task.Status(h.ctx); err != nil || s.Status != client.Running {
		t.Errorf("%+v, %v", s, err)
	}
	if out := h.output(t, task, "/bin/echo", "hello"); out != "hello\n" {
		t.Errorf("%q", out)
	}
	r := h.record(t)
	exit, err = task.Wait(h.ctx)
	must(t, err)
	must(t, task.Kill(h.ctx, syscall.SIGTERM))
	if code := status(t, exit); code != 11 {
		t.Errorf("status %d", code)
	}
	eventually(t, func() error {
		if got := r.of(c.ID()); !slices.Contains(got, "/tasks/exit "+c.ID()+" 11") {
			return fmt.Errorf("events %q", got)
		}
		return nil
	})
	if gone, err := task.Delete(h.ctx); err != nil || gone.ExitCode() != 11 {
		t.Errorf("delete: %v, %v", gone, err)
	}
}

// TestShimDiesWithoutDaemon: containerd cleans up after what died while it was away.
func TestShimDiesWithoutDaemon(t *testing.T) {
	h := start(t, daemon.Options{})
	before := temporary()
	task := h.running(t)
	if _, err := os.Lstat(h.socket(t, task.ID())); err != nil {
		t.Fatalf("the socket is elsewhere: %v", err)
	}
	shim := h.shim(t)
	all := append(children(shim), shim)
	h.Stop(t)
	must(t, syscall.Kill(shim, syscall.SIGKILL))
	gone(t, all...)
	h.Restart(t)
	h.nothing(t, task.ID(), before)
}

// TestShimHangs: a shim that does not answer is ended by the delete command of
// the next containerd.
func TestShimHangs(t *testing.T) {
	h := start(t, daemon.Options{})
	before := temporary()
	task := h.running(t)
	shim := h.shim(t)
	all := append(children(shim), shim)
	must(t, syscall.Kill(shim, syscall.SIGSTOP))
	h.Restart(t)
	gone(t, all...)
	h.nothing(t, task.ID(), before)
}
