// SPDX-License-Identifier: Apache-2.0

// Package task is the task service of containerd's shims (Task API v3) over the
// agent of a cell.
//
// Lock order: process.deleting, process.life of a container's first process, process.life of an
// added one, service.mu, container.mu, process.mu, events.mu. Only deleting and life
// are held over calls of the agent.
package task

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
	"unicode"

	eventsapi "github.com/containerd/containerd/api/events"
	sandboxapi "github.com/containerd/containerd/api/runtime/sandbox/v1"
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
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	agent "github.com/paracell/paracell/protos/agent/v1"
	"github.com/paracell/paracell/runtime/bundle"
	"github.com/paracell/paracell/runtime/config"
	"github.com/paracell/paracell/shim/record"
	"github.com/paracell/paracell/shim/sandbox"
	"github.com/paracell/paracell/shim/stdio"
)

const (
	// execsTimeout is how long the exit of a container waits for those of the
	// processes that were added to it, which end with it.
	execsTimeout = 10 * time.Second
	// endTimeout is how long the end of the cell is waited for when its agent
	// does not answer any more.
	endTimeout = 3 * time.Second
	// killAnswer is how long the agent may take to answer a signal, killEnd how
	// long a container may take to end of KILL, or to be deleted, before the cell
	// is ended.
	killAnswer = 10 * time.Second
	killEnd    = time.Minute
	// A cell that writes so many bytes of files in killEnd is given it again: what
	// its page cache holds would be lost. It gets that maxInsist times at most.
	writingBack = 16 << 20
	maxInsist   = 10
	// oomInterval is the least time between two reports of what the guest's
	// kernel has killed: the guest says how often that was.
	oomInterval = time.Second
	// lostStatus is the exit status of processes whose cell has ended.
	lostStatus = 128 + uint32(unix.SIGKILL)
	// notStartedStatus is that of a process which could not be started.
	notStartedStatus = 127
)

type service struct {
	ctx      context.Context
	events   *events
	shutdown shutdown.Service
	cell     cell

	place hostPlace
	limit cellLimit
	pod   *pod

	killAnswer, killEnd, oomInterval time.Duration // the constants, but for tests
	written                          func() uint64 // bytes that this process has written

	mu         sync.Mutex
	containers map[string]*container // nil while one is being created
}

var (
	_     api.TTRPCTaskService = (*service)(nil)
	empty                      = &emptypb.Empty{}
)

// New returns the service of a shim that has no cell yet. It ends the cell, and
// publishes what is left, when sd says so.
func New(ctx context.Context, p shim.Publisher, sd shutdown.Service, b Boot) shim.TTRPCService {
	s := &service{
		ctx: ctx, events: newEvents(ctx, p), shutdown: sd, containers: map[string]*container{},
		killAnswer: killAnswer, killEnd: killEnd, oomInterval: oomInterval, written: written,
	}
	s.events.rest.box = s.cell.get
	s.pod = newPod(s)
	s.cell.boot = func(ctx context.Context, c config.Cell) (Box, error) {
		box, err := b(ctx, c)
		return box, s.place.booted(err)
	}
	sd.RegisterCallback(func(context.Context) error {
		s.cell.close()
		return errors.Join(s.place.leave(), s.events.close())
	})
	return s
}

// RegisterTTRPC implements shim.TTRPCService.
func (s *service) RegisterTTRPC(server *ttrpc.Server) error {
	api.RegisterTTRPCTaskService(server, s)
	sandboxapi.RegisterTTRPCSandboxService(server, s.pod)
	return nil
}

// answer gives an error its status code. This is the only place that does.
func answer[T any](v T, err error) (T, error) {
	if err != nil {
		var none T
		return none, errgrpc.ToGRPC(flat{err})
	}
	return v, nil
}

// maxError bounds the text of an error, in bytes.
const maxError = 8 << 10

// flat is an error whose text is one line and that has one class: containerd
// prints every class and cause of an error that has several again. The guest may
// have said part of it: clients print it on terminals.
type flat struct{ error }

func (f flat) Error() string {
	text := strings.Join(strings.Split(f.error.Error(), "\n"), "; ")
	if len(text) > maxError {
		text = text[:maxError] + "..."
	}
	return strings.Map(func(r rune) rune {
		if r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, text)
}

func (f flat) Unwrap() error { return errdefs.Resolve(f.error) }

// Create implements api.TTRPCTaskService.
func (s *service) Create(ctx context.Context, r *api.CreateTaskRequest) (*api.CreateTaskResponse, error) {
	return answer(s.create(ctx, r))
}

func (s *service) create(ctx context.Context, r *api.CreateTaskRequest) (_ *api.CreateTaskResponse, err error) {
	ctx = context.WithoutCancel(ctx) // see start
	if r.Checkpoint != "" || r.ParentCheckpoint != "" {
		return nil, fmt.Errorf("a cell cannot be restored from a checkpoint: %w", errdefs.ErrNotImplemented)
	}
	s.mu.Lock()
	if _, ok := s.containers[r.ID]; ok {
		s.mu.Unlock()
		return nil, fmt.Errorf("container %s: %w", r.ID, errdefs.ErrAlreadyExists)
	}
	s.containers[r.ID] = nil
	s.mu.Unlock()
	defer func() {
		if err != nil {
			s.mu.Lock()
			delete(s.containers, r.ID)
			s.mu.Unlock()
		}
	}()
	rec, err := record.New()
	if err == nil {
		err = rec.Write(r.Bundle)
	}
	if err != nil {
		return nil, fmt.Errorf("record of container %s: %w", r.ID, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, record.Remove(r.Bundle))
		}
	}()
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
	c, err := s.makeContainer(ctx, r, b)
	if err != nil {
		return nil, err
	}
	c.record = rec
	c.record.Task = c.box.Pid()
	s.keep(c)
	s.mu.Lock()
	s.containers[r.ID] = c
	s.mu.Unlock()
	s.events.send(&eventsapi.TaskCreate{
		ContainerID: r.ID, Bundle: r.Bundle, Rootfs: r.Rootfs,
		IO:  &eventsapi.TaskIO{Stdin: r.Stdin, Stdout: r.Stdout, Stderr: r.Stderr, Terminal: r.Terminal},
		Pid: c.pid(),
	})
	go s.wait(c.first)
	go s.watchOOM(c)
	return &api.CreateTaskResponse{Pid: c.pid()}, nil
}

// keep writes the record of a container. Without it only the clean-up after the
// death of this shim knows less.
func (s *service) keep(c *container) {
	if err := c.record.Write(c.bundle); err != nil {
		log.G(s.ctx).WithError(err).WithField("id", c.id).Warn("the record of the container is not up to date")
	}
}

// makeContainer makes a container whose root file system is mounted.
func (s *service) makeContainer(ctx context.Context, r *api.CreateTaskRequest, b *bundle.Bundle) (_ *container, err error) {
	box, err := s.cell.need(ctx, func() (config.Cell, error) {
		c, err := cellOf(r.ID, r.Options, b)
		if err != nil {
			return c, err
		}
		s.limit.boot(c, b.MemoryLimit, b.Pod())
		return c, s.place.prepare(ctx, b, c)
	})
	if err != nil {
		return nil, err
	}
	root, err := box.Add(r.ID, b)
	if err != nil {
		return nil, errors.Join(err, box.Remove(r.ID))
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, box.Remove(r.ID))
		}
	}()
	io, err := openStreams(ctx, box, r.ID, stdio.Config{Stdin: r.Stdin, Stdout: r.Stdout, Stderr: r.Stderr, Terminal: r.Terminal})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			io.Close()
		}
	}()
	defer func() {
		if err != nil {
			err = errors.Join(err, bundle.RunStopHooks(ctx, r.Bundle, r.ID))
		}
	}()
	if err := bundle.RunHooks(ctx, b.CreateHooks(), hookState(r.ID, b, specs.StateCreating, box)); err != nil {
		return nil, err
	}
	spec, err := b.Encode()
	if err != nil {
		return nil, err
	}
	if err := s.place.settle(); err != nil {
		return nil, err
	}
	made, err := box.Agent().Create(ctx, &agent.CreateRequest{Container: r.ID, Spec: spec, Root: root, Stdio: io.Guest()})
	if err != nil {
		return nil, native(box, err)
	}
	c := &container{id: r.ID, bundle: r.Bundle, spec: b, box: box, guest: made.Pid, execs: map[string]*process{}}
	c.first = newProcess(c, "", io)
	s.limit.add(r.ID, b.Host)
	return c, nil
}

// hookState is the state of a container whose cell runs.
func hookState(id string, b *bundle.Bundle, status specs.ContainerState, box Box) *specs.State {
	return bundle.State(id, b.Dir, status, box.Pid(), b.Annotations)
}

func openStreams(ctx context.Context, box Box, id string, c stdio.Config) (*stdio.IO, error) {
	return stdio.Open(ctx, c, id, box, box.Ports())
}

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

func (s *service) container(id string) (*container, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.containers[id]
	if c == nil {
		return nil, fmt.Errorf("container %s: %w", id, errdefs.ErrNotFound)
	}
	return c, nil
}

// process finds a process; an empty exec is the container's first one.
func (s *service) process(id, exec string) (*process, error) {
	c, err := s.container(id)
	if err != nil {
		return nil, err
	}
	if exec == "" {
		return c.first, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.execs[exec]
	if p == nil {
		return nil, fmt.Errorf("process %s of container %s: %w", exec, id, errdefs.ErrNotFound)
	}
	return p, nil
}

// Exec implements api.TTRPCTaskService.
func (s *service) Exec(ctx context.Context, r *api.ExecProcessRequest) (*emptypb.Empty, error) {
	return answer(empty, s.exec(ctx, r))
}

func (s *service) exec(ctx context.Context, r *api.ExecProcessRequest) (err error) {
	ctx = context.WithoutCancel(ctx) // see start
	c, err := s.container(r.ID)
	if err != nil {
		return err
	}
	switch status, _, _ := c.first.state(); status {
	case task.Status_STOPPED:
		return fmt.Errorf("container %s has ended: %w", r.ID, errdefs.ErrFailedPrecondition)
	case task.Status_PAUSED:
		return fmt.Errorf("container %s is paused: %w", r.ID, errdefs.ErrFailedPrecondition)
	}
	spec, err := bundle.Process(r.Spec.GetValue())
	if err != nil {
		return fmt.Errorf("%w: %w", errdefs.ErrInvalidArgument, err)
	}
	c.mu.Lock()
	if _, ok := c.execs[r.ExecID]; ok || r.ExecID == "" {
		c.mu.Unlock()
		return fmt.Errorf("process %q of container %s: %w", r.ExecID, r.ID, errdefs.ErrAlreadyExists)
	}
	c.execs[r.ExecID] = nil
	c.mu.Unlock()
	defer func() {
		if err != nil {
			c.forget(r.ExecID)
		}
	}()
	io, err := openStreams(ctx, c.box, r.ID, stdio.Config{Stdin: r.Stdin, Stdout: r.Stdout, Stderr: r.Stderr, Terminal: r.Terminal})
	if err != nil {
		return err
	}
	if _, err := c.box.Agent().Exec(ctx, &agent.ExecRequest{Container: r.ID, Exec: r.ExecID, Process: spec, Stdio: io.Guest()}); err != nil {
		io.Close()
		return native(c.box, err)
	}
	s.events.send(&eventsapi.TaskExecAdded{ContainerID: r.ID, ExecID: r.ExecID})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.execs[r.ExecID] = newProcess(c, r.ExecID, io)
	return nil
}

// forget removes an added process.
func (c *container) forget(exec string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.execs, exec)
}

// Start implements api.TTRPCTaskService.
func (s *service) Start(ctx context.Context, r *api.StartRequest) (*api.StartResponse, error) {
	return answer(s.start(ctx, r))
}

func (s *service) start(ctx context.Context, r *api.StartRequest) (*api.StartResponse, error) {
	p, err := s.process(r.ID, r.ExecID)
	if err != nil {
		return nil, err
	}
	// What has been begun is brought to its end: a client that goes away half-way
	// must not leave a process that runs and is not known to.
	ctx = context.WithoutCancel(ctx)
	p.life.Lock()
	defer p.life.Unlock()
	if !p.is(task.Status_CREATED) {
		return nil, fmt.Errorf("process %s has been started before: %w", p.id(), errdefs.ErrFailedPrecondition)
	}
	if p.exec != "" && p.c.isEnding() {
		return nil, fmt.Errorf("container %s has ended: %w", r.ID, errdefs.ErrFailedPrecondition)
	}
	if p.exec == "" {
		if err := p.c.box.Connect(ctx); err != nil {
			return nil, fmt.Errorf("container %s: %w", r.ID, err)
		}
	}
	if _, err := p.c.box.Agent().Start(ctx, p.request()); err != nil {
		if p.exec != "" {
			// It can only be deleted.
			p.setExit(notStartedStatus, time.Now(), nil)
		}
		return nil, native(p.c.box, err)
	}
	p.set(task.Status_RUNNING)
	p.io.Started()
	if p.exec == "" {
		s.events.send(&eventsapi.TaskStart{ContainerID: r.ID, Pid: p.c.pid()})
		if err := bundle.RunHooks(ctx, p.c.spec.StartHooks(), hookState(r.ID, p.c.spec, specs.StateRunning, p.c.box)); err != nil {
			_, killErr := p.c.box.Agent().Kill(ctx, &agent.KillRequest{Container: r.ID, Signal: uint32(unix.SIGKILL)})
			return nil, errors.Join(err, killErr)
		}
	} else {
		s.events.send(&eventsapi.TaskExecStarted{ContainerID: r.ID, ExecID: r.ExecID, Pid: p.c.pid()})
		go s.wait(p)
	}
	return &api.StartResponse{Pid: p.c.pid()}, nil
}

// wait reports the exit of a process, when its output has been written and all
// exits that have to come before it are reported.
func (s *service) wait(p *process) {
	code, at := s.outcome(p)
	if p.exec == "" {
		p.c.end()
		s.waitAdded(p.c)
	}
	p.life.Lock()
	defer p.life.Unlock()
	if p.exec == "" {
		p.c.record.Exit = &record.Exit{Status: code, At: at}
		s.keep(p.c)
	}
	p.setExit(code, at, func() {
		s.events.send(&eventsapi.TaskExit{
			ContainerID: p.c.id, ID: p.id(), Pid: p.c.pid(), ExitStatus: code, ExitedAt: timestamppb.New(at),
		})
	})
}

// outcome waits for the end of a process and of its output.
func (s *service) outcome(p *process) (uint32, time.Time) {
	logger := log.G(s.ctx).WithField("id", p.c.id).WithField("exec", p.exec)
	r, err := p.c.box.Agent().Wait(s.ctx, p.request())
	if errdefs.IsNotFound(errgrpc.ToNative(err)) {
		return lostStatus, time.Now() // deleted before it was started
	}
	if err != nil {
		select {
		case <-p.c.box.Ended():
		case <-time.After(endTimeout):
			logger.WithError(err).Error("the cell's agent does not answer: the cell is ended")
			p.c.box.Close()
		}
		logger.Debug("the process has ended with its cell")
		if s.place.killed() {
			s.events.send(&eventsapi.TaskOOM{ContainerID: p.c.id})
			logger.Error("the host's OOM killer has ended the cell: its control group, or the host, has too little memory")
		}
		return lostStatus, time.Now()
	}
	ctx, cancel := context.WithTimeout(s.ctx, stdio.DrainTimeout)
	defer cancel()
	if err := p.io.Drain(ctx, r.Stdout, r.Stderr); err != nil {
		logger.Warn("nobody reads the output: the exit is reported without it")
	}
	return r.Status, exitTime(r.ExitedAt)
}

// exitTime makes sense of the guest's clock, which may say anything.
func exitTime(ns int64) time.Time {
	now := time.Now()
	if at := time.Unix(0, ns); ns > 0 && at.Before(now) {
		return at
	}
	return now
}

// waitAdded waits until the exits of all added processes are reported: the
// first one's is the last.
func (s *service) waitAdded(c *container) {
	limit := time.After(execsTimeout)
	for _, e := range c.added() {
		if e.settled() == task.Status_CREATED {
			continue // and never will be anything else
		}
		select {
		case <-e.exited:
		case <-limit:
			return
		}
	}
}

// watchOOM reports what the guest's kernel kills for want of memory.
func (s *service) watchOOM(c *container) {
	var seen uint64
	for {
		r, err := c.box.Agent().WaitOOM(s.ctx, &agent.WaitOOMRequest{Container: c.id, Seen: seen})
		if err != nil || r.Kills <= seen {
			return
		}
		seen = r.Kills
		s.events.send(&eventsapi.TaskOOM{ContainerID: c.id})
		select {
		case <-time.After(s.oomInterval):
		case <-c.first.exited:
			return
		}
	}
}

// Delete implements api.TTRPCTaskService.
func (s *service) Delete(ctx context.Context, r *api.DeleteRequest) (*api.DeleteResponse, error) {
	return answer(s.delete(ctx, r))
}

func (s *service) delete(ctx context.Context, r *api.DeleteRequest) (*api.DeleteResponse, error) {
	ctx = context.WithoutCancel(ctx) // see start
	p, err := s.process(r.ID, r.ExecID)
	if err != nil {
		return nil, err
	}
	p.deleting.Lock()
	defer p.deleting.Unlock()
	if now, err := s.process(r.ID, r.ExecID); err != nil || now != p {
		return nil, fmt.Errorf("process %s has been deleted meanwhile: %w", p.id(), errdefs.ErrNotFound)
	}
	status, _, _ := p.state()
	if status != task.Status_STOPPED && status != task.Status_CREATED {
		return nil, fmt.Errorf("process %s is running: %w", p.id(), errdefs.ErrFailedPrecondition)
	}
	if err := s.deleteInGuest(ctx, p); err != nil {
		return nil, err
	}
	finish, cancel := context.WithTimeout(ctx, stdio.DrainTimeout)
	p.io.Finish(finish)
	cancel()
	if p.exec != "" {
		p.c.forget(p.exec)
		p.setExit(0, time.Now(), nil) // if it was never started, for who waits for it
	} else if err := s.remove(ctx, p); err != nil {
		return nil, err
	}
	_, code, at := p.state()
	out := &api.DeleteResponse{Pid: p.c.pid(), ExitStatus: code, ExitedAt: timestamp(at)}
	if p.exec == "" {
		s.events.send(&eventsapi.TaskDelete{ContainerID: r.ID, Pid: out.Pid, ExitStatus: code, ExitedAt: out.ExitedAt})
	}
	return out, nil
}

// deleteInGuest has the agent delete a process, and waits for the exit of a
// container that was never started: that comes before its removal too. A
// container can always be deleted, whatever the guest does.
func (s *service) deleteInGuest(ctx context.Context, p *process) error {
	ctx, cancel := context.WithTimeout(ctx, s.killEnd)
	defer cancel()
	_, err := p.c.box.Agent().Delete(ctx, p.request())
	if err = native(p.c.box, err); errdefs.IsNotFound(err) || errdefs.IsUnavailable(err) {
		err = nil
	}
	if p.exec != "" {
		return err
	}
	if err == nil {
		select {
		case <-p.exited:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	if ctx.Err() == nil || !s.expendable(p) {
		return err
	}
	log.G(s.ctx).WithField("id", p.c.id).Errorf("the cell's agent has not deleted the container within %s: the cell is ended", s.killEnd)
	p.c.box.Close()
	<-p.exited
	return nil
}

// remove takes away what is left of a container that the agent has deleted.
func (s *service) remove(ctx context.Context, p *process) error {
	for _, e := range p.c.added() {
		e.io.Close()
		e.setExit(lostStatus, time.Now(), nil)
	}
	if err := p.c.box.Remove(p.c.id); err != nil {
		return err
	}
	if err := sandbox.Unmount(p.c.bundle); err != nil {
		return err
	}
	if err := bundle.RunStopHooks(ctx, p.c.bundle, p.c.id); err != nil {
		log.G(ctx).WithError(err).WithField("id", p.c.id).Warn("after the end of the container")
	}
	if err := record.Remove(p.c.bundle); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.containers, p.c.id)
	s.limit.remove(p.c.id)
	return nil
}

// timestamp of a time; nil of none.
func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
