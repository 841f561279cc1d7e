// SPDX-License-Identifier: Apache-2.0

package task

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	eventsapi "github.com/containerd/containerd/api/events"
	api "github.com/containerd/containerd/api/runtime/task/v3"
	coreevents "github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/shutdown"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/ttrpc"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	agent "github.com/paracell/paracell/protos/agent/v1"
	"github.com/paracell/paracell/runtime/bundle"
	"github.com/paracell/paracell/runtime/config"
	"github.com/paracell/paracell/runtime/figures"
	"github.com/paracell/paracell/shim/stdio"
)

// patience bounds what tests wait for.
const patience = 20 * time.Second

// fakeBox is a cell whose agent runs no processes: tests say when they end.
type fakeBox struct {
	fakeAgent
	ports stdio.Ports
	ended chan struct{}
	once  sync.Once
	// onHold is called before Hold returns.
	onHold func()

	mu      sync.Mutex
	limit   uint64   // of its memory
	shared  []string // containers whose files it has
	removed []string
}

func newFakeBox() *fakeBox {
	b := &fakeBox{ended: make(chan struct{})}
	b.fakeAgent.ended = b.ended
	b.processes = map[string]*fakeProcess{}
	return b
}

func (b *fakeBox) Agent() agent.AgentService           { return &b.fakeAgent }
func (b *fakeBox) Ports() *stdio.Ports                 { return &b.ports }
func (b *fakeBox) Listen(uint32) (net.Listener, error) { return nil, errors.New("no streams here") }
func (b *fakeBox) Connect(context.Context) error       { return nil }
func (b *fakeBox) Hold(context.Context, string, *agent.PodRequest) error {
	if b.onHold != nil {
		b.onHold()
	}
	return nil
}
func (b *fakeBox) Pid() int                         { return 4711 }
func (b *fakeBox) Rest(context.Context, bool) error { return nil }
func (b *fakeBox) SetMemoryLimit(limit uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.limit = limit
}
func (b *fakeBox) Figures() (figures.Sample, bool) {
	return figures.Sample{Policy: "page", Resident: 11 << 20, Used: 10 << 20, Bound: 7, Unbound: 6, Faults: 5}, true
}
func (b *fakeBox) Ended() <-chan struct{} { return b.ended }
func (b *fakeBox) Why() error             { return errors.New("it broke") }
func (b *fakeBox) Close()                 { b.once.Do(func() { close(b.ended) }) }

func (b *fakeBox) Add(id string, _ *bundle.Bundle) (*agent.Root, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.shared = append(b.shared, id)
	return &agent.Root{Tag: agent.TagRoots, Path: id}, nil
}

func (b *fakeBox) Remove(id string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.removed = append(b.removed, id)
	return nil
}

// fakeAgent answers like the real one. Methods that are not here are not called.
type fakeAgent struct {
	agent.AgentService
	ended <-chan struct{}

	mu        sync.Mutex
	processes map[string]*fakeProcess
	// onStart is called before Start returns; its error is Start's.
	onStart func(*fakeProcess) error
	// onKill is called instead of ending the process.
	onKill func(context.Context) error
	// onDelete is called before Delete does anything; its error is Delete's.
	onDelete func(context.Context) error
	// onExec is called when Exec has done its work.
	onExec func()
	// kills is how many processes the guest's kernel has killed; it grows with
	// every answer when floods is set.
	kills  uint64
	floods bool
	// onCreate is called before Create does anything.
	onCreate func()
	// failCreate is the error of Create.
	failCreate error
}

type fakeProcess struct {
	started bool
	once    sync.Once
	exited  chan struct{}
	status  uint32
}

func (p *fakeProcess) exit(status uint32) {
	p.once.Do(func() {
		p.status = status
		close(p.exited)
	})
}

func (a *fakeAgent) add(container, exec string) *fakeProcess {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := &fakeProcess{exited: make(chan struct{})}
	a.processes[container+"/"+exec] = p
	return p
}

func (a *fakeAgent) find(container, exec string) (*fakeProcess, error) {
	select {
	case <-a.ended:
		return nil, ttrpc.ErrClosed
	default:
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.processes[container+"/"+exec]
	if p == nil {
		return nil, errgrpc.ToGRPC(fmt.Errorf("process %s/%s: %w", container, exec, errdefs.ErrNotFound))
	}
	return p, nil
}

func (a *fakeAgent) Create(_ context.Context, r *agent.CreateRequest) (*agent.CreateResponse, error) {
	if a.onCreate != nil {
		a.onCreate()
	}
	if a.failCreate != nil {
		return nil, a.failCreate
	}
	a.add(r.Container, "")
	return &agent.CreateResponse{Pid: 2}, nil
}

func (a *fakeAgent) Exec(ctx context.Context, r *agent.ExecRequest) (*agent.Empty, error) {
	if _, err := a.find(r.Container, ""); err != nil {
		return nil, err
	}
	a.add(r.Container, r.Exec)
	if a.onExec != nil {
		a.onExec()
	}
	return &agent.Empty{}, ctx.Err()
}

func (a *fakeAgent) Start(_ context.Context, r *agent.ProcessRequest) (*agent.StartResponse, error) {
	p, err := a.find(r.Container, r.Exec)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	p.started = true
	onStart := a.onStart
	a.mu.Unlock()
	if onStart != nil {
		if err := onStart(p); err != nil {
			return nil, err
		}
	}
	return &agent.StartResponse{Pid: 3}, nil
}

func (a *fakeAgent) Wait(ctx context.Context, r *agent.ProcessRequest) (*agent.WaitResponse, error) {
	p, err := a.find(r.Container, r.Exec)
	if err != nil {
		return nil, err
	}
	select {
	case <-p.exited:
		return &agent.WaitResponse{Status: p.status, ExitedAt: time.Now().UnixNano()}, nil
	case <-a.ended:
		return nil, ttrpc.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (a *fakeAgent) WaitOOM(ctx context.Context, r *agent.WaitOOMRequest) (*agent.WaitOOMResponse, error) {
	p, err := a.find(r.Container, "")
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	floods := a.floods
	if floods {
		a.kills++
	}
	kills := a.kills
	a.mu.Unlock()
	if floods {
		return &agent.WaitOOMResponse{Kills: kills}, nil
	}
	select {
	case <-p.exited:
	case <-a.ended:
	case <-ctx.Done():
	}
	return nil, errgrpc.ToGRPC(errdefs.ErrNotFound)
}

func (a *fakeAgent) Kill(ctx context.Context, r *agent.KillRequest) (*agent.Empty, error) {
	p, err := a.find(r.Container, r.Exec)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	onKill := a.onKill
	a.mu.Unlock()
	if onKill != nil {
		return &agent.Empty{}, onKill(ctx)
	}
	p.exit(128 + r.Signal)
	return &agent.Empty{}, nil
}

func (a *fakeAgent) Delete(ctx context.Context, r *agent.ProcessRequest) (*agent.Empty, error) {
	if a.onDelete != nil {
		if err := a.onDelete(ctx); err != nil {
			return nil, err
		}
	}
	p, err := a.find(r.Container, r.Exec)
	if err == nil {
		p.exit(137)
		a.mu.Lock()
		delete(a.processes, r.Container+"/"+r.Exec)
		a.mu.Unlock()
	}
	return &agent.Empty{}, err
}

func (a *fakeAgent) Pause(context.Context, *agent.ContainerRequest) (*agent.Empty, error) {
	return &agent.Empty{}, nil
}

func (a *fakeAgent) Resume(context.Context, *agent.ContainerRequest) (*agent.Empty, error) {
	return &agent.Empty{}, nil
}

func (a *fakeAgent) Pids(context.Context, *agent.ContainerRequest) (*agent.PidsResponse, error) {
	return &agent.PidsResponse{Processes: []*agent.PidsResponse_Process{{Pid: 2}, {Pid: 3, Exec: "e"}, {Pid: ^uint32(0)}}}, nil
}

func (a *fakeAgent) Stats(context.Context, *agent.ContainerRequest) (*agent.StatsResponse, error) {
	return &agent.StatsResponse{}, nil
}

// publisher keeps events as short texts.
type publisher struct {
	mu     sync.Mutex
	events []string
}

func (p *publisher) Close() error { return nil }

func (p *publisher) Publish(_ context.Context, topic string, e coreevents.Event) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if exit, ok := e.(*eventsapi.TaskExit); ok {
		topic += fmt.Sprintf(" %s %d", exit.ID, exit.ExitStatus)
	}
	p.events = append(p.events, topic)
	return nil
}

func (p *publisher) seen() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.events)
}

// rig is a service with a fake cell.
type rig struct {
	*service
	t      *testing.T
	box    *fakeBox
	events *publisher
	stop   shutdown.Service
	boots  int
}

func newRig(t *testing.T) *rig {
	t.Helper()
	t.Setenv(config.FileVariable, filepath.Join(t.TempDir(), "config.toml"))
	if err := os.WriteFile(os.Getenv(config.FileVariable), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := shutdown.WithShutdown(namespaces.WithNamespace(context.Background(), "test"))
	r := &rig{t: t, box: newFakeBox(), events: &publisher{}, stop: stop}
	r.service = New(ctx, r.events, stop, func(context.Context, config.Cell) (Box, error) {
		r.boots++
		return r.box, nil
	}).(*service)
	t.Cleanup(func() {
		stop.Shutdown()
		<-stop.Done()
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, c := range r.containers {
			<-c.first.exited // which is written into the bundle
		}
	})
	return r
}

// bundle makes a folder with a specification.
func (r *rig) bundle() string {
	r.t.Helper()
	dir := r.t.TempDir()
	b, err := json.Marshal(specs.Spec{
		Version: "1.2.0", Root: &specs.Root{Path: "rootfs"}, Linux: &specs.Linux{},
		Process: &specs.Process{Args: []string{"true"}, Cwd: "/"},
	})
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "config.json"), b, 0o600)
	}
	if err == nil {
		err = os.Mkdir(filepath.Join(dir, "rootfs"), 0o700)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return dir
}

func (r *rig) made(id string) *fakeProcess {
	r.t.Helper()
	if _, err := r.Create(context.Background(), &api.CreateTaskRequest{ID: id, Bundle: r.bundle()}); err != nil {
		r.t.Fatal(err)
	}
	p, err := r.box.find(id, "")
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

func (r *rig) run(id, exec string) {
	r.t.Helper()
	if _, err := r.Start(context.Background(), &api.StartRequest{ID: id, ExecID: exec}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) added(id, exec string) *fakeProcess {
	r.t.Helper()
	spec, err := json.Marshal(specs.Process{Args: []string{"true"}, Cwd: "/"})
	if err != nil {
		r.t.Fatal(err)
	}
	_, err = r.Exec(context.Background(), &api.ExecProcessRequest{ID: id, ExecID: exec, Spec: anyOf(spec)})
	if err != nil {
		r.t.Fatal(err)
	}
	p, err := r.box.find(id, exec)
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

func (r *rig) waited(id, exec string) uint32 {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	w, err := r.Wait(ctx, &api.WaitRequest{ID: id, ExecID: exec})
	if err != nil {
		r.t.Fatal(err)
	}
	return w.ExitStatus
}

// await waits until exactly these events have been published.
func (r *rig) await(want ...string) {
	r.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		got := r.events.seen()
		if slices.Equal(got, want) {
			return
		}
		if time.Now().After(end) {
			r.t.Fatalf("events %q, want %q", got, want)
		}
	}
}

func (r *rig) class(what string, err error, is func(error) bool) {
	r.t.Helper()
	if !is(errgrpc.ToNative(err)) {
		r.t.Errorf("%s: %v", what, err)
	}
}
