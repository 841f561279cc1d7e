// SPDX-License-Identifier: Apache-2.0

package shim

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/paracell/paracell/integration/containerd/daemon"
)

// wait is the deadline of everything that takes moments.
const wait = 30 * time.Second

// harness is a containerd and its client.
type harness struct {
	*daemon.Daemon
	ctx context.Context
}

func start(t *testing.T, o daemon.Options) *harness {
	t.Helper()
	o.Config += "debug = true\n" // what guests say is in the log of a test that fails
	return &harness{Daemon: daemon.Start(t, o), ctx: daemon.Context(t)}
}

var names atomic.Int32

// container is made of the test image with a command; it is deleted with the test.
func (h *harness) container(t testing.TB, opts ...oci.SpecOpts) client.Container {
	t.Helper()
	id := fmt.Sprintf("c%d", names.Add(1))
	c := h.Client(t)
	image, err := c.GetImage(h.ctx, daemon.Image)
	must(t, err)
	all := append([]oci.SpecOpts{oci.WithImageConfig(image)}, opts...)
	container, err := c.NewContainer(h.ctx, id, client.WithImage(image), client.WithNewSnapshot(id, image),
		client.WithNewSpec(all...), client.WithRuntime(daemon.Runtime, nil))
	must(t, err)
	t.Cleanup(func() {
		// The client of before a restart is closed.
		container, err := h.Client(t).LoadContainer(h.ctx, id)
		if err == nil {
			err = container.Delete(h.ctx, client.WithSnapshotCleanup)
		}
		if err != nil && !errdefs.IsNotFound(err) { // deleted by the test
			t.Errorf("delete container %s: %v", id, err)
		}
	})
	return container
}

func command(script string) oci.SpecOpts { return oci.WithProcessArgs("/bin/sh", "-c", script) }

// forever is a command that ends with TERM.
const forever = "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done"

// task creates the task of a container; it is killed and deleted with the test.
func (h *harness) task(t testing.TB, c client.Container, io cio.Creator) (client.Task, <-chan client.ExitStatus) {
	t.Helper()
	task, err := c.NewTask(h.ctx, io)
	must(t, err)
	t.Cleanup(func() {
		c, err := h.Client(t).LoadContainer(h.ctx, c.ID())
		if err != nil {
			return
		}
		task, err := c.Task(h.ctx, nil)
		if err != nil {
			return // deleted by the test
		}
		if _, err := task.Delete(h.ctx, client.WithProcessKill); err != nil {
			t.Errorf("delete task %s: %v", c.ID(), err)
		}
	})
	exit, err := task.Wait(h.ctx)
	must(t, err)
	return task, exit
}

// running starts a container that runs until it is killed.
func (h *harness) running(t testing.TB, opts ...oci.SpecOpts) client.Task {
	t.Helper()
	task, _ := h.task(t, h.container(t, append([]oci.SpecOpts{command(forever)}, opts...)...), cio.NullIO)
	must(t, task.Start(h.ctx))
	return task
}

// exec adds a process to a task and starts it.
func (h *harness) exec(t testing.TB, task client.Task, io cio.Creator, args ...string) (client.Process, <-chan client.ExitStatus) {
	t.Helper()
	p := h.added(t, task, io, args...)
	exit, err := p.Wait(h.ctx)
	must(t, err)
	must(t, p.Start(h.ctx))
	return p, exit
}

// added is exec without the start.
func (h *harness) added(t testing.TB, task client.Task, io cio.Creator, args ...string) client.Process {
	t.Helper()
	p, err := task.Exec(h.ctx, fmt.Sprintf("e%d", names.Add(1)), processSpec(args...), io)
	must(t, err)
	return p
}

func processSpec(args ...string) *specs.Process {
	return &specs.Process{Args: args, Cwd: "/", Env: []string{"PATH=/bin"}}
}

// output runs a command in a container and returns what it printed.
func (h *harness) output(t testing.TB, task client.Task, args ...string) string {
	t.Helper()
	var out buffer
	p, exit := h.exec(t, task, cio.NewCreator(cio.WithStreams(nil, &out, &out), cio.WithFIFODir(h.Dir)), args...)
	status := status(t, exit)
	remove(t, h, p)
	if status != 0 {
		t.Fatalf("%v: status %d\n%s", args, status, out.String())
	}
	return out.String()
}

// remove deletes a process that has ended, when all that it printed has been
// read: the client cuts off what has not.
func remove(t testing.TB, h *harness, p client.Process) {
	t.Helper()
	p.IO().Wait()
	_, err := p.Delete(h.ctx)
	must(t, err)
}

// status waits for an exit.
func status(t testing.TB, exit <-chan client.ExitStatus) uint32 {
	t.Helper()
	select {
	case s := <-exit:
		code, _, err := s.Result()
		must(t, err)
		return code
	case <-time.After(wait):
		t.Fatal("no exit")
		return 0
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually polls until f returns nil.
func eventually(t testing.TB, f func() error) {
	t.Helper()
	for end := time.Now().Add(wait); ; time.Sleep(10 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// buffer is a bytes.Buffer for several goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

var _ io.Writer = (*buffer)(nil)

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// await waits until the output has a text.
func (b *buffer) await(t testing.TB, text string) {
	t.Helper()
	eventually(t, func() error {
		if !strings.Contains(b.String(), text) {
			return fmt.Errorf("no %q in %q", text, b.String())
		}
		return nil
	})
}

// alive says whether a process exists and is no zombie.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	i := bytes.LastIndexByte(b, ')')
	return i >= 0 && !bytes.HasPrefix(b[i+1:], []byte(" Z"))
}

// children are the processes below one.
func children(pid int) []int {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	var list []int
	// Threads have children of their own.
	tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for _, task := range tasks {
		if task.Name() == fmt.Sprint(pid) {
			continue
		}
		more, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, task.Name()))
		b = append(append(b, ' '), more...)
	}
	for _, f := range strings.Fields(string(b)) {
		var child int
		if _, err := fmt.Sscan(f, &child); err == nil {
			list = append(append(list, child), children(child)...)
		}
	}
	return list
}
