// SPDX-License-Identifier: Apache-2.0

package passthrough

import (
	"container/list"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// desc is a descriptor that is closed when its last user has put it.
type desc struct {
	fd   int
	refs atomic.Int32

	// pos is the position of a directory stream; guarded by inode.dirMu.
	pos int64
}

func newDesc(fd int) *desc {
	d := &desc{fd: fd}
	d.refs.Store(1)
	return d
}

func (d *desc) put() {
	if d.refs.Add(-1) == 0 {
		unix.Close(d.fd)
	}
}

// slot is a purpose for which an inode can have a descriptor in the cache.
type slot int

const (
	slotPath  slot = iota // O_PATH
	slotRead              // O_RDONLY, regular files
	slotWrite             // O_RDWR
	slotDir               // O_RDONLY, directories
	numSlots
)

// descCache keeps descriptors of inodes and closes those not used for longest.
type descCache struct {
	max int

	mu     sync.Mutex
	lru    list.List // of *cached, most recent first; without pinned ones
	pinned int       // pinned descriptors and open handles
}

type cached struct {
	n    *inode
	slot slot
	d    *desc
	elem *list.Element // nil while pinned
}

func newDescCache(max int) *descCache { return &descCache{max: max} }

// get returns the first of the wanted descriptors that n has, or nil. The
// caller puts it.
func (c *descCache) get(n *inode, want ...slot) *desc {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range want {
		if s == slotPath && n.rootDesc != nil {
			n.rootDesc.refs.Add(1)
			return n.rootDesc
		}
		if e := n.cached[s]; e != nil {
			if e.elem != nil {
				c.lru.MoveToFront(e.elem)
			}
			e.d.refs.Add(1)
			return e.d
		}
	}
	return nil
}

// add puts fd into a slot of n and returns its descriptor, which the caller
// puts. If another goroutine was faster, fd is closed and the other's is used.
func (c *descCache) add(n *inode, s slot, fd int) *desc {
	c.mu.Lock()
	if e := n.cached[s]; e != nil {
		e.d.refs.Add(1)
		c.mu.Unlock()
		unix.Close(fd)
		return e.d
	}
	d := newDesc(fd)
	d.refs.Add(1)
	var drop []*desc
	if n.forgotten {
		// Nobody will ask for it again.
		drop = append(drop, d)
	} else {
		e := &cached{n: n, slot: s, d: d}
		n.cached[s] = e
		if n.pinned && s != slotDir {
			c.pinned++
		} else {
			e.elem = c.lru.PushFront(e)
		}
		for c.lru.Len() > c.max {
			drop = append(drop, c.removeLocked(c.lru.Back().Value.(*cached)))
		}
	}
	c.mu.Unlock()
	for _, d := range drop {
		d.put()
	}
	return d
}

func (c *descCache) removeLocked(e *cached) *desc {
	if e.elem != nil {
		c.lru.Remove(e.elem)
	} else {
		c.pinned--
	}
	e.n.cached[e.slot] = nil
	return e.d
}

// drop empties a slot of n.
func (c *descCache) drop(n *inode, s slot) {
	c.mu.Lock()
	e := n.cached[s]
	if e == nil {
		c.mu.Unlock()
		return
	}
	d := c.removeLocked(e)
	c.mu.Unlock()
	d.put()
}

// pin keeps the descriptors of n, which has lost its name, until forget. It
// returns false when too much is pinned already.
func (c *descCache) pin(n *inode) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n.pinned {
		return true
	}
	if c.pinned >= c.max {
		return false
	}
	n.pinned = true
	for _, e := range n.cached {
		if e != nil && e.elem != nil && e.slot != slotDir {
			c.lru.Remove(e.elem)
			e.elem = nil
			c.pinned++
		}
	}
	return true
}

// reserve counts an open handle against the same limit as pinned descriptors.
func (c *descCache) reserve() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pinned >= c.max {
		return false
	}
	c.pinned++
	return true
}

func (c *descCache) unreserve() {
	c.mu.Lock()
	c.pinned--
	c.mu.Unlock()
}

// forget drops everything that n has, for good.
func (c *descCache) forget(n *inode) {
	c.mu.Lock()
	n.forgotten = true
	var drop []*desc
	for _, e := range n.cached {
		if e != nil {
			drop = append(drop, c.removeLocked(e))
		}
	}
	if n.rootDesc != nil {
		drop = append(drop, n.rootDesc)
		n.rootDesc = nil
	}
	c.mu.Unlock()
	for _, d := range drop {
		d.put()
	}
}
