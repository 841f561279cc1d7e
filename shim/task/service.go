// SPDX-License-Identifier: Apache-2.0

// Package task is the task service of containerd's shims (Task API v3) over the
// agent of a cell. Lock order: service.mu, container.mu, process.life, process.mu.
package task

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	eventsapi "github.com/containerd/containerd/api/events"
	api "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/containerd/v2/pkg/shutdown"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/log"
	"github.com/containerd/ttrpc"
	"github.com/containerd/typeurl/v2"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	agent "github.com/paracell/paracell/protos/agent/v1"
	"github.com/paracell/paracell/runtime/bundle"
	"github.com/paracell/paracell/shim/sandbox"
	"github.com/paracell/paracell/shim/stdio"
)

const (
	// execsTimeout is how long the exit of a container waits for those of the
	// processes that were added to it, which end with it.
	execsTimeout = 10 * time.Second
	// lostStatus is the exit status of processes whose cell has ended.
	lostStatus = 128 + uint32(unix.SIGKILL)
)

type service struct {
	ctx      context.Context
	events   *events
	shutdown shutdown.Service

	mu         sync.Mutex
	booted     *sandbox.Sandbox
	containers map[string]*container // nil while one is being created
}

var (
	_     api.TTRPCTaskService = (*service)(nil)
	empty                      = &emptypb.Empty{}
)

// New returns the service of a shim that has no cell yet.
func New(ctx context.Context, p shim.Publisher, sd shutdown.Service) shim.TTRPCService {
	s := &service{ctx: ctx, events: newEvents(ctx, p), shutdown: sd, containers: map[string]*container{}}
	sd.RegisterCallback(func(context.Context) error {
		s.mu.Lock()
		box := s.booted
		s.mu.Unlock()
		if box != nil {
			box.Close()
		}
		return s.events.close()
	})
	return s
}

// RegisterTTRPC implements shim.TTRPCService.
func (s *service) RegisterTTRPC(server *ttrpc.Server) error {
	api.RegisterTTRPCTaskService(server, s)
	return nil
}

// answer gives an error its status code. This is the only place that does.
func answer[T any](v T, err error) (T, error) {
	if err != nil {
		var none T
		return none, errgrpc.ToGRPC(err)
	}
	return v, nil
}

// native makes an error of the agent one of errdefs again.
func native(err error) error {
	if err == nil {
		return nil
	}
	return errgrpc.ToNative(err)
}

// cellLocked returns the cell, which the first container boots. s.mu is held.
func (s *service) cellLocked(ctx context.Context, r *api.CreateTaskRequest, b *bundle.Bundle) (*sandbox.Sandbox, error) {
	if s.booted != nil {
		return s.booted, nil
	}
	c, err := cellOf(r.ID, r.Options, b)
	if err != nil {
		return nil, err
	}
	s.booted, err = sandbox.Start(ctx, c)
	return s.booted, err
}

func (s *service) box() (*sandbox.Sandbox, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.booted == nil {
		return nil, fmt.Errorf("there is no cell yet: %w", errdefs.ErrFailedPrecondition)
	}
	return s.booted, nil
}

// Create implements api.TTRPCTaskService.
func (s *service) Create(ctx context.Context, r *api.CreateTaskRequest) (*api.CreateTaskResponse, error) {
	return answer(s.create(ctx, r))
}

func (s *service) create(ctx context.Context, r *api.CreateTaskRequest) (_ *api.CreateTaskResponse, err error) {
	if r.Checkpoint != "" || r.ParentCheckpoint != "" {
		return nil, fmt.Errorf("a cell cannot be restored from a checkpoint: %w", errdefs.ErrNotImplemented)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.containers[r.ID]; ok {
		return nil, fmt.Errorf("container %s: %w", r.ID, errdefs.ErrAlreadyExists)
	}
	b, err := bundle.Load(r.Bundle, r.ID)
	if err != nil {
		return nil, err
	}
	for _, reason := range b.Ignored {
		log.G(ctx).WithField("id", r.ID).Debugf("ignored: %s", reason)
	}
	if err := mountRootfs(r.Rootfs, b.Rootfs); err != nil {
		return nil, fmt.Errorf("root file system of container %s: %w", r.ID, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, sandbox.Unmount(r.Bundle))
		}
	}()
	box, err := s.cellLocked(ctx, r, b)
	if err != nil {
		return nil, err
	}
	root, err := box.Add(r.ID, b)
	if err != nil {
		return nil, err
	}
	io, err := stdio.Open(ctx, stdio.Config{Stdin: r.Stdin, Stdout: r.Stdout, Stderr: r.Stderr, Terminal: r.Terminal}, r.ID, box, &box.Ports)
	if err != nil {
		return nil, err
	}
	spec, err := b.Encode()
	if err == nil {
		_, err = box.Agent.Create(ctx, &agent.CreateRequest{Container: r.ID, Spec: spec, Root: root, Stdio: io.Guest()})
		err = native(err)
	}
	if err != nil {
		io.Close()
		return nil, err
	}
	c := &container{id: r.ID, bundle: r.Bundle, execs: map[string]*process{}}
	c.first = newProcess(c, "", io)
	s.containers[r.ID] = c
	s.events.send(&eventsapi.TaskCreate{
		ContainerID: r.ID, Bundle: r.Bundle, Rootfs: r.Rootfs,
		IO:  &eventsapi.TaskIO{Stdin: r.Stdin, Stdout: r.Stdout, Stderr: r.Stderr, Terminal: r.Terminal},
		Pid: pid(),
	})
	go s.wait(box, c.first)
	return &api.CreateTaskResponse{Pid: pid()}, nil
}

// pid is the process of the host that stands for all of a cell: numbers of the
// guest would name strangers.
func pid() uint32 { return uint32(os.Getpid()) }

func mountRootfs(mounts []*types.Mount, target string) error {
	if len(mounts) == 0 {
		return nil
	}
	if err := os.MkdirAll(target, 0o711); err != nil {
		return err
	}
	var list []mount.Mount
	for _, m := range mounts {
		list = append(list, mount.Mount{Type: m.Type, Source: m.Source, Target: m.Target, Options: m.Options})
	}
	return mount.All(list, target)
}

// wait reports the exit of a process, when its output has been written.
func (s *service) wait(box *sandbox.Sandbox, p *process) {
	r, err := box.Agent.Wait(s.ctx, p.request())
	p.life.Lock()
	defer p.life.Unlock()
	code, at := lostStatus, time.Now()
	if err == nil {
		code, at = r.Status, time.Unix(0, r.ExitedAt)
		drain, cancel := context.WithTimeout(s.ctx, stdio.DrainTimeout)
		if err := p.io.Drain(drain, r.Stdout, r.Stderr); err != nil {
			log.G(s.ctx).WithField("id", p.c.id).WithField("exec", p.exec).Warn("nobody reads the output: the exit is reported without it")
		}
		cancel()
	} else {
		select {
		case <-box.Ended():
			err = box.Why()
		case <-time.After(time.Second):
		}
		log.G(s.ctx).WithError(err).WithField("id", p.c.id).WithField("exec", p.exec).Error("the cell has ended")
	}
	id := p.exec
	if id == "" {
		id = p.c.id
		limit := time.After(execsTimeout)
		for _, e := range p.c.added() {
			if status, _, _ := e.state(); status == task.Status_CREATED {
				continue
			}
			select {
			case <-e.exited:
			case <-limit:
			}
		}
	}
	if p.setExit(code, at) {
		s.events.send(&eventsapi.TaskExit{
			ContainerID: p.c.id, ID: id, Pid: pid(), ExitStatus: code, ExitedAt: timestamppb.New(at),
		})
	}
}

func (s *service) container(id string) (*container, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.containers[id]
	if c == nil {
		return nil, fmt.Errorf("container %s: %w", id, errdefs.ErrNotFound)
	}
	return c, nil
}

func (s *service) process(id, exec string) (*sandbox.Sandbox, *process, error) {
	c, err := s.container(id)
	if err != nil {
		return nil, nil, err
	}
	box, err := s.box()
	if err != nil {
		return nil, nil, err
	}
	if exec == "" {
		return box, c.first, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.execs[exec]
	if p == nil {
		return nil, nil, fmt.Errorf("process %s of container %s: %w", exec, id, errdefs.ErrNotFound)
	}
	return box, p, nil
}

// Exec implements api.TTRPCTaskService.
func (s *service) Exec(ctx context.Context, r *api.ExecProcessRequest) (*emptypb.Empty, error) {
	return answer(empty, s.exec(ctx, r))
}

func (s *service) exec(ctx context.Context, r *api.ExecProcessRequest) error {
	box, first, err := s.process(r.ID, "")
	if err != nil {
		return err
	}
	if status, _, _ := first.state(); status == task.Status_STOPPED {
		return fmt.Errorf("container %s has ended: %w", r.ID, errdefs.ErrFailedPrecondition)
	}
	c := first.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.execs[r.ExecID] != nil {
		return fmt.Errorf("process %s of container %s: %w", r.ExecID, r.ID, errdefs.ErrAlreadyExists)
	}
	spec, err := bundle.Process(r.Spec.GetValue())
	if err != nil {
		return fmt.Errorf("%w: %w", errdefs.ErrInvalidArgument, err)
	}
	io, err := stdio.Open(ctx, stdio.Config{Stdin: r.Stdin, Stdout: r.Stdout, Stderr: r.Stderr, Terminal: r.Terminal}, r.ID, box, &box.Ports)
	if err != nil {
		return err
	}
	if _, err := box.Agent.Exec(ctx, &agent.ExecRequest{Container: r.ID, Exec: r.ExecID, Process: spec, Stdio: io.Guest()}); err != nil {
		io.Close()
		return native(err)
	}
	c.execs[r.ExecID] = newProcess(c, r.ExecID, io)
	s.events.send(&eventsapi.TaskExecAdded{ContainerID: r.ID, ExecID: r.ExecID})
	return nil
}

// Start implements api.TTRPCTaskService.
func (s *service) Start(ctx context.Context, r *api.StartRequest) (*api.StartResponse, error) {
	return answer(&api.StartResponse{Pid: pid()}, s.start(ctx, r))
}

func (s *service) start(ctx context.Context, r *api.StartRequest) error {
	box, p, err := s.process(r.ID, r.ExecID)
	if err != nil {
		return err
	}
	p.life.Lock()
	defer p.life.Unlock()
	if status, _, _ := p.state(); status != task.Status_CREATED {
		return fmt.Errorf("process has been started before: %w", errdefs.ErrFailedPrecondition)
	}
	if _, err := box.Agent.Start(ctx, p.request()); err != nil {
		if r.ExecID != "" {
			// It can only be deleted.
			p.setExit(127, time.Now())
		}
		return native(err)
	}
	p.set(task.Status_RUNNING)
	p.io.Started()
	if r.ExecID == "" {
		s.events.send(&eventsapi.TaskStart{ContainerID: r.ID, Pid: pid()})
		go s.watchOOM(box, p)
	} else {
		s.events.send(&eventsapi.TaskExecStarted{ContainerID: r.ID, ExecID: r.ExecID, Pid: pid()})
		go s.wait(box, p)
	}
	return nil
}

// watchOOM reports what the guest's kernel kills for want of memory.
func (s *service) watchOOM(box *sandbox.Sandbox, p *process) {
	var seen uint64
	for {
		r, err := box.Agent.WaitOOM(s.ctx, &agent.WaitOOMRequest{Container: p.c.id, Seen: seen})
		if err != nil {
			return
		}
		seen = r.Kills
		s.events.send(&eventsapi.TaskOOM{ContainerID: p.c.id})
	}
}

// Delete implements api.TTRPCTaskService.
func (s *service) Delete(ctx context.Context, r *api.DeleteRequest) (*api.DeleteResponse, error) {
	return answer(s.delete(ctx, r))
}

func (s *service) delete(ctx context.Context, r *api.DeleteRequest) (*api.DeleteResponse, error) {
	box, p, err := s.process(r.ID, r.ExecID)
	if err != nil {
		return nil, err
	}
	status, _, _ := p.state()
	if status != task.Status_STOPPED && status != task.Status_CREATED {
		return nil, fmt.Errorf("process is running: %w", errdefs.ErrFailedPrecondition)
	}
	_, err = box.Agent.Delete(ctx, p.request())
	if err = native(err); err != nil && !errdefs.IsNotFound(err) {
		select {
		case <-box.Ended(): // there is nothing left to delete
		default:
			return nil, err
		}
	}
	finish, cancel := context.WithTimeout(ctx, stdio.DrainTimeout)
	p.io.Finish(finish)
	cancel()
	if r.ExecID != "" {
		p.c.mu.Lock()
		delete(p.c.execs, r.ExecID)
		p.c.mu.Unlock()
	} else {
		for _, e := range p.c.added() {
			e.io.Close()
		}
		if err := box.Remove(r.ID); err != nil {
			return nil, err
		}
		if err := sandbox.Unmount(p.c.bundle); err != nil {
			return nil, err
		}
		s.mu.Lock()
		delete(s.containers, r.ID)
		s.mu.Unlock()
	}
	_, code, at := p.state()
	out := &api.DeleteResponse{Pid: pid(), ExitStatus: code}
	if !at.IsZero() {
		out.ExitedAt = timestamppb.New(at)
	}
	if r.ExecID == "" {
		s.events.send(&eventsapi.TaskDelete{ContainerID: r.ID, Pid: pid(), ExitStatus: code, ExitedAt: out.ExitedAt})
	}
	return out, nil
}

// State implements api.TTRPCTaskService.
func (s *service) State(_ context.Context, r *api.StateRequest) (*api.StateResponse, error) {
	_, p, err := s.process(r.ID, r.ExecID)
	if err != nil {
		return answer[*api.StateResponse](nil, err)
	}
	status, code, at := p.state()
	io := p.io.Config()
	out := &api.StateResponse{
		ID: r.ID, Bundle: p.c.bundle, Pid: pid(), Status: status, ExecID: r.ExecID,
		Stdin: io.Stdin, Stdout: io.Stdout, Stderr: io.Stderr, Terminal: io.Terminal, ExitStatus: code,
	}
	if !at.IsZero() {
		out.ExitedAt = timestamppb.New(at)
	}
	return out, nil
}

// Wait implements api.TTRPCTaskService.
func (s *service) Wait(ctx context.Context, r *api.WaitRequest) (*api.WaitResponse, error) {
	_, p, err := s.process(r.ID, r.ExecID)
	if err != nil {
		return answer[*api.WaitResponse](nil, err)
	}
	select {
	case <-p.exited:
	case <-ctx.Done():
		return answer[*api.WaitResponse](nil, ctx.Err())
	}
	_, code, at := p.state()
	return &api.WaitResponse{ExitStatus: code, ExitedAt: timestamppb.New(at)}, nil
}

// Kill implements api.TTRPCTaskService.
func (s *service) Kill(ctx context.Context, r *api.KillRequest) (*emptypb.Empty, error) {
	box, _, err := s.process(r.ID, r.ExecID)
	if err == nil {
		_, err = box.Agent.Kill(ctx, &agent.KillRequest{Container: r.ID, Exec: r.ExecID, Signal: r.Signal, All: r.All})
		err = native(err)
	}
	return answer(empty, err)
}

// ResizePty implements api.TTRPCTaskService.
func (s *service) ResizePty(ctx context.Context, r *api.ResizePtyRequest) (*emptypb.Empty, error) {
	box, _, err := s.process(r.ID, r.ExecID)
	if err == nil {
		_, err = box.Agent.ResizePty(ctx, &agent.ResizePtyRequest{Container: r.ID, Exec: r.ExecID, Width: r.Width, Height: r.Height})
		err = native(err)
	}
	return answer(empty, err)
}

// CloseIO implements api.TTRPCTaskService.
func (s *service) CloseIO(_ context.Context, r *api.CloseIORequest) (*emptypb.Empty, error) {
	_, p, err := s.process(r.ID, r.ExecID)
	if err == nil && r.Stdin {
		p.io.CloseStdin()
	}
	return answer(empty, err)
}

// Pause implements api.TTRPCTaskService.
func (s *service) Pause(ctx context.Context, r *api.PauseRequest) (*emptypb.Empty, error) {
	box, p, err := s.process(r.ID, "")
	if err == nil {
		_, err = box.Agent.Pause(ctx, &agent.ContainerRequest{Container: r.ID})
		err = native(err)
	}
	if err == nil {
		p.set(task.Status_PAUSED)
		s.events.send(&eventsapi.TaskPaused{ContainerID: r.ID})
	}
	return answer(empty, err)
}

// Resume implements api.TTRPCTaskService.
func (s *service) Resume(ctx context.Context, r *api.ResumeRequest) (*emptypb.Empty, error) {
	box, p, err := s.process(r.ID, "")
	if err == nil {
		_, err = box.Agent.Resume(ctx, &agent.ContainerRequest{Container: r.ID})
		err = native(err)
	}
	if err == nil {
		p.set(task.Status_RUNNING)
		s.events.send(&eventsapi.TaskResumed{ContainerID: r.ID})
	}
	return answer(empty, err)
}

// Checkpoint implements api.TTRPCTaskService.
func (s *service) Checkpoint(context.Context, *api.CheckpointTaskRequest) (*emptypb.Empty, error) {
	return answer(empty, fmt.Errorf("a cell cannot be checkpointed: %w", errdefs.ErrNotImplemented))
}

// Update implements api.TTRPCTaskService.
func (s *service) Update(ctx context.Context, r *api.UpdateTaskRequest) (*emptypb.Empty, error) {
	box, _, err := s.process(r.ID, "")
	if err == nil {
		_, err = box.Agent.Update(ctx, &agent.UpdateRequest{Container: r.ID, Resources: r.Resources.GetValue()})
		err = native(err)
	}
	return answer(empty, err)
}

// Pids implements api.TTRPCTaskService. The numbers are the guest's.
func (s *service) Pids(ctx context.Context, r *api.PidsRequest) (*api.PidsResponse, error) {
	box, _, err := s.process(r.ID, "")
	if err != nil {
		return answer[*api.PidsResponse](nil, err)
	}
	got, err := box.Agent.Pids(ctx, &agent.ContainerRequest{Container: r.ID})
	if err != nil {
		return answer[*api.PidsResponse](nil, native(err))
	}
	out := &api.PidsResponse{}
	for _, p := range got.Processes {
		info := &task.ProcessInfo{Pid: p.Pid}
		if p.Exec != "" {
			if info.Info, err = typeurl.MarshalAnyToProto(&execDetails{ExecID: p.Exec}); err != nil {
				return answer[*api.PidsResponse](nil, err)
			}
		}
		out.Processes = append(out.Processes, info)
	}
	return out, nil
}

// Stats implements api.TTRPCTaskService.
func (s *service) Stats(ctx context.Context, r *api.StatsRequest) (*api.StatsResponse, error) {
	box, _, err := s.process(r.ID, "")
	if err != nil {
		return answer[*api.StatsResponse](nil, err)
	}
	got, err := box.Agent.Stats(ctx, &agent.ContainerRequest{Container: r.ID})
	if err != nil {
		return answer[*api.StatsResponse](nil, native(err))
	}
	var stats *anypb.Any
	stats, err = typeurl.MarshalAnyToProto(metrics(got.Files))
	return answer(&api.StatsResponse{Stats: stats}, err)
}

// Connect implements api.TTRPCTaskService.
func (s *service) Connect(context.Context, *api.ConnectRequest) (*api.ConnectResponse, error) {
	return &api.ConnectResponse{ShimPid: pid(), TaskPid: pid()}, nil
}

// Shutdown implements api.TTRPCTaskService.
func (s *service) Shutdown(_ context.Context, r *api.ShutdownRequest) (*emptypb.Empty, error) {
	s.mu.Lock()
	busy := len(s.containers) > 0
	s.mu.Unlock()
	if !busy || r.Now {
		s.shutdown.Shutdown()
	}
	return empty, nil
}
