// SPDX-License-Identifier: Apache-2.0

package task

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/paracell/paracell/runtime/bundle"
	"github.com/paracell/paracell/runtime/config"
	"github.com/paracell/paracell/shim/hostcgroup"
)

const (
	// maxProcesses bounds the processes and threads of a cell and its shim on
	// the host. A cell has at most 8,192 address spaces, each of them a process
	// on platform process.
	maxProcesses = 10000
	// minOverhead is the least that the control group of a cell may use beyond
	// the memory of the cell, in bytes: the shim, and the page tables of the
	// cell's processes, which grow with its memory too.
	minOverhead = 128 << 20
	// defaultPeriod of a quota, in microseconds: the kernel's.
	defaultPeriod = 100000
)

// hostPlace is where a cell is on the host: its control group and OOM score.
type hostPlace struct {
	mu     sync.Mutex
	group  *hostcgroup.Group     // nil: that of the shim
	limits *specs.LinuxResources // of the group, when a container is in it
	pod    bool
	memory uint64 // of the cell, in bytes
	score  string // own OOM score while the cell's processes get theirs
	kills  uint64 // of the host's OOM killer, that have been told
}

// prepare moves this process to where the cell is to be: its processes inherit
// that.
func (h *hostPlace) prepare(ctx context.Context, b *bundle.Bundle, c config.Cell) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.memory, h.pod = c.Memory, b.Pod()
	if p := b.Host.Linux.CgroupsPath; p != "" {
		h.limits = h.limitsOf(b.Host.Linux.Resources, b.MemoryLimit)
		start := *h.limits
		start.CPU = withoutQuota(start.CPU)
		g, err := hostcgroup.Create(p, &start)
		if err != nil {
			return err
		}
		if err := g.Enter(); err != nil {
			return errors.Join(err, g.Delete())
		}
		h.group = g
	}
	score := 0 // as of any container
	if s := b.Host.Process.OOMScoreAdj; s != nil {
		score = *s
	}
	own, err := os.ReadFile(scoreFile)
	if err == nil {
		h.score = strings.TrimSpace(string(own))
		err = os.WriteFile(scoreFile, []byte(strconv.Itoa(score)), 0)
	}
	if err != nil {
		// Lowering needs CAP_SYS_RESOURCE, which not every host gives.
		log.G(ctx).WithError(err).Debugf("the cell's processes do not get the OOM score %d", score)
	}
	return nil
}

const scoreFile = "/proc/self/oom_score_adj"

// booted is called when the cell has its processes, or has failed to.
func (h *hostPlace) booted(err error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.score != "" {
		_ = os.WriteFile(scoreFile, []byte(h.score), 0)
	}
	if err != nil {
		err = errors.Join(err, h.leaveLocked())
	}
	return err
}

// settle is called when a container has been made in the cell. What the first one
// may use of the processors holds from then on: not while the cell boots.
func (h *hostPlace) settle() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	limits := h.limits
	h.limits = nil
	if limits == nil || limits.CPU == nil || h.group == nil {
		return nil
	}
	return h.group.Update(&specs.LinuxResources{CPU: limits.CPU})
}

func withoutQuota(c *specs.LinuxCPU) *specs.LinuxCPU {
	if c == nil {
		return nil
	}
	out := *c
	out.Quota, out.Period = nil, nil
	return &out
}

// leave is called when the cell has ended.
func (h *hostPlace) leave() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.leaveLocked()
}

func (h *hostPlace) leaveLocked() error {
	g := h.group
	h.group, h.limits = nil, nil
	if g == nil {
		return nil
	}
	return g.Delete()
}

// limitsOf are those of the host for a cell. The guest carries out those of its
// containers; these hold also when its user has taken it over. The group of a
// Kubernetes pod is limited by who made the one above it.
func (h *hostPlace) limitsOf(r *specs.LinuxResources, limit uint64) *specs.LinuxResources {
	processes := int64(maxProcesses)
	out := &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: &processes}}
	if limit != 0 {
		memory := int64(h.memory + max(h.memory/2, minOverhead))
		out.Memory = &specs.LinuxMemory{Limit: &memory}
	}
	if r == nil || h.pod {
		return out
	}
	if c := r.CPU; c != nil {
		out.CPU = &specs.LinuxCPU{Shares: c.Shares, Quota: c.Quota, Period: c.Period, Cpus: c.Cpus, Mems: c.Mems}
		if c.Quota != nil && c.Period == nil {
			period := uint64(defaultPeriod)
			out.CPU.Period = &period
		}
	}
	out.BlockIO = r.BlockIO
	return out
}

// update sets new limits. The memory of a cell stays what it is.
func (h *hostPlace) update(r *specs.LinuxResources) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if m := r.Memory; m != nil && m.Limit != nil && *m.Limit > 0 && uint64(*m.Limit) > h.memory {
		return fmt.Errorf("memory limit of %d MiB: the cell was made with %d MiB, and a cell that runs cannot get more: make the container anew: %w",
			*m.Limit>>20, h.memory>>20, errdefs.ErrInvalidArgument)
	}
	if h.group == nil || h.pod {
		return nil
	}
	return h.group.Update(h.limitsOf(r, 0))
}

// killed says whether the host's OOM killer has ended processes of the cell
// since it was asked last.
func (h *hostPlace) killed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.group == nil {
		return false
	}
	before := h.kills
	h.kills = h.group.Kills()
	return h.kills > before
}
