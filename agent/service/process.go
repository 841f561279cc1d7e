// SPDX-License-Identifier: Apache-2.0

package service

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	runc "github.com/containerd/go-runc"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// process is the first process of a container or an added one.
type process struct {
	exec    string         // empty for the first one
	spec    *specs.Process // of an added one
	streams *streams
	exited  chan struct{} // closed after the fields of the exit are set

	mu      sync.Mutex
	pid     int // 0 until it has been made
	started bool

	// Of the exit.
	status         int
	at             time.Time
	stdout, stderr uint64
}

func newProcess(exec string, s *streams) *process {
	return &process{exec: exec, streams: s, exited: make(chan struct{})}
}

// made is called when the process exists.
// ended is called at its end, before that is told to anybody.
func (p *process) made(pid int, exit <-chan runc.Exit, ended func()) {
	p.mu.Lock()
	p.pid = pid
	p.mu.Unlock()
	go func() {
		e := <-exit
		ended()
		stdout, stderr := p.streams.written()
		p.mu.Lock()
		p.status, p.at = e.Status, e.Timestamp
		p.stdout, p.stderr = stdout, stderr
		p.mu.Unlock()
		close(p.exited)
	}()
}

func (p *process) hasExited() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// kill sends a signal. The number cannot be another process's: it is reaped by
// this program only, after which exited is closed or about to be.
func (p *process) kill(signal unix.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pid == 0 {
		return fmt.Errorf("process %q has not been started: %w", p.exec, errdefs.ErrFailedPrecondition)
	}
	if p.hasExited() {
		return unix.ESRCH
	}
	return unix.Kill(p.pid, signal)
}

// removable says why a process cannot be deleted yet.
func (p *process) removable() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.started && !p.hasExited() {
		return errors.New("the process is running")
	}
	return nil
}
