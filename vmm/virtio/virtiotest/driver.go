// SPDX-License-Identifier: Apache-2.0

// Package virtiotest is the driver side of virtqueues, for tests of devices
// without a guest.
package virtiotest

import (
	"encoding/binary"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/paracell/paracell/vmm/memory"
	"github.com/paracell/paracell/vmm/virtio"
)

// Timeout bounds every wait for a device.
const Timeout = 10 * time.Second

// Machine is guest memory and a bump allocator in it.
type Machine struct {
	Mem  *memory.Memory
	next uint64
}

// NewMachine returns a machine with size bytes of memory, freed with the test.
func NewMachine(t testing.TB, size uint64) *Machine {
	t.Helper()
	mem, err := memory.New("virtiotest", size, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mem.Close() })
	// GPA 0 is left out, so that a forgotten address is noticed.
	return &Machine{Mem: mem, next: memory.PageSize}
}

// Alloc reserves n bytes at a multiple of 4096 and returns their GPA.
func (m *Machine) Alloc(t testing.TB, n uint64) uint64 {
	t.Helper()
	gpa := m.next
	m.next += (n + memory.PageSize - 1) &^ (memory.PageSize - 1)
	if m.next > m.Mem.Size() {
		t.Fatalf("the test needs more than %d bytes of guest memory", m.Mem.Size())
	}
	return gpa
}

// Queue is the driver side of one virtqueue. Methods may be called by one
// goroutine at a time.
type Queue struct {
	Layout virtio.QueueLayout
	Device *virtio.Queue

	m        *Machine
	t        testing.TB
	free     []uint16
	chains   map[uint16]chain
	avail    uint16
	lastUsed uint16
	irq      virtio.Bell

	mu  sync.Mutex
	err error
}

type chain struct {
	descs    []uint16
	writable []region
}

type region struct{ gpa, n uint64 }

// NewQueue makes a queue of size entries in m, with both of its ends.
func NewQueue(t testing.TB, m *Machine, size int, features uint64) *Queue {
	t.Helper()
	n := uint64(size)
	q := &Queue{
		m: m, t: t, chains: map[uint16]chain{}, irq: virtio.NewBell(),
		Layout: virtio.QueueLayout{
			Size: size, Desc: m.Alloc(t, 16*n), Driver: m.Alloc(t, 6+2*n), Device: m.Alloc(t, 6+8*n),
		},
	}
	for i := range size {
		q.free = append(q.free, uint16(size-1-i))
	}
	dev, err := virtio.NewQueue(m.Mem, q.Layout, virtio.QueueOptions{
		Name: "test queue", MaxSize: size, Features: features, Interrupt: q.irq.Ring,
		Fail: func(err error) {
			q.mu.Lock()
			q.err = errors.Join(q.err, err)
			q.mu.Unlock()
			q.irq.Ring()
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	q.Device = dev
	return q
}

// Err is what the device side has reported about the queue.
func (q *Queue) Err() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err
}

// Room says whether a chain of n parts can be added now.
func (q *Queue) Room(n int) bool { return len(q.free) >= n }

// Add offers a chain: parts to be read, with these contents, then parts to be
// written, of these sizes. It returns the head.
func (q *Queue) Add(readable [][]byte, writable ...int) uint16 {
	q.t.Helper()
	n := len(readable) + len(writable)
	if n == 0 || len(q.free) < n {
		q.t.Fatalf("a chain of %d parts, with %d free descriptors", n, len(q.free))
	}
	descs := append([]uint16(nil), q.free[len(q.free)-n:]...)
	q.free = q.free[:len(q.free)-n]
	c := chain{descs: descs}
	for i, d := range descs {
		var gpa, size uint64
		var flags uint16
		if i < len(readable) {
			size = uint64(len(readable[i]))
			gpa = q.m.Alloc(q.t, size)
			q.must(q.m.Mem.Write(gpa, readable[i]))
		} else {
			size = uint64(writable[i-len(readable)])
			gpa = q.m.Alloc(q.t, size)
			flags = 2
			c.writable = append(c.writable, region{gpa, size})
		}
		var next uint16
		if i+1 < n {
			flags |= 1
			next = descs[i+1]
		}
		q.SetDesc(d, gpa, uint32(size), flags, next)
	}
	q.chains[descs[0]] = c
	q.Offer(descs[0])
	return descs[0]
}

// SetDesc writes one descriptor as it is.
func (q *Queue) SetDesc(i uint16, gpa uint64, size uint32, flags, next uint16) {
	q.t.Helper()
	q.must(q.m.Mem.Write(q.Layout.Desc+16*uint64(i), Desc(gpa, size, flags, next)))
}

// Desc encodes a descriptor.
func Desc(gpa uint64, size uint32, flags, next uint16) []byte {
	d := binary.LittleEndian.AppendUint64(nil, gpa)
	d = binary.LittleEndian.AppendUint32(d, size)
	d = binary.LittleEndian.AppendUint16(d, flags)
	return binary.LittleEndian.AppendUint16(d, next)
}

// Offer puts a head into the available ring, whatever it is.
func (q *Queue) Offer(head uint16) {
	q.t.Helper()
	slot := uint64(q.avail) % uint64(q.Layout.Size)
	q.must(q.m.Mem.StoreUint16(q.Layout.Driver+4+2*slot, head))
	q.avail++
	q.must(q.m.Mem.StoreUint16(q.Layout.Driver+2, q.avail))
}

// SetAvailIndex writes the index of the available ring.
func (q *Queue) SetAvailIndex(i uint16) {
	q.t.Helper()
	q.must(q.m.Mem.StoreUint16(q.Layout.Driver+2, i))
}

// SetUsedEvent asks for an interrupt when the used index passes i.
func (q *Queue) SetUsedEvent(i uint16) {
	q.t.Helper()
	q.must(q.m.Mem.StoreUint16(q.Layout.Driver+4+2*uint64(q.Layout.Size), i))
}

// Poll takes the next used chain, and returns its head and what the device has
// written to it.
func (q *Queue) Poll() (head uint16, data []byte, ok bool) {
	q.t.Helper()
	if q.usedIndex() == q.lastUsed {
		// As drivers do before they sleep: ask for an interrupt, look again.
		q.SetUsedEvent(q.lastUsed)
		if q.usedIndex() == q.lastUsed {
			return 0, nil, false
		}
	}
	entry := q.Layout.Device + 4 + 8*(uint64(q.lastUsed)%uint64(q.Layout.Size))
	id, err := q.m.Mem.LoadUint32(entry)
	q.must(err)
	n, err := q.m.Mem.LoadUint32(entry + 4)
	q.must(err)
	q.lastUsed++
	c, known := q.chains[uint16(id)]
	if !known {
		q.t.Fatalf("used chain %d was not offered", id)
	}
	delete(q.chains, uint16(id))
	q.free = append(q.free, c.descs...)
	left := uint64(n)
	for _, w := range c.writable {
		part, err := q.m.Mem.Slice(w.gpa, min(left, w.n))
		q.must(err)
		data = append(data, part...)
		left -= uint64(len(part))
	}
	if left != 0 {
		q.t.Fatalf("the device says that it wrote %d bytes, %d more than fit", n, left)
	}
	return uint16(id), data, true
}

func (q *Queue) usedIndex() uint16 {
	q.t.Helper()
	idx, err := q.m.Mem.LoadUint16(q.Layout.Device + 2)
	q.must(err)
	return idx
}

// Wait is Poll for the next used chain to come.
func (q *Queue) Wait() (head uint16, data []byte) {
	q.t.Helper()
	deadline := time.After(Timeout)
	for {
		if head, data, ok := q.Poll(); ok {
			return head, data
		}
		if err := q.Err(); err != nil {
			q.t.Fatal(err)
		}
		select {
		case <-q.irq:
		case <-deadline:
			q.t.Fatal("the device does not answer")
		}
	}
}

// WaitError waits until the device side has given up the queue.
func (q *Queue) WaitError() error {
	q.t.Helper()
	deadline := time.After(Timeout)
	for {
		if err := q.Err(); err != nil {
			return err
		}
		select {
		case <-q.irq:
		case <-deadline:
			q.t.Fatal("the device does not notice")
		}
	}
}

func (q *Queue) must(err error) {
	q.t.Helper()
	if err != nil {
		q.t.Fatal(err)
	}
}

// Reusable prepares one chain that Again offers over and over, without the
// costs of Add and Wait, for benchmarks.
func (q *Queue) Reusable(readable []byte, writable ...int) {
	q.t.Helper()
	q.free = nil
	gpa := q.m.Alloc(q.t, uint64(len(readable)))
	q.must(q.m.Mem.Write(gpa, readable))
	last := uint16(len(writable))
	q.SetDesc(0, gpa, uint32(len(readable)), 1, 1)
	for i, n := range writable {
		flags := uint16(2 | 1)
		if uint16(i+1) == last {
			flags = 2
		}
		q.SetDesc(uint16(i+1), q.m.Alloc(q.t, uint64(n)), uint32(n), flags, uint16(i+2))
	}
}

// Again offers the chain of Reusable.
func (q *Queue) Again() { q.Offer(0) }

// Done says whether the device has given back all that was offered.
func (q *Queue) Done() bool { return q.usedIndex() == q.avail }

// Start activates a device with queues of its maximum sizes and all the ring
// features, and closes it with the test.
func Start(t testing.TB, m *Machine, d virtio.Device) []*Queue {
	t.Helper()
	features := d.Features() | virtio.RingFeatures
	var queues []*Queue
	var ends []*virtio.Queue
	for _, size := range d.QueueSizes() {
		q := NewQueue(t, m, size, features)
		queues = append(queues, q)
		ends = append(ends, q.Device)
	}
	if err := d.Activate(features, ends); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return queues
}
