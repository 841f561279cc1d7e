// SPDX-License-Identifier: Apache-2.0

package virtio_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/paracell/paracell/vmm/virtio"
	"github.com/paracell/paracell/vmm/virtio/virtiotest"
)

const noFeatures = virtio.FeatureVersion1

func flat(parts [][]byte) []byte { return bytes.Join(parts, nil) }

func TestQueueCarriesBuffers(t *testing.T) {
	for _, features := range []uint64{noFeatures, virtio.RingFeatures} {
		m := virtiotest.NewMachine(t, 64<<20)
		q := virtiotest.NewQueue(t, m, 8, features)
		var c virtio.Chain
		// More rounds than 2^16, so that indices wrap, would need a smaller
		// allocator; the wrap has a test of its own.
		for round := range 100 {
			want := bytes.Repeat([]byte{byte(round)}, 1+round)
			head := q.Add([][]byte{want[:1], want[1:]}, 10, 20)
			if !q.Device.Pop(&c) || c.Head != head {
				t.Fatalf("round %d: chain %d did not arrive: %v", round, head, q.Err())
			}
			if got := flat(c.Readable); !bytes.Equal(got, want) {
				t.Fatalf("round %d: read %d bytes, want %d", round, len(got), len(want))
			}
			if q.Device.Pop(&c) {
				t.Fatal("a chain that was not offered")
			}
			n := virtio.CopyOut(c.Writable, bytes.Repeat([]byte{7}, 25))
			q.Device.Push(head, n)
			q.Device.Signal()
			if got, data := q.Wait(); got != head || len(data) != 25 {
				t.Fatalf("round %d: used chain %d with %d bytes, want %d with 25", round, got, len(data), head)
			}
		}
	}
}

// Chains that belong together become visible together.
func TestPushAll(t *testing.T) {
	m := virtiotest.NewMachine(t, 1<<20)
	q := virtiotest.NewQueue(t, m, 8, noFeatures)
	var used []virtio.Used
	var c virtio.Chain
	for i := range 3 {
		q.Add(nil, 10)
		if !q.Device.Pop(&c) {
			t.Fatal(q.Err())
		}
		used = append(used, virtio.Used{Head: c.Head, Written: i})
	}
	q.Device.PushAll(used)
	q.Device.Signal()
	for i, want := range used {
		if head, data := q.Wait(); head != want.Head || len(data) != want.Written {
			t.Errorf("chain %d: head %d with %d bytes, want %+v", i, head, len(data), want)
		}
	}
}

func TestQueueIndexWraps(t *testing.T) {
	m := virtiotest.NewMachine(t, 1<<20)
	q := virtiotest.NewQueue(t, m, 2, noFeatures)
	buf := m.Alloc(t, 64)
	q.SetDesc(0, buf, 64, 2, 0)
	var c virtio.Chain
	for i := range 70000 {
		q.Offer(0)
		if !q.Device.Pop(&c) {
			t.Fatalf("chain %d did not arrive: %v", i, q.Err())
		}
		q.Device.Push(0, 0)
	}
}

func TestIndirectTable(t *testing.T) {
	m := virtiotest.NewMachine(t, 1<<20)
	q := virtiotest.NewQueue(t, m, 4, virtio.RingFeatures)
	buf, table := m.Alloc(t, 4096), m.Alloc(t, 4096)
	var descs []byte
	const n = 100
	for i := range n {
		flags := uint16(1)
		if i == n-1 {
			flags = 2
		}
		descs = append(descs, virtiotest.Desc(buf+uint64(i), 1, flags, uint16(i+1))...)
	}
	if err := m.Mem.Write(table, descs); err != nil {
		t.Fatal(err)
	}
	q.SetDesc(3, table, uint32(len(descs)), 4, 0)
	q.Offer(3)
	var c virtio.Chain
	if !q.Device.Pop(&c) || len(c.Readable) != n-1 || len(c.Writable) != 1 {
		t.Fatalf("got %d + %d parts, want %d + 1: %v", len(c.Readable), len(c.Writable), n-1, q.Err())
	}
}

// Each case is one thing that a driver must not do.
func TestHostileDriver(t *testing.T) {
	const size = 8
	for _, tc := range []struct {
		name     string
		features uint64
		do       func(m *virtiotest.Machine, q *virtiotest.Queue)
		want     string
	}{
		{"index too far", noFeatures, func(m *virtiotest.Machine, q *virtiotest.Queue) {
			q.SetAvailIndex(size + 1)
		}, "available index"},
		{"index backwards", noFeatures, func(m *virtiotest.Machine, q *virtiotest.Queue) {
			q.SetAvailIndex(0xffff)
		}, "available index"},
		{"head outside", noFeatures, func(m *virtiotest.Machine, q *virtiotest.Queue) {
			q.Offer(size)
		}, "head 8 in a ring of 8"},
		{"head twice", noFeatures, func(m *virtiotest.Machine, q *virtiotest.Queue) {
			q.SetDesc(1, 4096, 1, 0, 0)
			q.Offer(1)
			q.Offer(1)
		}, "offered twice"},
		{"self loop", noFeatures, func(m *virtiotest.Machine, q *virtiotest.Queue) {
			q.SetDesc(1, 4096, 1, 1, 1)
			q.Offer(1)
		}, "loops"},
		{"loop of three", noFeatures, func(m *virtiotest.Machine, q *virtiotest.Queue) {
			q.SetDesc(0, 4096, 1, 1, 1)
			q.SetDesc(1, 4096, 1, 1, 2)
			q.SetDesc(2, 4096, 1, 1, 0)
			q.Offer(0)
		}, "loops"},
		{"next outside", noFeatures, func(m *virtiotest.Machine, q *virtiotest.Queue) {
			q.SetDesc(0, 4096, 1, 1, size)
			q.Offer(0)
		}, "next 8 in a table of 8"},
		{"buffer outside", noFeatures, func(m *virtiotest.Machine, q *virtiotest.Queue) {
			q.SetDesc(0, m.Mem.Size()-1, 2, 0, 0)
			q.Offer(0)
		}, "outside guest memory"},
		{"buffer wraps", noFeatures, func(m *virtiotest.Machine, q *virtiotest.Queue) {
			q.SetDesc(0, ^uint64(0), 2, 0, 0)
			q.Offer(0)
		}, "outside guest memory"},
		{"read after write", noFeatures, func(m *virtiotest.Machine, q *virtiotest.Queue) {
			q.SetDesc(0, 4096, 1, 1|2, 1)
			q.SetDesc(1, 4096, 1, 0, 0)
			q.Offer(0)
		}, "follows one to be written"},
		{"too many bytes", noFeatures, func(m *virtiotest.Machine, q *virtiotest.Queue) {
			for i := range uint16(size) {
				q.SetDesc(i, 0, 16<<20, 1, i+1)
			}
			q.Offer(0)
		}, "bytes"},
		{"indirect without feature", noFeatures, func(m *virtiotest.Machine, q *virtiotest.Queue) {
			q.SetDesc(0, 4096, 16, 4, 0)
			q.Offer(0)
		}, "without the feature"},
		{"indirect with next", virtio.RingFeatures, func(m *virtiotest.Machine, q *virtiotest.Queue) {
			q.SetDesc(0, 4096, 16, 4|1, 1)
			q.Offer(0)
		}, "indirect and has a next"},
		{"indirect of odd size", virtio.RingFeatures, func(m *virtiotest.Machine, q *virtiotest.Queue) {
			q.SetDesc(0, 4096, 17, 4, 0)
			q.Offer(0)
		}, "indirect table of 17 bytes"},
		{"indirect empty", virtio.RingFeatures, func(m *virtiotest.Machine, q *virtiotest.Queue) {
			q.SetDesc(0, 4096, 0, 4, 0)
			q.Offer(0)
		}, "indirect table of 0 bytes"},
		{"indirect too long", virtio.RingFeatures, func(m *virtiotest.Machine, q *virtiotest.Queue) {
			q.SetDesc(0, 4096, 16*(virtio.MaxChainLen+1), 4, 0)
			q.Offer(0)
		}, "indirect table of"},
		{"indirect outside", virtio.RingFeatures, func(m *virtiotest.Machine, q *virtiotest.Queue) {
			q.SetDesc(0, m.Mem.Size(), 16, 4, 0)
			q.Offer(0)
		}, "outside guest memory"},
		{"indirect in indirect", virtio.RingFeatures, func(m *virtiotest.Machine, q *virtiotest.Queue) {
			q.SetDesc(1, 4096, 16, 4, 0)
			q.SetDesc(0, q.Layout.Desc+16, 16, 4, 0)
			q.Offer(0)
		}, "inside an indirect"},
		{"indirect loop", virtio.RingFeatures, func(m *virtiotest.Machine, q *virtiotest.Queue) {
			q.SetDesc(1, 4096, 1, 1, 0)
			q.SetDesc(0, q.Layout.Desc+16, 16, 4, 0)
			q.Offer(0)
		}, "loops"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := virtiotest.NewMachine(t, 32<<20)
			q := virtiotest.NewQueue(t, m, size, tc.features)
			tc.do(m, q)
			var c virtio.Chain
			for n := 0; q.Device.Pop(&c); n++ {
				if n > size {
					t.Fatal("more chains than entries")
				}
			}
			var qe *virtio.QueueError
			if err := q.Err(); !errors.As(err, &qe) || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("error %v, want a QueueError with %q", q.Err(), tc.want)
			}
			if !q.Device.Broken() || q.Device.Pop(&c) || q.Device.EnableNotify() {
				t.Error("the queue is still in use")
			}
			q.Device.Push(0, 0)
			q.Device.Signal()
			if _, _, ok := q.Poll(); ok {
				t.Error("a broken queue gives a buffer back")
			}
		})
	}
}

func TestNewQueueRefusesBadLayouts(t *testing.T) {
	m := virtiotest.NewMachine(t, 1<<20)
	good := virtio.QueueLayout{Size: 8, Desc: 4096, Driver: 8192, Device: 12288}
	for name, change := range map[string]func(l *virtio.QueueLayout){
		"zero":          func(l *virtio.QueueLayout) { l.Size = 0 },
		"negative":      func(l *virtio.QueueLayout) { l.Size = -8 },
		"not a power":   func(l *virtio.QueueLayout) { l.Size = 7 },
		"too large":     func(l *virtio.QueueLayout) { l.Size = 16 },
		"odd desc":      func(l *virtio.QueueLayout) { l.Desc += 8 },
		"odd driver":    func(l *virtio.QueueLayout) { l.Driver++ },
		"odd device":    func(l *virtio.QueueLayout) { l.Device += 2 },
		"desc at end":   func(l *virtio.QueueLayout) { l.Desc = 1<<20 - 16 },
		"driver at end": func(l *virtio.QueueLayout) { l.Driver = 1<<20 - 20 },
		"device wraps":  func(l *virtio.QueueLayout) { l.Device = ^uint64(3) },
	} {
		l := good
		change(&l)
		if _, err := virtio.NewQueue(m.Mem, l, virtio.QueueOptions{Name: "q", MaxSize: 8}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := virtio.NewQueue(m.Mem, good, virtio.QueueOptions{Name: "q", MaxSize: 8}); err != nil {
		t.Error(err)
	}
}

func TestInterruptSuppression(t *testing.T) {
	m := virtiotest.NewMachine(t, 1<<20)
	interrupts := 0
	build := func(features uint64) (*virtiotest.Queue, *virtio.Queue) {
		drv := virtiotest.NewQueue(t, m, 8, features)
		dev, err := virtio.NewQueue(m.Mem, drv.Layout, virtio.QueueOptions{
			Name: "q", MaxSize: 8, Features: features, Interrupt: func() { interrupts++ }})
		if err != nil {
			t.Fatal(err)
		}
		return drv, dev
	}
	step := func(q *virtio.Queue, want int) {
		t.Helper()
		q.Push(0, 0)
		q.Signal()
		if interrupts != want {
			t.Fatalf("%d interrupts, want %d", interrupts, want)
		}
	}
	drv, dev := build(virtio.RingFeatures)
	step(dev, 1) // event 0
	step(dev, 1)
	drv.SetUsedEvent(3)
	step(dev, 1)
	step(dev, 2)
	dev.Signal()
	if interrupts != 2 {
		t.Fatal("interrupt without a used buffer")
	}

	interrupts = 0
	drv, dev = build(noFeatures)
	step(dev, 1)
	if err := m.Mem.StoreUint16(drv.Layout.Driver, 1); err != nil {
		t.Fatal(err)
	}
	step(dev, 1)
}

func TestNotifySuppression(t *testing.T) {
	m := virtiotest.NewMachine(t, 1<<20)
	q := virtiotest.NewQueue(t, m, 8, virtio.RingFeatures)
	if q.Device.EnableNotify() {
		t.Fatal("buffers in an empty queue")
	}
	q.Add([][]byte{{1}})
	if !q.Device.EnableNotify() {
		t.Fatal("a buffer that came before EnableNotify is not reported")
	}
	var c virtio.Chain
	q.Device.Pop(&c)
	if q.Device.EnableNotify() {
		t.Fatal("a buffer was taken twice")
	}
	event, err := m.Mem.LoadUint16(q.Layout.Device + 4 + 8*8)
	if err != nil || event != 1 {
		t.Fatalf("avail_event %d (%v), want 1", event, err)
	}
}

// FuzzQueue lets a hostile driver write the whole ring area between the calls
// of a device that uses its queue in good faith.
func FuzzQueue(f *testing.F) {
	m := virtiotest.NewMachine(f, 1<<20)
	const size = 16
	q := virtiotest.NewQueue(f, m, size, virtio.RingFeatures)
	seed := make([]byte, 512)
	f.Add(seed, true)
	copy(seed[0:], virtiotest.Desc(4096, 64, 1, 1))
	copy(seed[16:], virtiotest.Desc(8192, 64, 2, 0))
	seed[256+2] = 1
	f.Add(append([]byte(nil), seed...), true)
	f.Add(append([]byte(nil), seed...), false)
	copy(seed[0:], virtiotest.Desc(q.Layout.Desc, 64, 4, 0))
	f.Add(append([]byte(nil), seed...), true)
	copy(seed[16:], virtiotest.Desc(8192, 64, 3, 0))
	f.Add(append([]byte(nil), seed...), true)

	f.Fuzz(func(t *testing.T, data []byte, indirect bool) {
		features := uint64(noFeatures)
		if indirect {
			features = virtio.RingFeatures
		}
		failed := 0
		dev, err := virtio.NewQueue(m.Mem, q.Layout, virtio.QueueOptions{
			Name: "q", MaxSize: size, Features: features,
			Interrupt: func() {}, Fail: func(error) { failed++ }})
		if err != nil {
			t.Fatal(err)
		}
		r := rand.New(rand.NewPCG(1, uint64(len(data))))
		var c virtio.Chain
		popped := 0
		for step := 0; step < 64; step++ {
			// The first 256 bytes are descriptors, the rest available ring.
			n := min(len(data), 256)
			m.Mem.Write(q.Layout.Desc, data[:n])
			m.Mem.Write(q.Layout.Driver, data[n:min(len(data), 256+38)])
			if step > 0 && len(data) > 0 {
				m.Mem.Write(q.Layout.Desc+uint64(r.IntN(256)), data[r.IntN(len(data)):][:1])
			}
			if !dev.Pop(&c) {
				dev.EnableNotify()
				break
			}
			popped++
			total := virtio.Len(c.Readable) + virtio.Len(c.Writable)
			if total > virtio.MaxChainBytes || len(c.Readable)+len(c.Writable) > virtio.MaxChainLen {
				t.Fatalf("a chain of %d bytes", total)
			}
			if len(c.Writable) > 0 && step%2 == 0 {
				c.Writable[0][0] = 1
			}
			if step%3 != 0 {
				dev.Push(c.Head, total)
				dev.Signal()
			}
		}
		if failed > 1 || (failed == 1) != dev.Broken() {
			t.Fatalf("%d failures reported, broken %v", failed, dev.Broken())
		}
	})
}

func TestIov(t *testing.T) {
	parts := func() [][]byte { return [][]byte{{1, 2}, {3}, {4, 5, 6}} }
	if got := flat(virtio.Advance(parts(), 3)); !bytes.Equal(got, []byte{4, 5, 6}) {
		t.Errorf("Advance: %v", got)
	}
	for n, want := range [][]byte{{}, {1}, {1, 2}, {1, 2, 3}, {1, 2, 3, 4}} {
		if got := flat(virtio.Limit(parts(), n)); !bytes.Equal(got, want) {
			t.Errorf("Limit %d: %v", n, got)
		}
	}
	if got := virtio.Advance(parts(), 9); len(got) != 0 {
		t.Errorf("Advance beyond the end: %v", got)
	}
	dst := make([]byte, 4)
	if n := virtio.CopyIn(dst, parts()); n != 4 || !bytes.Equal(dst, []byte{1, 2, 3, 4}) {
		t.Errorf("CopyIn: %v", dst)
	}
}
