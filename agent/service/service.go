// SPDX-License-Identifier: Apache-2.0

// Package service answers the host: it makes containers with crun and knows
// their processes. Lock order: Service.mu, container.mu, process.mu.
package service

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	runc "github.com/containerd/go-runc"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/paracell/paracell/agent/network"
	"github.com/paracell/paracell/agent/reaper"
	agent "github.com/paracell/paracell/protos/agent/v1"
)

// Config is where a service finds what it works with.
type Config struct {
	// Reaper waits for all processes.
	Reaper *reaper.Reaper
	// Dial connects a stream to a port of the host's side.
	Dial func(port uint32) (Stream, error)
	// PowerOff is called by Shutdown.
	PowerOff func()
	// Runtime is the program that makes containers.
	Runtime string
	// RunDir has the state of containers, RootsDir their root file systems.
	RunDir, RootsDir string
	// Cgroups is the hierarchy of control groups (version 2).
	Cgroups string
	// Spare is the kernel's file of free memory.
	Spare string
}

// Service implements agent.AgentService.
type Service struct {
	Config
	spare spare

	mu         sync.Mutex
	containers map[string]*container
	pod        *process          // the first one of the first container
	sandbox    bool              // this process takes its place
	files      map[string]string // of the pod: sources by target
}

var _ agent.AgentService = (*Service)(nil)

type container struct {
	id     string
	dir    string // bundle, process numbers, log
	cgroup cgroup
	runc   *runc.Runc
	exited chan struct{} // closed when the first process has ended

	mu    sync.Mutex
	first *process // nil until it has been made
	execs map[string]*process
}

// New returns a service without containers.
func New(c Config) *Service {
	runc.Monitor = c.Reaper
	return &Service{Config: c, containers: map[string]*container{}}
}

var empty = &agent.Empty{}

// answer gives an error its status code. This is the only place that does.
func answer[T any](v T, err error) (T, error) {
	if err != nil {
		var none T
		return none, errgrpc.ToGRPC(flat{err})
	}
	return v, nil
}

// flat is an error whose text is one line and that has one class: containerd
// prints every class and cause of an error that has several again.
type flat struct{ error }

func (f flat) Error() string {
	return strings.Join(strings.Split(f.error.Error(), "\n"), "; ")
}

func (f flat) Unwrap() error { return errdefs.Resolve(f.error) }

// Hello implements agent.AgentService.
func (s *Service) Hello(_ context.Context, r *agent.HelloRequest) (*agent.HelloResponse, error) {
	if r.Hostname != "" {
		if err := unix.Sethostname([]byte(r.Hostname)); err != nil {
			return answer[*agent.HelloResponse](nil, fmt.Errorf("host name of the cell: %w", err))
		}
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return answer[*agent.HelloResponse](nil, err)
	}
	return &agent.HelloResponse{Kernel: unix.ByteSliceToString(u.Release[:])}, nil
}

// Pod implements agent.AgentService.
func (s *Service) Pod(_ context.Context, r *agent.PodRequest) (*agent.Empty, error) {
	return answer(empty, s.becomePod(r))
}

func (s *Service) becomePod(r *agent.PodRequest) error {
	s.mu.Lock()
	late := len(s.containers) != 0
	s.sandbox = true
	s.mu.Unlock()
	if late {
		return fmt.Errorf("the cell has containers: %w", errdefs.ErrFailedPrecondition)
	}
	if r.Hostname != "" {
		if err := unix.Sethostname([]byte(r.Hostname)); err != nil {
			return fmt.Errorf("host name of the cell: %w", err)
		}
	}
	if err := setSysctls(&specs.Linux{Sysctl: r.Sysctls}, "/proc"); err != nil {
		return err
	}
	dir := filepath.Join(s.RunDir, "pod")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	files := map[string]string{}
	for target, content := range r.Files {
		source := filepath.Join(dir, strconv.Itoa(len(files)))
		if err := os.WriteFile(source, content, 0o644); err != nil {
			return err
		}
		files[target] = source
	}
	s.mu.Lock()
	s.files = files
	s.mu.Unlock()
	return nil
}

// addFiles mounts the files of the pod.
func (s *Service) addFiles(spec *specs.Spec) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, target := range slices.Sorted(maps.Keys(s.files)) {
		if !slices.ContainsFunc(spec.Mounts, func(m specs.Mount) bool { return filepath.Clean(m.Destination) == target }) {
			spec.Mounts = append(spec.Mounts, specs.Mount{
				Destination: target, Type: "bind", Source: s.files[target], Options: []string{"bind", "rprivate"},
			})
		}
	}
}

// Network implements agent.AgentService.
func (s *Service) Network(_ context.Context, r *agent.NetworkRequest) (*agent.Empty, error) {
	return answer(empty, network.Configure(r.Interfaces))
}

// Create implements agent.AgentService.
func (s *Service) Create(ctx context.Context, r *agent.CreateRequest) (*agent.CreateResponse, error) {
	return answer(s.create(ctx, r))
}

func (s *Service) create(ctx context.Context, r *agent.CreateRequest) (_ *agent.CreateResponse, err error) {
	if !validID(r.Container) {
		return nil, fmt.Errorf("container %q: %w: not a name", r.Container, errdefs.ErrInvalidArgument)
	}
	c := &container{
		id:     r.Container,
		dir:    filepath.Join(s.RunDir, "containers", r.Container),
		cgroup: cgroup(filepath.Join(s.Cgroups, r.Container)),
		exited: make(chan struct{}),
		execs:  map[string]*process{},
	}
	s.mu.Lock()
	if s.containers[c.id] != nil {
		s.mu.Unlock()
		return nil, fmt.Errorf("container %s: %w", c.id, errdefs.ErrAlreadyExists)
	}
	s.containers[c.id] = c // reserved
	s.mu.Unlock()
	defer func() {
		if err != nil {
			os.RemoveAll(c.dir)
			s.mu.Lock()
			delete(s.containers, c.id)
			s.mu.Unlock()
		}
	}()
	first, err := s.writeBundle(c, r)
	if err != nil {
		return nil, fmt.Errorf("container %s: %w", c.id, err)
	}
	streams, err := s.openStreams(r.Stdio)
	if err != nil {
		return nil, err
	}
	pid, err := s.launch(c, newProcess("", streams), func(pidFile string) error {
		return c.runc.Create(ctx, c.id, c.dir, &runc.CreateOpts{
			IO: streams.io(), ConsoleSocket: streams.console(), PidFile: pidFile, NoNewKeyring: true,
		})
	})
	if err == nil {
		err = schedule(pid, first)
	}
	if err != nil {
		if c.madeFirst() != nil {
			err = errors.Join(err, c.runc.Delete(ctx, c.id, &runc.DeleteOpts{Force: true}))
		}
		streams.close()
		return nil, err
	}
	return &agent.CreateResponse{Pid: uint32(pid)}, nil
}

// validID says whether a name can be a file name of ours.
func validID(id string) bool {
	return id != "" && id != "." && id != ".." && !strings.ContainsAny(id, "/\x00")
}

// writeBundle prepares what crun needs and returns the first process.
func (s *Service) writeBundle(c *container, r *agent.CreateRequest) (*specs.Process, error) {
	var spec specs.Spec
	if err := json.Unmarshal(r.Spec, &spec); err != nil {
		return nil, fmt.Errorf("specification: %w: %w", errdefs.ErrInvalidArgument, err)
	}
	if spec.Root == nil || spec.Linux == nil || spec.Process == nil {
		return nil, fmt.Errorf("specification without root, process or linux: %w", errdefs.ErrInvalidArgument)
	}
	if want := r.Stdio.GetTerminal(); want != spec.Process.Terminal {
		return nil, fmt.Errorf("process.terminal is %t and terminal of the request %t, make them agree: %w",
			spec.Process.Terminal, want, errdefs.ErrInvalidArgument)
	}
	if err := errors.Join(s.joinPod(spec.Linux), setSysctls(spec.Linux, "/proc")); err != nil {
		return nil, err
	}
	s.addFiles(&spec)
	spec.Root.Path = filepath.Join(s.RootsDir, filepath.Clean("/"+r.Root.GetPath()))
	if err := checkProgram(spec.Root.Path, spec.Process); err != nil {
		return nil, err
	}
	spec.Linux.CgroupsPath = "/" + c.id
	b, err := json.Marshal(&spec)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return nil, err
	}
	c.runc = &runc.Runc{
		Command: s.Runtime, Root: filepath.Join(s.RunDir, "crun"),
		Log: filepath.Join(c.dir, "log.json"), LogFormat: runc.JSON, ExtraArgs: []string{"--cgroup-manager=cgroupfs"},
	}
	return spec.Process, os.WriteFile(filepath.Join(c.dir, "config.json"), b, 0o600)
}

// joinPod replaces the paths that stand for namespaces of the first container.
func (s *Service) joinPod(l *specs.Linux) error {
	s.mu.Lock()
	first, sandbox := s.pod, s.sandbox
	s.mu.Unlock()
	var list []specs.LinuxNamespace
	for _, n := range l.Namespaces {
		kind, ok := strings.CutPrefix(n.Path, agent.PodNamespaces+"/")
		switch {
		case !ok:
		case sandbox:
			continue // what is not in the list is shared with this process
		case first == nil:
			return fmt.Errorf("linux.namespaces: the %s namespace is to be that of another container, but this is the first one of the cell: %w",
				n.Type, errdefs.ErrInvalidArgument)
		case first.ended():
			return fmt.Errorf("linux.namespaces: the cell's first container, whose %s namespace is to be joined, has ended: %w",
				n.Type, errdefs.ErrFailedPrecondition)
		default:
			n.Path = filepath.Join("/proc", strconv.Itoa(first.pid), "ns", kind)
		}
		list = append(list, n)
	}
	l.Namespaces = list
	return nil
}

func (p *process) ended() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// launch makes a process with a command that writes its number into a file.
func (s *Service) launch(c *container, p *process, run func(pidFile string) error) (int, error) {
	done := s.Reaper.Launch()
	defer done()
	pidFile := filepath.Join(c.dir, "pid-"+p.exec)
	defer os.Remove(pidFile)
	if err := run(pidFile); err != nil {
		return 0, c.explain(err)
	}
	pid, err := runc.ReadPidFile(pidFile)
	if err != nil {
		return 0, fmt.Errorf("number of the new process: %w", err)
	}
	err = p.streams.started()
	ended := func() {}
	if p.exec == "" {
		c.mu.Lock()
		c.first = p
		c.mu.Unlock()
		ended = c.end
	}
	p.made(pid, s.Reaper.Watch(pid), ended)
	if p.exec == "" {
		s.mu.Lock()
		if s.pod == nil {
			s.pod = p
		}
		s.mu.Unlock()
	}
	return pid, err
}

// end ends what the first process leaves behind when it shares the process
// numbers of the cell: with numbers of its own the kernel has done so.
func (c *container) end() {
	close(c.exited)
	if err := c.cgroup.kill(unix.SIGKILL); err != nil && !errors.Is(err, os.ErrNotExist) {
		slog.Error("end the processes of a container", "container", c.id, "error", err)
	}
}

// explain adds what crun has logged last to an error of it.
func (c *container) explain(err error) error {
	b, readErr := os.ReadFile(c.runc.Log)
	if readErr != nil {
		return err
	}
	lines := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
	var entry struct{ Msg string }
	if json.Unmarshal(lines[len(lines)-1], &entry) != nil || entry.Msg == "" {
		return err
	}
	return errors.New(entry.Msg)
}

func (s *Service) container(id string) (*container, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.containers[id]
	if c == nil || c.madeFirst() == nil {
		return nil, fmt.Errorf("container %s: %w", id, errdefs.ErrNotFound)
	}
	return c, nil
}

// madeFirst is the first process, nil while it is being made.
func (c *container) madeFirst() *process {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.first
}

func (s *Service) process(id, exec string) (*container, *process, error) {
	c, err := s.container(id)
	if err != nil {
		return nil, nil, err
	}
	if exec == "" {
		return c, c.madeFirst(), nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.execs[exec]
	if p == nil {
		return nil, nil, fmt.Errorf("process %s of container %s: %w", exec, id, errdefs.ErrNotFound)
	}
	return c, p, nil
}

// Exec implements agent.AgentService.
func (s *Service) Exec(_ context.Context, r *agent.ExecRequest) (*agent.Empty, error) {
	return answer(empty, s.exec(r))
}

func (s *Service) exec(r *agent.ExecRequest) error {
	if !validID(r.Exec) {
		return fmt.Errorf("process %q: %w: not a name", r.Exec, errdefs.ErrInvalidArgument)
	}
	c, err := s.container(r.Container)
	if err != nil {
		return err
	}
	var spec specs.Process
	if err := json.Unmarshal(r.Process, &spec); err != nil {
		return fmt.Errorf("process %s: %w: %w", r.Exec, errdefs.ErrInvalidArgument, err)
	}
	// Clients add processes to a copy of the container's, and say here what is
	// different: crun would send no terminal, and be waited for.
	spec.Terminal = r.Stdio.GetTerminal()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.execs[r.Exec] != nil {
		return fmt.Errorf("process %s of container %s: %w", r.Exec, c.id, errdefs.ErrAlreadyExists)
	}
	streams, err := s.openStreams(r.Stdio)
	if err != nil {
		return err
	}
	p := newProcess(r.Exec, streams)
	p.spec = &spec
	c.execs[r.Exec] = p
	return nil
}

// Start implements agent.AgentService.
func (s *Service) Start(ctx context.Context, r *agent.ProcessRequest) (*agent.StartResponse, error) {
	return answer(s.start(ctx, r))
}

func (s *Service) start(ctx context.Context, r *agent.ProcessRequest) (*agent.StartResponse, error) {
	c, p, err := s.process(r.Container, r.Exec)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	again := p.started
	p.started = true
	p.mu.Unlock()
	if again {
		return nil, fmt.Errorf("process has been started before: %w", errdefs.ErrFailedPrecondition)
	}
	if p.exec == "" {
		err = c.runc.Start(ctx, c.id)
		if err != nil {
			err = c.explain(err)
		}
	} else {
		_, err = s.launch(c, p, func(pidFile string) error {
			return c.runc.Exec(ctx, c.id, *p.spec, &runc.ExecOpts{
				IO: p.streams.io(), ConsoleSocket: p.streams.console(), PidFile: pidFile, Detach: true,
			})
		})
		if err == nil {
			// It runs already, and may have ended.
			if err := schedule(p.pid, p.spec); err != nil && !errors.Is(err, unix.ESRCH) {
				return nil, errors.Join(err, p.kill(unix.SIGKILL))
			}
		}
	}
	if err != nil {
		p.mu.Lock()
		p.started = false
		p.mu.Unlock()
		return nil, err
	}
	return &agent.StartResponse{Pid: uint32(p.pid)}, nil
}

// Wait implements agent.AgentService.
func (s *Service) Wait(ctx context.Context, r *agent.ProcessRequest) (*agent.WaitResponse, error) {
	_, p, err := s.process(r.Container, r.Exec)
	if err != nil {
		return answer[*agent.WaitResponse](nil, err)
	}
	select {
	case <-p.exited:
	case <-ctx.Done():
		return answer[*agent.WaitResponse](nil, ctx.Err())
	}
	if r.Exec == "" {
		// The cell may end as soon as its container has: what the
		// container wrote has to be on the host by then.
		unix.Sync()
	}
	return &agent.WaitResponse{
		Status: uint32(p.status), ExitedAt: p.at.UnixNano(), Stdout: p.stdout, Stderr: p.stderr,
	}, nil
}

// Kill implements agent.AgentService.
func (s *Service) Kill(_ context.Context, r *agent.KillRequest) (*agent.Empty, error) {
	c, p, err := s.process(r.Container, r.Exec)
	if err == nil {
		signal := unix.Signal(r.Signal)
		if r.All && r.Exec == "" {
			err = c.cgroup.kill(signal)
		} else {
			err = p.kill(signal)
		}
		if errors.Is(err, unix.ESRCH) {
			err = fmt.Errorf("process has ended: %w", errdefs.ErrNotFound)
		}
	}
	return answer(empty, err)
}

// Delete implements agent.AgentService.
func (s *Service) Delete(ctx context.Context, r *agent.ProcessRequest) (*agent.Empty, error) {
	return answer(empty, s.delete(ctx, r))
}

func (s *Service) delete(ctx context.Context, r *agent.ProcessRequest) error {
	c, p, err := s.process(r.Container, r.Exec)
	if err != nil {
		return err
	}
	if err := p.removable(); err != nil {
		return fmt.Errorf("%w: %w", errdefs.ErrFailedPrecondition, err)
	}
	if p.exec != "" {
		c.mu.Lock()
		delete(c.execs, p.exec)
		c.mu.Unlock()
		p.streams.close()
		return nil
	}
	if err := c.runc.Delete(ctx, c.id, &runc.DeleteOpts{Force: true}); err != nil {
		return c.explain(err)
	}
	s.mu.Lock()
	delete(s.containers, c.id)
	s.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.execs {
		e.streams.close()
	}
	p.streams.close()
	return os.RemoveAll(c.dir)
}

// ResizePty implements agent.AgentService.
func (s *Service) ResizePty(_ context.Context, r *agent.ResizePtyRequest) (*agent.Empty, error) {
	_, p, err := s.process(r.Container, r.Exec)
	if err == nil {
		err = p.streams.resize(r.Width, r.Height)
	}
	return answer(empty, err)
}

// Pause implements agent.AgentService.
func (s *Service) Pause(_ context.Context, r *agent.ContainerRequest) (*agent.Empty, error) {
	c, err := s.container(r.Container)
	if err == nil {
		err = c.cgroup.freeze(true)
	}
	if err == nil {
		// Whoever pauses a container may want to see its files on the host.
		unix.Sync()
	}
	return answer(empty, err)
}

// Resume implements agent.AgentService.
func (s *Service) Resume(_ context.Context, r *agent.ContainerRequest) (*agent.Empty, error) {
	c, err := s.container(r.Container)
	if err == nil {
		err = c.cgroup.freeze(false)
	}
	return answer(empty, err)
}

// Update implements agent.AgentService.
func (s *Service) Update(ctx context.Context, r *agent.UpdateRequest) (*agent.Empty, error) {
	c, err := s.container(r.Container)
	var resources specs.LinuxResources
	if err == nil {
		err = json.Unmarshal(r.Resources, &resources)
	}
	if err == nil {
		if err = c.runc.Update(ctx, c.id, &resources); err != nil {
			err = c.explain(err)
		}
	}
	return answer(empty, err)
}

// Pids implements agent.AgentService.
func (s *Service) Pids(_ context.Context, r *agent.ContainerRequest) (*agent.PidsResponse, error) {
	c, err := s.container(r.Container)
	if err != nil {
		return answer[*agent.PidsResponse](nil, err)
	}
	pids, err := c.cgroup.pids()
	if err != nil {
		return answer[*agent.PidsResponse](nil, err)
	}
	execs := map[int]string{}
	c.mu.Lock()
	for id, p := range c.execs {
		p.mu.Lock()
		execs[p.pid] = id
		p.mu.Unlock()
	}
	c.mu.Unlock()
	answer := &agent.PidsResponse{}
	for _, pid := range pids {
		answer.Processes = append(answer.Processes, &agent.PidsResponse_Process{Pid: uint32(pid), Exec: execs[pid]})
	}
	return answer, nil
}

// Stats implements agent.AgentService.
func (s *Service) Stats(_ context.Context, r *agent.ContainerRequest) (*agent.StatsResponse, error) {
	c, err := s.container(r.Container)
	if err != nil {
		return answer[*agent.StatsResponse](nil, err)
	}
	return &agent.StatsResponse{Files: c.cgroup.stats()}, nil
}

// WaitOOM implements agent.AgentService.
func (s *Service) WaitOOM(ctx context.Context, r *agent.WaitOOMRequest) (*agent.WaitOOMResponse, error) {
	c, err := s.container(r.Container)
	if err != nil {
		return answer[*agent.WaitOOMResponse](nil, err)
	}
	kills, err := c.waitOOM(ctx, r.Seen)
	return answer(&agent.WaitOOMResponse{Kills: kills}, err)
}

// Shutdown implements agent.AgentService.
func (s *Service) Shutdown(context.Context, *agent.Empty) (*agent.Empty, error) {
	s.PowerOff()
	return empty, nil
}
