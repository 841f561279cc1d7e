// SPDX-License-Identifier: Apache-2.0

package transport_test

import (
	"bytes"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/paracell/paracell/vmm/virtio"
	"github.com/paracell/paracell/vmm/virtio/transport"
	"github.com/paracell/paracell/vmm/virtio/virtiotest"
	"github.com/paracell/paracell/xgate/abi"
)

// fake is a device that records what is done to it.
type fake struct {
	activated, resets, closed int
	features                  uint64
	queues                    []*virtio.Queue
	kicks                     []int
	refuse                    error
	changed                   func([]byte)
}

func (f *fake) OnConfigChange(h func([]byte)) { f.changed = h }

func (f *fake) Type() uint32      { return virtio.TypeRNG }
func (f *fake) Features() uint64  { return 3 }
func (f *fake) QueueSizes() []int { return []int{8, 8} }
func (f *fake) Config() []byte    { return []byte("config") }
func (f *fake) Kick(q int)        { f.kicks = append(f.kicks, q) }
func (f *fake) Reset()            { f.resets++ }
func (f *fake) Close() error      { f.closed++; return nil }
func (f *fake) takeKicks() []int  { k := f.kicks; f.kicks = nil; return k }

func (f *fake) Activate(features uint64, queues []*virtio.Queue) error {
	f.activated++
	f.features, f.queues = features, queues
	return f.refuse
}

// cell is a transport with one fake device and what it has told its cell.
type cell struct {
	t      *transport.Transport
	regs   []abi.VirtioDevice
	m      *virtiotest.Machine
	dev    *fake
	raised atomic.Int32

	mu  sync.Mutex
	err error
}

func newCell(t *testing.T) *cell {
	c := &cell{regs: make([]abi.VirtioDevice, abi.MaxDevices), m: virtiotest.NewMachine(t, 1<<20), dev: &fake{}}
	c.t = transport.New(transport.Options{
		Registers: c.regs, Memory: c.m.Mem,
		RaiseIRQ: func(bit uint) error {
			if bit != abi.IRQDevice0 {
				t.Errorf("interrupt %d", bit)
			}
			c.raised.Add(1)
			return nil
		},
		Fail: func(err error) {
			c.mu.Lock()
			c.err = errors.Join(c.err, err)
			c.mu.Unlock()
		},
	})
	if _, err := c.t.Add("fake", c.dev); err != nil {
		t.Fatal(err)
	}
	return c
}

// drive does what a good driver does up to DRIVER_OK.
func (c *cell) drive(t *testing.T) {
	r := &c.regs[0]
	r.DriverFeatures = r.DeviceFeatures
	for i := range r.NumQueues {
		q := &r.Queues[i]
		q.Size = q.SizeMax
		q.Desc, q.Driver, q.Device = c.m.Alloc(t, 4096), c.m.Alloc(t, 4096), c.m.Alloc(t, 4096)
		q.Ready = 1
	}
	r.DriverStatus = 15
}

func TestHandshake(t *testing.T) {
	c := newCell(t)
	r := &c.regs[0]
	if r.DeviceID != virtio.TypeRNG || r.NumQueues != 2 || r.Queues[1].SizeMax != 8 ||
		r.DeviceFeatures != 3|virtio.RingFeatures || !bytes.HasPrefix(r.Config[:], []byte("config")) {
		t.Fatalf("published %+v", r)
	}
	r.NotifyQueues = 1
	c.t.Scan()
	if c.dev.activated != 0 || len(c.dev.kicks) != 0 {
		t.Fatal("the device is in use before DRIVER_OK")
	}
	c.drive(t)
	c.t.Scan()
	if c.dev.activated != 1 || c.dev.features != r.DeviceFeatures || c.dev.queues[1].Size() != 8 {
		t.Fatalf("activation: %+v", c.dev)
	}
	if k := c.dev.takeKicks(); len(k) != 2 || r.DeviceStatus != 15 {
		t.Fatalf("kicks after activation: %v, status %d", k, r.DeviceStatus)
	}

	r.NotifyQueues = 2 | 1<<63
	c.t.Scan()
	if k := c.dev.takeKicks(); len(k) != 1 || k[0] != 1 || r.NotifyQueues != 0 {
		t.Fatalf("kicks %v, bitmap %#x", k, r.NotifyQueues)
	}

	// What the driver changes after activation is not looked at.
	r.Queues[0].Desc = ^uint64(0)
	r.NumQueues = 99
	c.t.Scan()

	r.DriverStatus = 0
	r.ResetSeq = 7
	c.t.Scan()
	if c.dev.resets != 1 || r.ResetAck != 7 || r.DeviceStatus != 0 {
		t.Fatalf("reset: %+v, ack %d", c.dev, r.ResetAck)
	}
	r.NumQueues = 2
	c.drive(t)
	c.t.Scan()
	if c.dev.activated != 2 || c.err != nil {
		t.Fatalf("second activation: %+v, %v", c.dev, c.err)
	}
	if err := c.t.Close(); err != nil || c.dev.closed != 1 {
		t.Fatalf("close: %v, %d", err, c.dev.closed)
	}
	c.t.Scan()
}

func TestInterruptsAreMerged(t *testing.T) {
	c := newCell(t)
	c.drive(t)
	c.t.Scan()
	for range 3 {
		// The used event of the driver is 0 each time the ring starts anew.
		c.dev.queues[0].Push(0, 0)
		c.dev.queues[0].Signal()
		c.dev.queues[1].Push(0, 0)
		c.dev.queues[1].Signal()
	}
	if n := c.raised.Load(); n != 1 || c.regs[0].ISR != abi.ISRUsed {
		t.Fatalf("%d interrupts, ISR %d, want one of each", n, c.regs[0].ISR)
	}
}

func TestConfigChange(t *testing.T) {
	c := newCell(t)
	r := &c.regs[0]
	c.dev.changed([]byte("early"))
	if r.ISR != 0 || c.raised.Load() != 0 || !bytes.HasPrefix(r.Config[:], []byte("early")) {
		t.Fatalf("before activation: ISR %d, %q", r.ISR, r.Config[:8])
	}
	c.drive(t)
	c.t.Scan()
	gen := r.ConfigGen
	c.dev.changed([]byte("later"))
	if r.ISR != abi.ISRConfig || c.raised.Load() != 1 || r.ConfigGen == gen || !bytes.HasPrefix(r.Config[:], []byte("later")) {
		t.Fatalf("after activation: ISR %d, %q", r.ISR, r.Config[:8])
	}
	c.t.Close()
	c.dev.changed([]byte("never"))
}

func TestHostileHandshake(t *testing.T) {
	for name, spoil := range map[string]func(c *cell){
		"feature not on offer":  func(c *cell) { c.regs[0].DriverFeatures |= 1 << 40 },
		"no version 1":          func(c *cell) { c.regs[0].DriverFeatures = 0 },
		"size zero":             func(c *cell) { c.regs[0].Queues[0].Size = 0 },
		"size beyond the limit": func(c *cell) { c.regs[0].Queues[0].Size, c.regs[0].Queues[0].SizeMax = 16, 16 },
		"size of 2^31":          func(c *cell) { c.regs[0].Queues[0].Size = 1 << 31 },
		"ring outside memory":   func(c *cell) { c.regs[0].Queues[1].Desc = 1 << 40 },
		"refused by the device": func(c *cell) { c.dev.refuse = errors.New("no") },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCell(t)
			c.drive(t)
			spoil(c)
			c.t.Scan()
			if c.err == nil || c.regs[0].DeviceStatus&64 == 0 {
				t.Fatalf("not refused; status %d", c.regs[0].DeviceStatus)
			}
			t.Log(c.err)
			first := c.err
			c.regs[0].NotifyQueues = 3
			c.t.Scan()
			if len(c.dev.kicks) != 0 || c.err != first {
				t.Error("a failed device is used again")
			}
		})
	}
}

func TestAddRefuses(t *testing.T) {
	c := newCell(t)
	for range abi.MaxDevices - 1 {
		if _, err := c.t.Add("more", &fake{}); err != nil {
			t.Fatal(err)
		}
	}
	extra := &fake{}
	if _, err := c.t.Add("extra", extra); err == nil || extra.closed != 1 {
		t.Fatalf("one device too many: %v, closed %d", err, extra.closed)
	}
	if c.t.NumDevices() != abi.MaxDevices {
		t.Error("wrong count")
	}
}

// A hole becomes a device while the guest runs.
func TestAddLater(t *testing.T) {
	c := newCell(t)
	if c.regs[1].DeviceID != 0 {
		t.Fatal("the second block is in use")
	}
	// Whatever the guest has written there before does not count.
	c.regs[1].DriverStatus, c.regs[1].NotifyQueues = 4, 1
	c.t.Scan()
	later := &fake{}
	n, err := c.t.Add("later", later)
	if err != nil || n != 1 {
		t.Fatalf("device %d: %v", n, err)
	}
	if r := &c.regs[1]; r.DeviceID != later.Type() || r.NumQueues != 2 || r.DriverStatus != 0 {
		t.Errorf("registers %+v", c.regs[1])
	}
	c.t.Scan()
	if later.activated != 0 {
		t.Error("the device was activated without a driver")
	}
	if err := c.t.Close(); err != nil {
		t.Error(err)
	}
	late := &fake{}
	if _, err := c.t.Add("too late", late); err == nil || late.closed != 1 {
		t.Errorf("added to a cell that has ended: %v, closed %d times", err, late.closed)
	}
}
