// SPDX-License-Identifier: Apache-2.0

package task

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/api/types/task"

	agent "github.com/paracell/paracell/protos/agent/v1"
	"github.com/paracell/paracell/runtime/bundle"
	"github.com/paracell/paracell/shim/record"
	"github.com/paracell/paracell/shim/stdio"
)

// process is the first process of a container (exec is empty) or an added one.
type process struct {
	c    *container
	exec string
	io   *stdio.IO

	// killed: it has got KILL. insisted: somebody sees to it that it ends.
	killed, insisted atomic.Bool

	// deleting is held while the process is being deleted, which happens once.
	deleting sync.Mutex

	// life is held while the process is started, paused or resumed and while
	// its exit is recorded, each with its event: the exit of a process that
	// ends at once comes after its start.
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

// id is what events call the process.
func (p *process) id() string {
	if p.exec == "" {
		return p.c.id
	}
	return p.exec
}

// state returns what State and others report.
func (p *process) state() (status task.Status, code uint32, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status, p.code, p.at
}

func (p *process) is(s task.Status) bool {
	status, _, _ := p.state()
	return status == s
}

// settled is the status when nobody is changing it.
func (p *process) settled() task.Status {
	p.life.Lock()
	defer p.life.Unlock()
	status, _, _ := p.state()
	return status
}

func (p *process) set(s task.Status) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.status != task.Status_STOPPED {
		p.status = s
	}
}

// setExit records the exit, once, and calls announce, which may be nil, before
// anybody can know: who knows may end the shim.
func (p *process) setExit(code uint32, at time.Time, announce func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.status == task.Status_STOPPED {
		return
	}
	p.status, p.code, p.at = task.Status_STOPPED, code, at
	if announce != nil {
		announce()
	}
	close(p.exited)
}

// container is a container of the cell.
type container struct {
	id     string
	bundle string // directory
	spec   *bundle.Bundle
	box    Box
	first  *process
	guest  uint32 // number of the first process in the guest
	// record is written before the container is known and then with its exit.
	record record.Record

	mu     sync.Mutex
	ending bool                // the first process has ended: no other is started
	execs  map[string]*process // nil while one is being added
}

func (c *container) added() []*process {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []*process
	for _, p := range c.execs {
		if p != nil {
			list = append(list, p)
		}
	}
	return list
}

// end keeps processes from being started.
func (c *container) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ending = true
}

func (c *container) isEnding() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ending
}

// pid is the process of the host that stands for all of a cell: numbers of the
// guest would name strangers.
func (c *container) pid() uint32 { return uint32(c.box.Pid()) }
