// SPDX-License-Identifier: Apache-2.0

package task

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/containerd/cgroups/v3/cgroup2/stats"
	"google.golang.org/protobuf/proto"

	agent "github.com/paracell/paracell/protos/agent/v1"
	cellmetrics "github.com/paracell/paracell/protos/metrics/v1"
	"github.com/paracell/paracell/runtime/figures"
)

func TestMetrics(t *testing.T) {
	m := metrics(map[string]string{
		"cpu.stat": "usage_usec 10\nuser_usec 7\nsystem_usec 3\n", "memory.current": "4096\n", "memory.max": "max\n",
		"memory.stat": "anon 100\nfile 200\nodd\nbad x\n", "memory.events": "oom 1\noom_kill 2\n", "pids.current": "3\n", "pids.max": "-1\n",
	})
	if m.CPU.UsageUsec != 10 || m.Memory.Usage != 4096 || m.Memory.UsageLimit != math.MaxUint64 || m.Memory.File != 200 ||
		m.MemoryEvents.OomKill != 2 || m.Pids.Current != 3 || m.Pids.Limit != 0 {
		t.Errorf("%v", m)
	}
}

// TestCellMetrics: those who do not know the figures of the cell read the rest,
// and those who do read both from the same bytes.
func TestCellMetrics(t *testing.T) {
	m := metrics(map[string]string{"memory.current": "4096\n"})
	if err := addCell(m, &figures.Sample{Policy: "page", Resident: 110, Used: 100, Limit: 200, Bound: 7, Unbound: 6, Faults: 5}); err != nil {
		t.Fatal(err)
	}
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var plain stats.Metrics
	var more cellmetrics.Metrics
	if err := errors.Join(proto.Unmarshal(b, &plain), proto.Unmarshal(b, &more)); err != nil {
		t.Fatal(err)
	}
	c := more.GetCell()
	if plain.Memory.Usage != 4096 || c.GetPolicy() != "page" || c.Bound != 110 || c.Used != 100 || c.Limit != 200 ||
		c.Waste < 0.099 || c.Waste > 0.101 || c.BoundFrames != 7 || c.UnboundFrames != 6 || c.Faults != 5 {
		t.Errorf("%v, %v", &plain, c)
	}
}

func TestExitTime(t *testing.T) {
	now := time.Now()
	if at := exitTime(now.Add(-time.Second).UnixNano()); !at.Equal(now.Add(-time.Second).Truncate(0)) {
		t.Errorf("%v", at)
	}
	for _, odd := range []int64{0, -1, math.MinInt64, math.MaxInt64, now.Add(time.Hour).UnixNano()} {
		if at := exitTime(odd); at.Before(now.Truncate(0)) || at.After(time.Now()) {
			t.Errorf("%d: %v", odd, at)
		}
	}
}

// FuzzAnswers takes bytes for every answer of an agent that the service looks
// into.
func FuzzAnswers(f *testing.F) {
	for _, m := range []proto.Message{
		&agent.WaitResponse{Status: 1, ExitedAt: 2, Stdout: 3},
		&agent.StatsResponse{Files: map[string]string{"memory.stat": "anon 1\n", "memory.max": "max"}},
		&agent.WaitOOMResponse{Kills: 1},
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var w agent.WaitResponse
		if proto.Unmarshal(b, &w) == nil && exitTime(w.ExitedAt).After(time.Now()) {
			t.Errorf("an exit in the future: %d", w.ExitedAt)
		}
		var s agent.StatsResponse
		if proto.Unmarshal(b, &s) == nil {
			if _, err := proto.Marshal(metrics(s.Files)); err != nil {
				t.Error(err)
			}
		}
	})
}
