// SPDX-License-Identifier: Apache-2.0

package task

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/containerd/cgroups/v3/cgroup2/stats"
	"github.com/containerd/containerd/api/types/runc/options"
	"google.golang.org/protobuf/proto"

	cellmetrics "github.com/paracell/paracell/protos/metrics/v1"
	"github.com/paracell/paracell/runtime/figures"
)

// execDetails is how clients recognise added processes.
type execDetails = options.ProcessDetails

// metrics makes what containerd expects of a version 2 control group of the
// files of the guest. Files and lines that are missing or odd count as 0.
func metrics(files map[string]string) *stats.Metrics {
	cpu, mem, events := table(files["cpu.stat"]), table(files["memory.stat"]), table(files["memory.events"])
	return &stats.Metrics{
		CPU: &stats.CPUStat{
			UsageUsec: cpu["usage_usec"], UserUsec: cpu["user_usec"], SystemUsec: cpu["system_usec"],
			NrPeriods: cpu["nr_periods"], NrThrottled: cpu["nr_throttled"], ThrottledUsec: cpu["throttled_usec"],
		},
		Memory: &stats.MemoryStat{
			Usage: number(files["memory.current"]), UsageLimit: number(files["memory.max"]), MaxUsage: number(files["memory.peak"]),
			SwapUsage: number(files["memory.swap.current"]), SwapLimit: number(files["memory.swap.max"]),
			Anon: mem["anon"], File: mem["file"], KernelStack: mem["kernel_stack"], Slab: mem["slab"], Sock: mem["sock"],
			Shmem: mem["shmem"], FileMapped: mem["file_mapped"], FileDirty: mem["file_dirty"], FileWriteback: mem["file_writeback"],
			InactiveAnon: mem["inactive_anon"], ActiveAnon: mem["active_anon"],
			InactiveFile: mem["inactive_file"], ActiveFile: mem["active_file"], Unevictable: mem["unevictable"],
			SlabReclaimable: mem["slab_reclaimable"], SlabUnreclaimable: mem["slab_unreclaimable"],
			Pgfault: mem["pgfault"], Pgmajfault: mem["pgmajfault"],
		},
		MemoryEvents: &stats.MemoryEvents{
			Low: events["low"], High: events["high"], Max: events["max"], Oom: events["oom"], OomKill: events["oom_kill"],
		},
		Pids: &stats.PidsStat{Current: number(files["pids.current"]), Limit: number(files["pids.max"])},
	}
}

// addCell adds the figures of the cell, as a field that control groups do not
// have: see the package of cellmetrics.
func addCell(m *stats.Metrics, f *figures.Sample) error {
	b, err := proto.Marshal(&cellmetrics.Metrics{Cell: &cellmetrics.Cell{
		Policy: f.Policy, Bound: f.Resident, Used: f.Used, FreeBound: f.FreeBound, Waste: f.Waste(), Limit: f.Limit,
		BoundFrames: f.Bound, UnboundFrames: f.Unbound, BindNs: f.BindNs, UnbindNs: f.UnbindNs, TakenFrames: f.Taken,
		GateCalls: f.GateCalls, RawCalls: f.RawCalls, Faults: f.Faults,
	}})
	if err != nil {
		return fmt.Errorf("figures of the cell: %w", err)
	}
	m.ProtoReflect().SetUnknown(b)
	return nil
}

// number reads a file with one number; "max" is the largest.
func number(s string) uint64 {
	s = strings.TrimSpace(s)
	if s == "max" {
		return ^uint64(0)
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// table reads a file of lines "name number".
func table(s string) map[string]uint64 {
	t := map[string]uint64{}
	for line := range strings.Lines(s) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			t[k] = number(v)
		}
	}
	return t
}
