// SPDX-License-Identifier: Apache-2.0

package task

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	eventsapi "github.com/containerd/containerd/api/events"
	api "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/emptypb"

	agent "github.com/paracell/paracell/protos/agent/v1"
	"github.com/paracell/paracell/runtime/bundle"
)

// maxSignal is the largest signal number of Linux.
const maxSignal = 64

// Kill implements api.TTRPCTaskService.
func (s *service) Kill(ctx context.Context, r *api.KillRequest) (*emptypb.Empty, error) {
	return answer(empty, s.kill(ctx, r))
}

func (s *service) kill(ctx context.Context, r *api.KillRequest) error {
	p, err := s.process(r.ID, r.ExecID)
	if err != nil {
		return err
	}
	status, _, _ := p.state()
	switch {
	case r.Signal > maxSignal:
		return fmt.Errorf("signal %d: %w: signals are 0 to %d", r.Signal, errdefs.ErrInvalidArgument, maxSignal)
	case status == task.Status_STOPPED:
		return fmt.Errorf("process %s has ended: %w", p.id(), errdefs.ErrNotFound)
	case status == task.Status_CREATED && p.exec != "":
		return fmt.Errorf("process %s has not been started: %w", p.id(), errdefs.ErrFailedPrecondition)
	}
	ends := r.Signal == uint32(unix.SIGKILL) && p.exec == ""
	if ends {
		// It always works, whatever the guest does.
		ctx = context.WithoutCancel(ctx)
		defer func() { go s.insist(p) }()
	}
	ctx, cancel := context.WithTimeout(ctx, s.killAnswer)
	defer cancel()
	_, err = p.c.box.Agent().Kill(ctx, &agent.KillRequest{Container: r.ID, Exec: r.ExecID, Signal: r.Signal, All: r.All})
	if ends && ctx.Err() != nil {
		log.G(s.ctx).WithField("id", r.ID).Errorf("the cell's agent has not answered KILL within %s: the cell is ended", s.killAnswer)
		p.c.box.Close()
		return nil
	}
	if err = native(p.c.box, err); errdefs.IsUnavailable(err) {
		// Clients that want it dead are content with that.
		return fmt.Errorf("process %s: %w: %w", p.id(), errdefs.ErrNotFound, err)
	}
	return err
}

// insist ends the cell of a container that has got KILL and does not end, if
// nothing else in it is to live on.
func (s *service) insist(p *process) {
	p.killed.Store(true)
	if p.insisted.Swap(true) {
		return // somebody does
	}
	defer p.insisted.Store(false)
	before := s.written()
	for range maxInsist {
		select {
		case <-p.exited:
			return
		case <-p.c.box.Ended():
			return
		case <-s.shutdown.Done():
			return
		case <-time.After(s.killEnd):
		}
		now := s.written()
		if now-before < writingBack {
			break
		}
		before = now
	}
	if !s.expendable(p) {
		return
	}
	log.G(s.ctx).WithField("id", p.c.id).Errorf("the container has not ended within %s of KILL: its cell is ended", s.killEnd)
	p.c.box.Close()
}

// written is how many bytes this process has written to files and elsewhere; 0 if
// the host does not say. The files of cells are among them.
func written() uint64 {
	b, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0
	}
	return table(strings.ReplaceAll(string(b), ":", ""))["wchar"]
}

// expendable says whether nobody but the container of p needs the cell: all others
// have ended or have got KILL too. What stands for a pod does not count: it is of
// no use when the containers of the pod cannot be stopped.
func (s *service) expendable(p *process) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.containers {
		if c == nil {
			return false // it is being made
		}
		if o := c.first; o != p && !c.spec.Pod() && !o.killed.Load() && !o.is(task.Status_STOPPED) {
			return false
		}
	}
	return true
}

// ResizePty implements api.TTRPCTaskService.
func (s *service) ResizePty(ctx context.Context, r *api.ResizePtyRequest) (*emptypb.Empty, error) {
	return answer(empty, s.resize(ctx, r))
}

func (s *service) resize(ctx context.Context, r *api.ResizePtyRequest) error {
	p, err := s.process(r.ID, r.ExecID)
	switch {
	case err != nil:
		return err
	case !p.io.Config().Terminal:
		return fmt.Errorf("process %s has no terminal: %w", p.id(), errdefs.ErrFailedPrecondition)
	case p.is(task.Status_STOPPED):
		return fmt.Errorf("process %s has ended: %w", p.id(), errdefs.ErrFailedPrecondition)
	}
	_, err = p.c.box.Agent().ResizePty(ctx, &agent.ResizePtyRequest{Container: r.ID, Exec: r.ExecID, Width: r.Width, Height: r.Height})
	return native(p.c.box, err)
}

// CloseIO implements api.TTRPCTaskService.
func (s *service) CloseIO(_ context.Context, r *api.CloseIORequest) (*emptypb.Empty, error) {
	p, err := s.process(r.ID, r.ExecID)
	if err == nil && r.Stdin {
		p.io.CloseStdin()
	}
	return answer(empty, err)
}

// Pause implements api.TTRPCTaskService.
func (s *service) Pause(ctx context.Context, r *api.PauseRequest) (*emptypb.Empty, error) {
	return answer(empty, s.freeze(r.ID, task.Status_RUNNING, task.Status_PAUSED, &eventsapi.TaskPaused{ContainerID: r.ID},
		func(a agent.AgentService, c *agent.ContainerRequest) error {
			_, err := a.Pause(ctx, c)
			return err
		}))
}

// Resume implements api.TTRPCTaskService.
func (s *service) Resume(ctx context.Context, r *api.ResumeRequest) (*emptypb.Empty, error) {
	return answer(empty, s.freeze(r.ID, task.Status_PAUSED, task.Status_RUNNING, &eventsapi.TaskResumed{ContainerID: r.ID},
		func(a agent.AgentService, c *agent.ContainerRequest) error {
			_, err := a.Resume(ctx, c)
			return err
		}))
}

// freeze changes the status of a container's first process with call.
func (s *service) freeze(id string, from, to task.Status, event any, call func(agent.AgentService, *agent.ContainerRequest) error) error {
	p, err := s.process(id, "")
	if err != nil {
		return err
	}
	p.life.Lock()
	defer p.life.Unlock()
	if status, _, _ := p.state(); status != from {
		return fmt.Errorf("container %s is %s, not %s: %w", id, strings.ToLower(status.String()), strings.ToLower(from.String()), errdefs.ErrFailedPrecondition)
	}
	if err := call(p.c.box.Agent(), &agent.ContainerRequest{Container: id}); err != nil {
		return native(p.c.box, err)
	}
	p.set(to)
	s.events.send(event)
	return nil
}

// Checkpoint implements api.TTRPCTaskService.
func (s *service) Checkpoint(context.Context, *api.CheckpointTaskRequest) (*emptypb.Empty, error) {
	return answer(empty, fmt.Errorf("a cell cannot be checkpointed: %w", errdefs.ErrNotImplemented))
}

// Update implements api.TTRPCTaskService.
func (s *service) Update(ctx context.Context, r *api.UpdateTaskRequest) (*emptypb.Empty, error) {
	return answer(empty, s.update(ctx, r))
}

func (s *service) update(ctx context.Context, r *api.UpdateTaskRequest) error {
	p, err := s.process(r.ID, "")
	switch {
	case err != nil:
		return err
	case p.is(task.Status_STOPPED):
		return fmt.Errorf("container %s has ended: %w", r.ID, errdefs.ErrFailedPrecondition)
	case len(r.Resources.GetValue()) == 0:
		return fmt.Errorf("container %s: %w: no resources to update", r.ID, errdefs.ErrInvalidArgument)
	}
	host, guest, err := bundle.Resources(r.Resources.GetValue())
	if err != nil {
		return fmt.Errorf("container %s: %w: %w", r.ID, errdefs.ErrInvalidArgument, err)
	}
	if err := s.place.update(host); err != nil {
		return fmt.Errorf("container %s: %w", r.ID, err)
	}
	if _, err = p.c.box.Agent().Update(ctx, &agent.UpdateRequest{Container: r.ID, Resources: guest}); err != nil {
		return native(p.c.box, err)
	}
	if bound, ok := s.limit.update(r.ID, host); ok {
		p.c.box.SetMemoryLimit(bound)
	}
	return nil
}

// Shutdown implements api.TTRPCTaskService.
func (s *service) Shutdown(_ context.Context, r *api.ShutdownRequest) (*emptypb.Empty, error) {
	// containerd calls this after the end of every container of a sandbox too.
	busy := s.pod.holds()
	s.mu.Lock()
	for id, c := range s.containers {
		// If the one that the call is about is being created, it has been given
		// up; another one of the group has not.
		busy = busy || c != nil || id != r.ID
	}
	s.mu.Unlock()
	if !busy || r.Now {
		s.shutdown.Shutdown()
	}
	return empty, nil
}
