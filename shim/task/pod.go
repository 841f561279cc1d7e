// SPDX-License-Identifier: Apache-2.0

package task

import (
	"context"
	"fmt"
	"path"
	"sync"
	"time"

	api "github.com/containerd/containerd/api/runtime/sandbox/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/types/known/timestamppb"

	agent "github.com/paracell/paracell/protos/agent/v1"
	"github.com/paracell/paracell/runtime/bundle"
	"github.com/paracell/paracell/runtime/config"
	"github.com/paracell/paracell/shim/record"
)

// pod is the sandbox service of containerd's shims (sandboxer "shim"): the cell
// is the sandbox, and no container has to stand for it.
type pod struct {
	s *service

	starting sync.Mutex // held while it starts; taken before mu

	mu      sync.Mutex                // for moments only
	request *api.CreateSandboxRequest // nil before CreateSandbox
	config  podConfig
	begun   time.Time // zero before StartSandbox
	ended   time.Time // zero while it runs
	over    chan struct{}
}

var _ api.TTRPCSandboxService = (*pod)(nil)

func newPod(s *service) *pod { return &pod{s: s, over: make(chan struct{})} }

// holds says whether the cell is a sandbox by itself, which stays without
// containers.
func (p *pod) holds() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.request != nil && p.ended.IsZero()
}

// check says whether a request is for this sandbox. p.mu is held.
func (p *pod) checkLocked(id string) error {
	if p.request == nil || p.request.SandboxID != id {
		return fmt.Errorf("sandbox %s: %w", id, errdefs.ErrNotFound)
	}
	return nil
}

// CreateSandbox implements api.TTRPCSandboxService.
func (p *pod) CreateSandbox(_ context.Context, r *api.CreateSandboxRequest) (*api.CreateSandboxResponse, error) {
	return answer(&api.CreateSandboxResponse{}, p.create(r))
}

func (p *pod) create(r *api.CreateSandboxRequest) error {
	c, err := podConfigOf(r.Options)
	if err != nil {
		return fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	for k, v := range r.Annotations {
		c.annotations[k] = v
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.request != nil {
		return fmt.Errorf("sandbox %s: %w", p.request.SandboxID, errdefs.ErrAlreadyExists)
	}
	p.request, p.config = r, c
	rec, err := record.New()
	if err == nil {
		rec.Sandbox = &record.Sandbox{Network: r.NetnsPath, Group: p.bundle().Host.Linux.CgroupsPath}
		err = rec.Write(r.BundlePath)
	}
	if err != nil {
		p.request = nil
		return fmt.Errorf("record of sandbox %s: %w", r.SandboxID, err)
	}
	return nil
}

// StartSandbox implements api.TTRPCSandboxService.
func (p *pod) StartSandbox(ctx context.Context, r *api.StartSandboxRequest) (*api.StartSandboxResponse, error) {
	return answer(p.start(context.WithoutCancel(ctx), r.SandboxID))
}

func (p *pod) start(ctx context.Context, id string) (*api.StartSandboxResponse, error) {
	p.starting.Lock()
	defer p.starting.Unlock()
	p.mu.Lock()
	err, again, r := p.checkLocked(id), !p.begun.IsZero(), p.request
	p.mu.Unlock()
	switch {
	case err != nil:
		return nil, err
	case again:
		return nil, fmt.Errorf("sandbox %s has been started before: %w", id, errdefs.ErrFailedPrecondition)
	}
	box, err := p.s.cell.need(ctx, func() (config.Cell, error) {
		b := p.bundle()
		c, err := cellOf(id, nil, b)
		if err != nil {
			return c, err
		}
		p.s.limit.boot(c, b.MemoryLimit, true)
		return c, p.s.place.prepare(ctx, b, c)
	})
	if err != nil {
		return nil, err
	}
	err = box.Hold(ctx, r.NetnsPath, &agent.PodRequest{
		Hostname: p.config.hostname, Sysctls: p.config.sysctls, Files: p.config.files(),
	})
	if err != nil {
		return nil, err
	}
	if err := p.s.place.settle(); err != nil {
		return nil, err
	}
	begun := time.Now()
	p.mu.Lock()
	p.begun = begun
	p.mu.Unlock()
	go p.wait(box)
	return &api.StartSandboxResponse{Pid: uint32(box.Pid()), CreatedAt: timestamppb.New(begun)}, nil
}

// bundle describes the sandbox as the first container of a cell is described.
func (p *pod) bundle() *bundle.Bundle {
	host := &specs.Spec{Annotations: p.config.annotations, Process: &specs.Process{}, Linux: &specs.Linux{}}
	if parent := p.config.cgroupParent; parent != "" {
		host.Linux.CgroupsPath = path.Join(parent, p.request.SandboxID)
	}
	return &bundle.Bundle{
		Dir: p.request.BundlePath, Host: host, Annotations: p.config.annotations,
		MemoryLimit: uint64(p.config.memory), NetworkPath: p.request.NetnsPath,
	}
}

// wait notices the end of the cell.
func (p *pod) wait(box Box) {
	<-box.Ended()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = time.Now()
	close(p.over)
}

// Platform implements api.TTRPCSandboxService.
func (p *pod) Platform(context.Context, *api.PlatformRequest) (*api.PlatformResponse, error) {
	return &api.PlatformResponse{Platform: &types.Platform{OS: "linux", Architecture: "amd64"}}, nil
}

// StopSandbox implements api.TTRPCSandboxService: it ends the cell, and what still
// runs in it.
func (p *pod) StopSandbox(_ context.Context, r *api.StopSandboxRequest) (*api.StopSandboxResponse, error) {
	p.mu.Lock()
	err := p.checkLocked(r.SandboxID)
	p.mu.Unlock()
	if err == nil {
		p.s.cell.close()
	}
	return answer(&api.StopSandboxResponse{}, err)
}

// WaitSandbox implements api.TTRPCSandboxService.
func (p *pod) WaitSandbox(ctx context.Context, r *api.WaitSandboxRequest) (*api.WaitSandboxResponse, error) {
	p.mu.Lock()
	err := p.checkLocked(r.SandboxID)
	p.mu.Unlock()
	if err != nil {
		return answer[*api.WaitSandboxResponse](nil, err)
	}
	select {
	case <-p.over:
	case <-ctx.Done():
		return answer[*api.WaitSandboxResponse](nil, ctx.Err())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return &api.WaitSandboxResponse{ExitedAt: timestamppb.New(p.ended)}, nil
}

// SandboxStatus implements api.TTRPCSandboxService.
func (p *pod) SandboxStatus(_ context.Context, r *api.SandboxStatusRequest) (*api.SandboxStatusResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.checkLocked(r.SandboxID); err != nil {
		return answer[*api.SandboxStatusResponse](nil, err)
	}
	out := &api.SandboxStatusResponse{SandboxID: r.SandboxID, State: "SANDBOX_NOTREADY"}
	if box := p.s.cell.get(); box != nil {
		out.Pid = uint32(box.Pid())
	}
	if !p.begun.IsZero() {
		out.CreatedAt = timestamppb.New(p.begun)
		if p.ended.IsZero() {
			out.State = "SANDBOX_READY"
		} else {
			out.ExitedAt = timestamppb.New(p.ended)
		}
	}
	return out, nil
}

// PingSandbox implements api.TTRPCSandboxService.
func (p *pod) PingSandbox(_ context.Context, r *api.PingRequest) (*api.PingResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return answer(&api.PingResponse{}, p.checkLocked(r.SandboxID))
}

// ShutdownSandbox implements api.TTRPCSandboxService.
func (p *pod) ShutdownSandbox(context.Context, *api.ShutdownSandboxRequest) (*api.ShutdownSandboxResponse, error) {
	p.s.shutdown.Shutdown()
	return &api.ShutdownSandboxResponse{}, nil
}

// SandboxMetrics implements api.TTRPCSandboxService.
func (p *pod) SandboxMetrics(context.Context, *api.SandboxMetricsRequest) (*api.SandboxMetricsResponse, error) {
	return answer[*api.SandboxMetricsResponse](nil, fmt.Errorf("metrics are those of containers: %w", errdefs.ErrNotImplemented))
}

// UpdateSandbox implements api.TTRPCSandboxService.
func (p *pod) UpdateSandbox(context.Context, *api.UpdateSandboxRequest) (*api.UpdateSandboxResponse, error) {
	return answer[*api.UpdateSandboxResponse](nil, fmt.Errorf("the memory of a cell is set when it boots: %w", errdefs.ErrNotImplemented))
}
