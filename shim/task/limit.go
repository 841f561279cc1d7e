// SPDX-License-Identifier: Apache-2.0

package task

import (
	"sync"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/paracell/paracell/runtime/config"
)

// cellLimit is the memory, in bytes, that the containers of a cell may use
// together: what is bound on the host follows it. 0 is no limit.
type cellLimit struct {
	mu    sync.Mutex
	cell  config.Cell
	total uint64
	alone bool              // the first container stands for all, and is no pod's
	of    map[string]uint64 // of single containers
}

// boot is called with the cell before it is there, and the limit that it was made
// for.
func (l *cellLimit) boot(c config.Cell, limit uint64, pod bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cell, l.total, l.alone, l.of = c, limit, !pod, map[string]uint64{}
}

// add is called with every container that is made in it.
func (l *cellLimit) add(id string, s *specs.Spec) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of == nil {
		return
	}
	var r *specs.LinuxResources
	if s != nil && s.Linux != nil {
		r = s.Linux.Resources
	}
	l.of[id], _ = memoryOf(r)
}

// remove is called when it is gone. The limit of a pod is not that of those who
// are in it at a moment.
func (l *cellLimit) remove(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.of, id)
}

// update takes new limits of one container; false if they do not change that of
// the cell, else what the cell may have bound.
func (l *cellLimit) update(id string, r *specs.LinuxResources) (uint64, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	limit, given := memoryOf(r)
	before, known := l.of[id]
	if !given || !known {
		return 0, false
	}
	l.of[id] = limit
	switch {
	case l.alone && len(l.of) == 1:
		l.total = limit
	case l.total == 0 || limit == 0 || before == 0 || before > l.total:
		return 0, false // the others have none, or the pod has its own
	default:
		l.total += limit - before
	}
	return l.cell.Bound(l.total), true
}

// memoryOf is a limit of memory, if there is one to be set.
func memoryOf(r *specs.LinuxResources) (limit uint64, given bool) {
	if r == nil || r.Memory == nil || r.Memory.Limit == nil {
		return 0, false
	}
	return uint64(max(*r.Memory.Limit, 0)), true // below zero is none
}
