// SPDX-License-Identifier: Apache-2.0

package shim

import (
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/oci"

	"github.com/paracell/paracell/integration/containerd/daemon"
)

// count is how many of something a test makes: the default, or what an
// environment variable says.
func count(t *testing.T, variable string, normally int) int {
	t.Helper()
	s := os.Getenv(variable)
	if s == "" {
		return normally
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		t.Fatalf("%s=%s: a number of at least 1 is needed", variable, s)
	}
	return n
}

// TestRacingExits starts processes that end at once, several at the same time,
// and wants every status as it was. PARACELL_EXECS and PARACELL_CONTAINERS say
// how many; they were run with 9,000 and 1,000.
func TestRacingExits(t *testing.T) {
	h := start(t, daemon.Options{})
	t.Run("execs", func(t *testing.T) {
		task := h.running(t)
		race(t, count(t, "PARACELL_EXECS", 200), 4, func(i int) (uint32, error) {
			p, err := task.Exec(h.ctx, fmt.Sprint("race", i), processSpec("/bin/sh", "-c", fmt.Sprint("exit ", i%256)), cio.NullIO)
			if err != nil {
				return 0, err
			}
			return startAndDelete(h, p)
		})
	})
	t.Run("containers", func(t *testing.T) {
		c := h.Client(t)
		image, err := c.GetImage(h.ctx, daemon.Image)
		must(t, err)
		race(t, count(t, "PARACELL_CONTAINERS", 20), 4, func(i int) (uint32, error) {
			id := fmt.Sprint("race", i)
			container, err := c.NewContainer(h.ctx, id, client.WithNewSnapshot(id, image), client.WithRuntime(daemon.Runtime, nil),
				client.WithNewSpec(oci.WithImageConfig(image), oci.WithProcessArgs("/bin/sh", "-c", fmt.Sprint("exit ", i%256))))
			if err != nil {
				return 0, err
			}
			task, err := container.NewTask(h.ctx, cio.NullIO)
			if err != nil {
				return 0, err
			}
			code, err := startAndDelete(h, task)
			if err != nil {
				return 0, err
			}
			return code, container.Delete(h.ctx, client.WithSnapshotCleanup)
		})
	})
}

// race calls run for 0 to n-1, some at the same time, and compares its status
// with the number.
func race(t *testing.T, n, together int, run func(i int) (uint32, error)) {
	t.Helper()
	next := make(chan int)
	var workers sync.WaitGroup
	for range together {
		workers.Go(func() {
			for i := range next {
				code, err := run(i)
				if err != nil {
					t.Errorf("%d: %v", i, err)
				} else if code != uint32(i%256) {
					t.Errorf("%d: status %d", i, code)
				}
			}
		})
	}
	for i := range n {
		next <- i
		if t.Failed() {
			break
		}
	}
	close(next)
	workers.Wait()
}

// startAndDelete returns the status that Wait gives, if Delete gives the same.
func startAndDelete(h *harness, p client.Process) (uint32, error) {
	exit, err := p.Wait(h.ctx)
	if err != nil {
		return 0, err
	}
	if err := p.Start(h.ctx); err != nil {
		return 0, err
	}
	code, _, err := (<-exit).Result()
	if err != nil {
		return 0, err
	}
	if p.IO() != nil {
		p.IO().Wait() // see remove
	}
	gone, err := p.Delete(h.ctx)
	if err != nil {
		return 0, err
	}
	if gone.ExitCode() != code {
		return 0, fmt.Errorf("status %d by wait, %d by delete", code, gone.ExitCode())
	}
	return code, nil
}
