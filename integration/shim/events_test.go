// SPDX-License-Identifier: Apache-2.0

package shim

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	eventsapi "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/typeurl/v2"

	"github.com/paracell/paracell/integration/containerd/daemon"
)

// recorder keeps the events of tasks, by container, as short texts.
type recorder struct {
	mu   sync.Mutex
	seen map[string][]string
}

// record subscribes. It does so before it returns.
func (h *harness) record(t *testing.T) *recorder {
	t.Helper()
	r := &recorder{seen: map[string][]string{}}
	envelopes, failed := h.Client(t).EventService().Subscribe(h.ctx, `topic~="/tasks/"`)
	go func() {
		for {
			select {
			case e := <-envelopes:
				r.add(e)
			case <-failed:
				return
			}
		}
	}()
	// The subscription begins some time after the call.
	const probe = "subscribed"
	eventually(t, func() error {
		if len(r.of(probe)) != 0 {
			return nil
		}
		err := h.Client(t).EventService().Publish(h.ctx, "/tasks/paused", &eventsapi.TaskPaused{ContainerID: probe})
		if err == nil {
			err = errors.New("no subscription to events")
		}
		return err
	})
	return r
}

func (r *recorder) add(e *events.Envelope) {
	if e == nil {
		return
	}
	v, err := typeurl.UnmarshalAny(e.Event)
	if err != nil {
		return
	}
	var id, text string
	switch v := v.(type) {
	case *eventsapi.TaskCreate:
		id = v.ContainerID
	case *eventsapi.TaskStart:
		id = v.ContainerID
	case *eventsapi.TaskExecAdded:
		id, text = v.ContainerID, v.ExecID
	case *eventsapi.TaskExecStarted:
		id, text = v.ContainerID, v.ExecID
	case *eventsapi.TaskExit:
		id, text = v.ContainerID, fmt.Sprintf("%s %d", v.ID, v.ExitStatus)
	case *eventsapi.TaskOOM:
		id = v.ContainerID
	case *eventsapi.TaskPaused:
		id = v.ContainerID
	case *eventsapi.TaskResumed:
		id = v.ContainerID
	case *eventsapi.TaskDelete:
		id, text = v.ContainerID, fmt.Sprint(v.ExitStatus)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen[id] = append(r.seen[id], strings.TrimSpace(e.Topic+" "+text))
}

func (r *recorder) of(id string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.seen[id])
}

// await waits until exactly these events of a container have come, in this order.
func (r *recorder) await(t *testing.T, id string, want ...string) {
	t.Helper()
	eventually(t, func() error {
		if got := r.of(id); !slices.Equal(got, want) {
			return fmt.Errorf("events of %s:\n  %s\nwanted:\n  %s", id, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
		}
		return nil
	})
}

func TestEvents(t *testing.T) {
	h := start(t, daemon.Options{})
	r := h.record(t)
	t.Run("order", func(t *testing.T) {
		task, exit := h.task(t, h.container(t, command(forever)), cio.NullIO)
		must(t, task.Start(h.ctx))
		p, ended := h.exec(t, task, cio.NullIO, "/bin/sh", "-c", "exit 5")
		status(t, ended)
		_, err := p.Delete(h.ctx)
		must(t, err)
		must(t, task.Pause(h.ctx))
		must(t, task.Resume(h.ctx))
		must(t, task.Kill(h.ctx, syscall.SIGTERM))
		status(t, exit)
		_, err = task.Delete(h.ctx)
		must(t, err)
		r.await(t, task.ID(),
			"/tasks/create", "/tasks/start", "/tasks/exec-added "+p.ID(), "/tasks/exec-started "+p.ID(),
			"/tasks/exit "+p.ID()+" 5", "/tasks/paused", "/tasks/resumed",
			"/tasks/exit "+task.ID()+" 0", "/tasks/delete 0")
	})
	t.Run("the first process last", func(t *testing.T) {
		task, exit := h.task(t, h.container(t, command(forever)), cio.NullIO)
		must(t, task.Start(h.ctx))
		var execs []string
		for range 5 {
			p, _ := h.exec(t, task, cio.NullIO, "/bin/sleep", "1000")
			execs = append(execs, p.ID())
		}
		must(t, task.Kill(h.ctx, syscall.SIGKILL))
		status(t, exit)
		eventually(t, func() error {
			got := r.of(task.ID())
			if len(got) != 2+3*len(execs)+1 {
				return fmt.Errorf("events: %q", got)
			}
			return nil
		})
		got := r.of(task.ID())
		if got[len(got)-1] != "/tasks/exit "+task.ID()+" 137" {
			t.Errorf("the last event is %s", got[len(got)-1])
		}
		for _, e := range execs {
			if !slices.Contains(got, "/tasks/exit "+e+" 137") {
				t.Errorf("no exit of %s in %q", e, got)
			}
		}
	})
	t.Run("end before the start", func(t *testing.T) {
		task, exit := h.task(t, h.container(t, command(forever)), cio.NullIO)
		must(t, task.Kill(h.ctx, syscall.SIGKILL))
		status(t, exit)
		_, err := task.Delete(h.ctx)
		must(t, err)
		r.await(t, task.ID(), "/tasks/create", "/tasks/exit "+task.ID()+" 137", "/tasks/delete 137")
	})
	t.Run("out of memory", func(t *testing.T) {
		// tail keeps a line without an end in memory.
		task, exit := h.task(t, h.container(t, oci.WithProcessArgs("/bin/sh", "-c", "tail /dev/zero; sleep 1000"),
			oci.WithMemoryLimit(24<<20)), cio.NullIO)
		must(t, task.Start(h.ctx))
		r.await(t, task.ID(), "/tasks/create", "/tasks/start", "/tasks/oom")
		must(t, task.Kill(h.ctx, syscall.SIGKILL))
		status(t, exit)
	})
	t.Run("out of memory at once", func(t *testing.T) {
		task, exit := h.task(t, h.container(t, oci.WithProcessArgs("/bin/tail", "/dev/zero"), oci.WithMemoryLimit(24<<20)), cio.NullIO)
		must(t, task.Start(h.ctx))
		if code := status(t, exit); code != 137 {
			t.Errorf("status %d", code)
		}
		eventually(t, func() error {
			if got := r.of(task.ID()); !slices.Contains(got, "/tasks/oom") {
				return fmt.Errorf("events: %q", got)
			}
			return nil
		})
	})
}
