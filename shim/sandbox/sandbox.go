// SPDX-License-Identifier: Apache-2.0

// Package sandbox is a running cell with its agent.
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/log"
	"github.com/containerd/ttrpc"
	"golang.org/x/sys/unix"

	agent "github.com/paracell/paracell/protos/agent/v1"
	"github.com/paracell/paracell/runtime/bundle"
	"github.com/paracell/paracell/runtime/cell"
	"github.com/paracell/paracell/runtime/config"
	"github.com/paracell/paracell/runtime/figures"
	"github.com/paracell/paracell/shim/stdio"
)

// bootTimeout bounds the time until the agent has connected.
const bootTimeout = time.Minute

// takeTimeout is how long the guest may take nothing of a call, of which the device
// holds 256 KiB.
const takeTimeout = 10 * time.Second

// endTimeout bounds the time from the end of a cell's connections to its own.
const endTimeout = 2 * time.Second

// Sandbox is a cell that runs. Close must be called.
type Sandbox struct {
	agent agent.AgentService
	ports stdio.Ports

	cell    *cell.Cell
	console *console

	ctx     context.Context // for the log
	name    string
	ended   chan struct{} // closed after why is set
	why     error
	once    sync.Once
	closing atomic.Bool

	netMu sync.Mutex // taken before mu
	net   cellNetwork

	mu      sync.Mutex
	volumes map[string][]string // by container
}

// Start boots a cell and waits for its agent.
func Start(ctx context.Context, c config.Cell) (_ *Sandbox, err error) {
	begin := time.Now()
	console := newConsole(ctx)
	// The cell lives longer than the request that starts it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), bootTimeout)
	defer cancel()
	s := &Sandbox{ended: make(chan struct{}), console: console, name: c.Name, ctx: context.WithoutCancel(ctx)}
	if s.cell, err = cell.Create(ctx, c, cell.IO{Log: console}); err != nil {
		console.Close()
		return nil, err
	}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	l, err := s.cell.Listen(agent.PortAgent)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	if err := s.cell.Start(ctx); err != nil {
		return nil, err
	}
	go s.wait()
	conn, err := s.accept(ctx, l)
	if err != nil {
		return nil, fmt.Errorf("cell %s: its agent did not connect: %w", c.Name, s.cause(err))
	}
	s.agent = agent.NewAgentClient(ttrpc.NewClient(&agentConn{Conn: conn, patience: takeTimeout}))
	// A container without a name of its own has the host's, as a new UTS namespace
	// on the host would.
	hostname, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	hello, err := s.agent.Hello(ctx, &agent.HelloRequest{Hostname: hostname})
	if err != nil {
		return nil, fmt.Errorf("cell %s: its agent does not answer: %w", c.Name, s.cause(err))
	}
	log.G(ctx).WithField("kernel", hello.Kernel).WithField("boot", time.Since(begin)).Debug("cell is up")
	return s, nil
}

// accept waits for the agent, or the end of the cell.
func (s *Sandbox) accept(ctx context.Context, l net.Listener) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	c := make(chan result, 1)
	go func() {
		conn, err := l.Accept()
		c <- result{conn, err}
	}()
	select {
	case r := <-c:
		return r.conn, r.err
	case <-s.ended:
		return nil, s.why
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// cause is the reason of the cell's end, if that is where the error of a
// connection to it came from: connections end a moment before.
func (s *Sandbox) cause(err error) error {
	select {
	case <-s.ended:
		return s.why
	case <-time.After(endTimeout):
		return err
	}
}

// wait notices the end of the cell.
func (s *Sandbox) wait() {
	exit, err := s.cell.Wait(context.Background())
	// Also after the error of a device, when the guest still runs; and memory
	// that nobody needs any more is not kept until somebody deletes a container.
	_ = s.cell.Close()
	_ = s.console.Close() // what the agent has said is known now
	switch {
	case err != nil:
	case exit.OK() && exit.Code == 0:
		err = errors.New("the cell was switched off")
	case exit.OK():
		err = errors.New("the agent has failed")
	default:
		err = errors.New(exit.Message)
	}
	if said := s.console.failure(); said != "" {
		err = fmt.Errorf("%w (the agent said: %s)", err, said)
	}
	if !s.closing.Load() {
		log.G(s.ctx).WithError(err).WithField("cell", s.name).Error("the cell has ended")
	}
	s.why = err
	close(s.ended) // calls to the agent fail by themselves: its connection has ended
}

// Agent makes and controls processes in the cell.
func (s *Sandbox) Agent() agent.AgentService { return s.agent }

// Ports are those of the cell's streams.
func (s *Sandbox) Ports() *stdio.Ports { return &s.ports }

// Pid is the host process that stands for the cell.
func (s *Sandbox) Pid() int { return s.cell.Pid() }

// Figures of the cell; false when it is being closed.
func (s *Sandbox) Figures() (figures.Sample, bool) { return s.cell.Figures() }

// SetMemoryLimit says how much host memory the cell may have, in bytes.
func (s *Sandbox) SetMemoryLimit(limit uint64) { s.cell.SetMemoryLimit(limit) }

// Ended is closed when the cell has ended; Why then says why.
func (s *Sandbox) Ended() <-chan struct{} { return s.ended }

// Why is the reason of the end.
func (s *Sandbox) Why() error { return s.why }

// Listen implements stdio.Listener.
func (s *Sandbox) Listen(port uint32) (net.Listener, error) { return s.cell.Listen(port) }

// Close ends the cell.
func (s *Sandbox) Close() {
	s.once.Do(func() {
		s.closing.Store(true)
		_ = s.cell.Close() // taps too
		s.disconnect()
		_ = s.console.Close()
	})
}

// filesDir is the folder of a bundle in which single files are shared.
const filesDir = "volumes"

// Add gives the cell the files and the network of a container.
func (s *Sandbox) Add(id string, b *bundle.Bundle) (*agent.Root, error) {
	if err := s.join(b); err != nil {
		return nil, fmt.Errorf("container %s: %w", id, err)
	}
	if err := s.cell.AddRoot(id, b.Rootfs); err != nil {
		return nil, fmt.Errorf("root file system %s of container %s: %w", b.Rootfs, id, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.volumes == nil {
		s.volumes = map[string][]string{}
	}
	s.volumes[id] = nil // there is something to remove
	for _, v := range b.Volumes {
		if err := s.addVolume(b.Dir, v); err != nil {
			return nil, fmt.Errorf("volume %s: %w", v.Source, err)
		}
		s.volumes[id] = append(s.volumes[id], v.Name)
	}
	return &agent.Root{Tag: agent.TagRoots, Path: id}, nil
}

func (s *Sandbox) addVolume(bundleDir string, v bundle.Volume) error {
	if !v.File {
		return s.cell.AddVolume(v.Name, v.Source, v.ReadOnly)
	}
	dir, err := shareFile(bundleDir, v)
	if err != nil {
		return err
	}
	return s.cell.AddFile(v.Name, dir, v.ReadOnly)
}

// Remove takes away what Add has added, also an Add that failed, so that it can
// be unmounted.
func (s *Sandbox) Remove(id string) error {
	s.mu.Lock()
	volumes, added := s.volumes[id]
	delete(s.volumes, id)
	s.mu.Unlock()
	select {
	case <-s.ended:
		return nil // its devices are closed
	default:
	}
	if !added {
		return nil
	}
	err := s.cell.RemoveRoot(id)
	for _, v := range volumes {
		err = errors.Join(err, s.cell.RemoveVolume(v))
	}
	return err
}

// shareFile makes a directory in which there is only the file: its neighbours
// are none of the cell's business.
func shareFile(bundleDir string, v bundle.Volume) (string, error) {
	dir := filepath.Join(bundleDir, filesDir, v.Name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	target := filepath.Join(dir, bundle.FileInVolume)
	if err := os.WriteFile(target, nil, 0o600); err != nil {
		return "", err
	}
	if err := unix.Mount(v.Source, target, "", unix.MS_BIND, ""); err != nil {
		return "", fmt.Errorf("bind mount %s: %w", v.Source, err)
	}
	return dir, nil
}

// Unmount undoes the mounts of a bundle, also those of a shim that was killed.
func Unmount(bundleDir string) error {
	return errors.Join(
		mount.UnmountRecursive(filepath.Join(bundleDir, "rootfs"), unix.MNT_DETACH),
		mount.UnmountRecursive(filepath.Join(bundleDir, filesDir), unix.MNT_DETACH),
	)
}
