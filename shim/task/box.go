// SPDX-License-Identifier: Apache-2.0

package task

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/ttrpc"

	agent "github.com/paracell/paracell/protos/agent/v1"
	"github.com/paracell/paracell/runtime/bundle"
	"github.com/paracell/paracell/runtime/config"
	"github.com/paracell/paracell/runtime/figures"
	"github.com/paracell/paracell/shim/sandbox"
	"github.com/paracell/paracell/shim/stdio"
)

// Box is a running cell as the service needs it; sandbox.Sandbox is the real
// one. All methods may be called at the same time.
type Box interface {
	// Agent makes and controls processes in the cell.
	Agent() agent.AgentService
	// Ports are those of the cell's streams.
	Ports() *stdio.Ports
	// Listen waits for the guest's connections to a port.
	Listen(port uint32) (net.Listener, error)
	// Add gives the cell the files and the network of a container, Remove takes
	// the files away.
	Add(id string, b *bundle.Bundle) (*agent.Root, error)
	Remove(id string) error
	// Hold makes the cell a sandbox without a container that stands for it, in
	// a network namespace of the host; without a path it is a new one.
	Hold(ctx context.Context, network string, pod *agent.PodRequest) error
	// Connect gives the cell the network interfaces that it does not have yet:
	// tools make them until the container starts.
	Connect(ctx context.Context) error
	// Pid is the host process that stands for the cell.
	Pid() int
	// SetMemoryLimit says how much host memory the cell may have, in bytes; 0 is
	// all of its own.
	SetMemoryLimit(limit uint64)
	// Figures are what the cell uses; false when it has ended.
	Figures() (figures.Sample, bool)
	// Rest gives the host back what a cell that does nothing does not use, with
	// cache also page cache.
	Rest(ctx context.Context, cache bool) error
	// Ended is closed when the cell has ended; Why then says why.
	Ended() <-chan struct{}
	Why() error
	// Close ends the cell and releases everything. It may be called again.
	Close()
}

// Boot makes a cell.
type Boot func(context.Context, config.Cell) (Box, error)

func boot(ctx context.Context, c config.Cell) (Box, error) {
	box, err := sandbox.Start(ctx, c)
	if err != nil {
		return nil, err // not a Box that holds nil
	}
	return box, nil
}

// cell is the shim's cell, which the first container boots.
type cell struct {
	boot Boot

	booting sync.Mutex // held while it boots
	mu      sync.Mutex // for moments only
	box     Box
	closed  bool
}

// get returns the cell, nil if there is none.
func (c *cell) get() Box {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.box
}

// need boots the cell that describe describes if there is none.
func (c *cell) need(ctx context.Context, describe func() (config.Cell, error)) (Box, error) {
	c.booting.Lock()
	defer c.booting.Unlock()
	if box := c.get(); box != nil {
		return box, nil
	}
	what, err := describe()
	if err != nil {
		return nil, err
	}
	box, err := c.boot(ctx, what)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		box.Close()
		return nil, fmt.Errorf("the shim is shutting down: %w", errdefs.ErrUnavailable)
	}
	c.box = box
	return box, nil
}

// close ends the cell, for good.
func (c *cell) close() {
	c.mu.Lock()
	box := c.box
	c.closed = true
	c.mu.Unlock()
	if box != nil {
		box.Close()
	}
}

// native makes an error of the agent one of errdefs again. When the cell has
// ended that is what is to be said.
func native(box Box, err error) error {
	if err == nil {
		return nil
	}
	var patience time.Duration
	if errors.Is(err, ttrpc.ErrClosed) {
		patience = endTimeout // its connection ends a moment before it
	}
	select {
	case <-box.Ended():
		return fmt.Errorf("the cell has ended: %w: %w", box.Why(), errdefs.ErrUnavailable)
	case <-time.After(patience):
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return fmt.Errorf("the cell's agent does not answer: %w", err) // it is not the agent's
	}
	return errgrpc.ToNative(err)
}
