// SPDX-License-Identifier: Apache-2.0

package task

import (
	"math"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	agent "github.com/paracell/paracell/protos/agent/v1"
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
