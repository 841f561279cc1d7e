// SPDX-License-Identifier: Apache-2.0

package virtio

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/paracell/paracell/vmm/memory"
)

// Limits on what a driver may ask for.
const (
	MaxQueueSize = 32768
	// MaxChainLen bounds the descriptors of one chain, the entries of an
	// indirect table included.
	MaxChainLen = 1024
	// MaxChainBytes bounds the bytes of one chain.
	MaxChainBytes = 64 << 20
)

// Ring format (virtio 1.2, section 2.7).
const (
	descSize = 16

	descNext     = 1
	descWrite    = 2
	descIndirect = 4

	availNoInterrupt = 1
	usedNoNotify     = 1
)

// QueueLayout is where a driver has put a queue.
type QueueLayout struct {
	Size   int    // entries, a power of two
	Desc   uint64 // GPA of the descriptor table
	Driver uint64 // GPA of the available ring
	Device uint64 // GPA of the used ring
}

// Queue is the device side of one split virtqueue.
//
// Pop and EnableNotify belong to one goroutine at a time; Push and Signal may
// be called by many. Lock order: none, the lock is a leaf.
type Queue struct {
	name      string
	mem       *memory.Memory
	size      uint16
	desc      uint64
	avail     uint64
	used      uint64
	eventIdx  bool
	indirect  bool
	interrupt func()
	fail      func(error)

	next uint16 // next index of the available ring to take

	broken atomic.Bool

	mu       sync.Mutex
	inFlight []uint64 // bitmap of heads popped and not pushed
	usedIdx  uint16
	signaled uint16 // usedIdx at the last Signal
}

// Chain is one buffer of the driver: first the parts that the device reads,
// then those it may write. The slices are guest memory.
type Chain struct {
	Head     uint16
	Readable [][]byte
	Writable [][]byte
}

// QueueOptions are the parts of a queue that do not come from the driver.
type QueueOptions struct {
	Name      string // of device and queue, for errors
	MaxSize   int
	Features  uint64      // accepted by the driver
	Interrupt func()      // tells the driver about used buffers
	Fail      func(error) // is told once, with a *QueueError, when the queue breaks
}

// NewQueue checks the layout that a driver has chosen. Alignment is as in
// virtio 1.2, 2.7.
func NewQueue(mem *memory.Memory, l QueueLayout, o QueueOptions) (*Queue, error) {
	bad := func(format string, args ...any) (*Queue, error) {
		return nil, &QueueError{Queue: o.Name, Reason: fmt.Sprintf(format, args...)}
	}
	if l.Size < 1 || l.Size > min(o.MaxSize, MaxQueueSize) || bits.OnesCount(uint(l.Size)) != 1 {
		return bad("size %d is not a power of two up to %d", l.Size, o.MaxSize)
	}
	n := uint64(l.Size)
	for _, part := range []struct {
		what            string
		gpa, len, align uint64
	}{
		{"descriptor table", l.Desc, n * descSize, descSize},
		{"available ring", l.Driver, 6 + 2*n, 2},
		{"used ring", l.Device, 6 + 8*n, 4},
	} {
		if part.gpa%part.align != 0 {
			return bad("%s at %#x is not aligned to %d", part.what, part.gpa, part.align)
		}
		if err := mem.Check(part.gpa, part.len); err != nil {
			return bad("%s: %v", part.what, err)
		}
	}
	return &Queue{
		name: o.Name, mem: mem, size: uint16(l.Size),
		desc: l.Desc, avail: l.Driver, used: l.Device,
		eventIdx:  o.Features&FeatureEventIdx != 0,
		indirect:  o.Features&FeatureIndirectDesc != 0,
		interrupt: o.Interrupt, fail: o.Fail,
		inFlight: make([]uint64, (l.Size+63)/64),
	}, nil
}

// Size is the number of entries, which is also the most chains in flight.
func (q *Queue) Size() int { return int(q.size) }

// Broken says that the queue is out of use.
func (q *Queue) Broken() bool { return q.broken.Load() }

// Break takes the queue out of use because of what its driver did. Devices
// call it for requests that no driver would send.
func (q *Queue) Break(format string, args ...any) {
	if q.broken.Swap(true) {
		return
	}
	if q.fail != nil {
		q.fail(&QueueError{Queue: q.name, Reason: fmt.Sprintf(format, args...)})
	}
}

// Pop takes the next chain of the driver into c, whose slices are reused. It
// returns false when there is none and when the queue is broken.
func (q *Queue) Pop(c *Chain) bool {
	if q.broken.Load() {
		return false
	}
	idx, ok := q.load16(q.avail + 2)
	if !ok {
		return false
	}
	ready := idx - q.next
	if ready == 0 {
		return false
	}
	if ready > q.size {
		q.Break("available index went from %d to %d in a ring of %d", q.next, idx, q.size)
		return false
	}
	head, ok := q.load16(q.avail + 4 + 2*uint64(q.next&(q.size-1)))
	if !ok {
		return false
	}
	if head >= q.size {
		q.Break("head %d in a ring of %d", head, q.size)
		return false
	}
	if !q.take(head) {
		q.Break("head %d is offered twice", head)
		return false
	}
	q.next++
	if reason := q.walk(head, c); reason != "" {
		q.Break("chain %d: %s", head, reason)
		return false
	}
	return true
}

// take marks head as in flight.
func (q *Queue) take(head uint16) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	word, bit := &q.inFlight[head/64], uint64(1)<<(head%64)
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	return true
}

// walk collects the chain at head; it returns what is wrong with it, or "".
func (q *Queue) walk(head uint16, c *Chain) string {
	c.Head = head
	c.Readable, c.Writable = c.Readable[:0], c.Writable[:0]

	var (
		table    = q.desc
		entries  = uint64(q.size)
		index    = uint64(head)
		indirect = false
		seen     uint64
		total    uint64
		raw      [descSize]byte
	)
	// A loop visits more entries than its table has, so counting finds it.
	for left := entries; ; left-- {
		if left == 0 {
			return "it loops"
		}
		if seen++; seen > MaxChainLen {
			return fmt.Sprintf("it has more than %d descriptors", MaxChainLen)
		}
		if err := q.mem.Read(table+index*descSize, raw[:]); err != nil {
			return err.Error()
		}
		var (
			addr  = binary.LittleEndian.Uint64(raw[0:])
			size  = uint64(binary.LittleEndian.Uint32(raw[8:]))
			flags = binary.LittleEndian.Uint16(raw[12:])
			next  = uint64(binary.LittleEndian.Uint16(raw[14:]))
		)
		if flags&descIndirect != 0 {
			switch {
			case !q.indirect:
				return "indirect table without the feature"
			case indirect:
				return "indirect table inside an indirect table"
			case flags&descNext != 0:
				return "descriptor that is indirect and has a next one"
			case size == 0 || size%descSize != 0 || size/descSize > MaxChainLen:
				return fmt.Sprintf("indirect table of %d bytes", size)
			}
			if err := q.mem.Check(addr, size); err != nil {
				return "indirect table: " + err.Error()
			}
			indirect = true
			table, entries, index = addr, size/descSize, 0
			left = entries + 1
			continue
		}
		buf, err := q.mem.Slice(addr, size)
		if err != nil {
			return fmt.Sprintf("descriptor %d: %v", index, err)
		}
		if total += size; total > MaxChainBytes {
			return fmt.Sprintf("it has more than %d bytes", MaxChainBytes)
		}
		switch {
		case size == 0:
			// Legal, and of no use to anybody.
		case flags&descWrite != 0:
			c.Writable = append(c.Writable, buf)
		case len(c.Writable) > 0:
			return fmt.Sprintf("descriptor %d is to be read but follows one to be written", index)
		default:
			c.Readable = append(c.Readable, buf)
		}
		if flags&descNext == 0 {
			return ""
		}
		if next >= entries {
			return fmt.Sprintf("descriptor %d has next %d in a table of %d", index, next, entries)
		}
		index = next
	}
}

// Used is a chain that is given back, with the number of bytes that the device
// has written to it.
type Used struct {
	Head    uint16
	Written int
}

// Push gives a popped chain back, with the number of bytes that the device
// has written to it. The driver is told by the next Signal.
func (q *Queue) Push(head uint16, written int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.broken.Load() {
		return
	}
	if q.putLocked(Used{head, written}) {
		q.mem.StoreUint16(q.used+2, q.usedIdx)
	}
}

// PushAll is Push for chains that belong together: the driver sees all of them
// or none.
func (q *Queue) PushAll(chains []Used) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.broken.Load() {
		return
	}
	for _, c := range chains {
		if !q.putLocked(c) {
			return
		}
	}
	q.mem.StoreUint16(q.used+2, q.usedIdx)
}

// putLocked writes an entry that the driver does not see yet.
func (q *Queue) putLocked(c Used) bool {
	word, bit := &q.inFlight[c.Head/64], uint64(1)<<(c.Head%64)
	*word &^= bit

	entry := q.used + 4 + 8*uint64(q.usedIdx&(q.size-1))
	// The ring was checked by NewQueue: errors can only mean closed memory.
	if q.mem.StoreUint32(entry, uint32(c.Head)) != nil || q.mem.StoreUint32(entry+4, uint32(c.Written)) != nil {
		return false
	}
	q.usedIdx++
	return true
}

// Signal interrupts the driver if it wants to hear about the buffers pushed
// since the last Signal.
func (q *Queue) Signal() {
	if q.signalWanted() && q.interrupt != nil {
		q.interrupt()
	}
}

func (q *Queue) signalWanted() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.broken.Load() || q.usedIdx == q.signaled {
		return false
	}
	from := q.signaled
	q.signaled = q.usedIdx
	// The store of the index in Push is a locked operation and so comes
	// before these loads; the driver does the reverse.
	if q.eventIdx {
		event, ok := q.load16(q.avail + 4 + 2*uint64(q.size))
		return ok && crossed(event, from, q.usedIdx)
	}
	flags, ok := q.load16(q.avail)
	return ok && flags&availNoInterrupt == 0
}

// crossed says whether event lies in [from, to), modulo 2^16.
func crossed(event, from, to uint16) bool { return to-event-1 < to-from }

// DisableNotify tells the driver that the device is looking anyway. It is a
// hint: kicks can still come.
func (q *Queue) DisableNotify() {
	// With event indices the old index, which lies behind, does the same.
	if !q.eventIdx && !q.broken.Load() {
		q.mem.StoreUint16(q.used, usedNoNotify)
	}
}

// EnableNotify asks for a kick with the next buffer. It returns true when
// there is one already: then Pop has to be called again.
func (q *Queue) EnableNotify() bool {
	if q.broken.Load() {
		return false
	}
	var err error
	if q.eventIdx {
		err = q.mem.StoreUint16(q.used+4+8*uint64(q.size), q.next)
	} else {
		err = q.mem.StoreUint16(q.used, 0)
	}
	if err != nil {
		return false
	}
	idx, ok := q.load16(q.avail + 2)
	return ok && idx != q.next
}

// load16 reads a word of the rings, which NewQueue has checked.
func (q *Queue) load16(gpa uint64) (uint16, bool) {
	v, err := q.mem.LoadUint16(gpa)
	return v, err == nil
}
