// SPDX-License-Identifier: Apache-2.0

package task

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func pointerTo[T any](v T) *T { return &v }

func TestLimitsOfTheHost(t *testing.T) {
	r := &specs.LinuxResources{
		CPU:     &specs.LinuxCPU{Shares: pointerTo(uint64(10)), Quota: pointerTo(int64(50000)), Cpus: "0", Burst: pointerTo(uint64(1))},
		Memory:  &specs.LinuxMemory{Limit: pointerTo(int64(1 << 30)), Swap: pointerTo(int64(1))},
		Pids:    &specs.LinuxPids{Limit: pointerTo(int64(3))},
		BlockIO: &specs.LinuxBlockIO{Weight: pointerTo(uint16(100))},
	}
	h := &hostPlace{memory: 512 << 20}
	got := h.limitsOf(r, 1<<30)
	if *got.Memory.Limit != 768<<20 || got.Memory.Swap != nil {
		t.Errorf("memory %+v", got.Memory)
	}
	if *got.Pids.Limit != maxProcesses {
		t.Errorf("the guest's processes are not the host's: %d", *got.Pids.Limit)
	}
	if c := got.CPU; *c.Shares != 10 || *c.Quota != 50000 || *c.Period != defaultPeriod || c.Cpus != "0" || c.Burst != nil {
		t.Errorf("processors %+v", got.CPU)
	}
	if *got.BlockIO.Weight != 100 {
		t.Errorf("block devices %+v", got.BlockIO)
	}
	if boot := withoutQuota(got.CPU); boot.Quota != nil || boot.Period != nil || boot.Cpus != "0" || *boot.Shares != 10 {
		t.Errorf("while it boots %+v", boot)
	}
	if withoutQuota(nil) != nil {
		t.Error("limits out of nothing")
	}
	h.memory = 64 << 20
	if got := h.limitsOf(r, 1<<20); *got.Memory.Limit != 64<<20+minOverhead {
		t.Errorf("a small cell may use %d", *got.Memory.Limit)
	}
	if got := h.limitsOf(nil, 0); got.Memory != nil || got.CPU != nil || got.Pids == nil {
		t.Errorf("without limits %+v", got)
	}
	h.pod = true
	if got := h.limitsOf(r, 1<<30); got.CPU != nil || got.BlockIO != nil || got.Memory == nil {
		t.Errorf("a pod %+v", got)
	}
}

func TestMemoryOfARunningCell(t *testing.T) {
	h := &hostPlace{memory: 512 << 20}
	err := h.update(&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: pointerTo(int64(1 << 30))}})
	if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "make the container anew") {
		t.Errorf("more than the cell has: %v", err)
	}
	for _, limit := range []int64{-1, 0, 256 << 20, 512 << 20} {
		if err := h.update(&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}}); err != nil {
			t.Errorf("%d: %v", limit, err)
		}
	}
	if err := h.leave(); err != nil || h.killed() {
		t.Errorf("without a group: %v", err)
	}
}

// A container without a group comes after one whose cell could not be made.
func TestLimitsWithoutAGroup(t *testing.T) {
	h := &hostPlace{limits: &specs.LinuxResources{CPU: &specs.LinuxCPU{}}}
	if err := h.settle(); err != nil {
		t.Error(err)
	}
	h.limits = &specs.LinuxResources{}
	if err := h.leave(); err != nil || h.limits != nil {
		t.Errorf("limits %+v, %v", h.limits, err)
	}
}
