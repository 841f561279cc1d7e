// SPDX-License-Identifier: Apache-2.0

package task

import (
	"context"
	"fmt"
	"os"

	api "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"

	agent "github.com/paracell/paracell/protos/agent/v1"
)

// guestPids is added to numbers of the guest's processes, which are none of the
// host's: no host process has so large a number (the kernel's limit is 1 << 22).
const guestPids = 1 << 30

// State implements api.TTRPCTaskService.
func (s *service) State(_ context.Context, r *api.StateRequest) (*api.StateResponse, error) {
	p, err := s.process(r.ID, r.ExecID)
	if err != nil {
		return answer[*api.StateResponse](nil, err)
	}
	status, code, at := p.state()
	io := p.io.Config()
	return &api.StateResponse{
		ID: p.id(), Bundle: p.c.bundle, Pid: p.c.pid(), Status: status, ExecID: r.ExecID,
		Stdin: io.Stdin, Stdout: io.Stdout, Stderr: io.Stderr, Terminal: io.Terminal,
		ExitStatus: code, ExitedAt: timestamp(at),
	}, nil
}

// Wait implements api.TTRPCTaskService.
func (s *service) Wait(ctx context.Context, r *api.WaitRequest) (*api.WaitResponse, error) {
	p, err := s.process(r.ID, r.ExecID)
	if err != nil {
		return answer[*api.WaitResponse](nil, err)
	}
	select {
	case <-p.exited:
	case <-ctx.Done():
		return answer[*api.WaitResponse](nil, ctx.Err())
	}
	_, code, at := p.state()
	return &api.WaitResponse{ExitStatus: code, ExitedAt: timestamp(at)}, nil
}

// Pids implements api.TTRPCTaskService.
func (s *service) Pids(ctx context.Context, r *api.PidsRequest) (*api.PidsResponse, error) {
	return answer(s.pids(ctx, r))
}

func (s *service) pids(ctx context.Context, r *api.PidsRequest) (*api.PidsResponse, error) {
	c, err := s.container(r.ID)
	if err != nil {
		return nil, err
	}
	got, err := c.box.Agent().Pids(ctx, &agent.ContainerRequest{Container: r.ID})
	if err != nil {
		return nil, native(c.box, err)
	}
	out := &api.PidsResponse{}
	for _, p := range got.Processes {
		info := &task.ProcessInfo{Pid: guestPids + p.Pid%guestPids}
		if p.Pid == c.guest {
			info.Pid = c.pid() // what State says
		}
		if p.Exec != "" {
			if info.Info, err = typeurl.MarshalAnyToProto(&execDetails{ExecID: p.Exec}); err != nil {
				return nil, err
			}
		}
		out.Processes = append(out.Processes, info)
	}
	return out, nil
}

// Stats implements api.TTRPCTaskService.
func (s *service) Stats(ctx context.Context, r *api.StatsRequest) (*api.StatsResponse, error) {
	return answer(s.stats(ctx, r))
}

func (s *service) stats(ctx context.Context, r *api.StatsRequest) (*api.StatsResponse, error) {
	c, err := s.container(r.ID)
	if err != nil {
		return nil, err
	}
	got, err := c.box.Agent().Stats(ctx, &agent.ContainerRequest{Container: r.ID})
	if err != nil {
		return nil, native(c.box, err)
	}
	if len(got.Files) == 0 {
		return nil, fmt.Errorf("container %s has no control group any more: %w", r.ID, errdefs.ErrNotFound)
	}
	m := metrics(got.Files)
	if f, ok := c.box.Figures(); ok {
		if err := addCell(m, &f); err != nil {
			return nil, err
		}
	}
	stats, err := typeurl.MarshalAnyToProto(m)
	return &api.StatsResponse{Stats: stats}, err
}

// Connect implements api.TTRPCTaskService.
func (s *service) Connect(_ context.Context, r *api.ConnectRequest) (*api.ConnectResponse, error) {
	out := &api.ConnectResponse{ShimPid: uint32(os.Getpid())}
	if c, err := s.container(r.ID); err == nil {
		out.TaskPid = c.pid()
	}
	return out, nil
}
