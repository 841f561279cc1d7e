// SPDX-License-Identifier: Apache-2.0

package task

import (
	"sync"
	"time"

	"github.com/containerd/containerd/api/types/task"

	agent "github.com/paracell/paracell/protos/agent/v1"
	"github.com/paracell/paracell/shim/stdio"
)

// process is the first process of a container (exec is empty) or an added one.
type process struct {
	c    *container
	exec string
	io   *stdio.IO

	// life is held while the process is started and while its exit is
	// recorded: the exit of a process that ends at once comes after its start.
	life sync.Mutex

	mu     sync.Mutex
	status task.Status
	code   uint32
	at     time.Time
	exited chan struct{} // closed with the exit
}

func newProcess(c *container, exec string, io *stdio.IO) *process {
	return &process{c: c, exec: exec, io: io, status: task.Status_CREATED, exited: make(chan struct{})}
}

func (p *process) request() *agent.ProcessRequest {
	return &agent.ProcessRequest{Container: p.c.id, Exec: p.exec}
}

// state returns what State and others report.
func (p *process) state() (status task.Status, code uint32, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status, p.code, p.at
}

func (p *process) set(s task.Status) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.status != task.Status_STOPPED {
		p.status = s
	}
}

// setExit records the exit, once.
func (p *process) setExit(code uint32, at time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.status == task.Status_STOPPED {
		return false
	}
	p.status, p.code, p.at = task.Status_STOPPED, code, at
	close(p.exited)
	return true
}

// container is a container of the cell.
type container struct {
	id     string
	bundle string // directory
	first  *process

	mu    sync.Mutex
	execs map[string]*process
}

func (c *container) added() []*process {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []*process
	for _, p := range c.execs {
		list = append(list, p)
	}
	return list
}
