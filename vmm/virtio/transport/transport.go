// SPDX-License-Identifier: Apache-2.0

// Package transport connects virtio devices to the register blocks in the
// control area of a cell (abi.VirtioDevice, docs/virtio.md). It is the same for
// all platforms: a platform tells it when the guest has rung, and gives it a
// way to raise an interrupt.
//
// The register blocks are shared with the guest, which can write all of them.
// What the host needs of its own half it keeps in private memory; of the
// driver's half it takes one copy at activation.
package transport

import (
	"errors"
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/paracell/paracell/vmm/memory"
	"github.com/paracell/paracell/vmm/virtio"
	"github.com/paracell/paracell/xgate/abi"
)

// Bits of the device status (virtio 1.2, section 2.1).
const (
	statusDriverOK   = 4
	statusNeedsReset = 64
)

// Options are what a transport needs of its cell.
type Options struct {
	// Registers are the register blocks, abi.Control.Devices.
	Registers []abi.VirtioDevice
	Memory    *memory.Memory
	// RaiseIRQ sets an interrupt (abi.IRQDevice0 + n) pending in the guest. It
	// may be called by many goroutines at once and does not block. An error
	// means that the guest has ended.
	RaiseIRQ func(bit uint) error
	// Fail is told when a driver has broken its device. The cell has to end.
	// It may be called by any goroutine of a device, more than once, and must
	// not wait for Close.
	Fail func(error)
}

// Transport carries the virtio devices of one cell.
//
// Add and Scan may be called by any goroutine, and Add also while the cell runs:
// then the guest has to be told to look. Close comes before the memory is closed;
// the guest may still run.
type Transport struct {
	o Options

	mu      sync.Mutex // serialises calls to devices
	devices []*device
	closed  bool
}

// device is what the host keeps privately about one register block.
type device struct {
	name     string
	index    int
	regs     *abi.VirtioDevice
	model    virtio.Device
	features uint64 // on offer
	sizes    []int
	active   bool
	failed   bool
	resets   uint32 // last ResetSeq carried out
}

// New returns a transport without devices.
func New(o Options) *Transport { return &Transport{o: o} }

// Add publishes a device in the next register block and returns its number.
// The name is for messages. The transport closes the device, also when Add
// fails.
func (t *Transport) Add(name string, model virtio.Device) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(t.devices)
	sizes, config := model.QueueSizes(), model.Config()
	var err error
	switch {
	case t.closed:
		err = errors.New("the cell has ended")
	case n >= len(t.o.Registers):
		err = fmt.Errorf("the cell has room for %d devices only", len(t.o.Registers))
	case len(sizes) > abi.MaxQueues:
		err = fmt.Errorf("%d queues, at most %d", len(sizes), abi.MaxQueues)
	case len(config) > abi.ConfigSize:
		err = fmt.Errorf("configuration of %d bytes, at most %d", len(config), abi.ConfigSize)
	}
	if err != nil {
		return 0, errors.Join(fmt.Errorf("virtio device %q: %w", name, err), model.Close())
	}
	d := &device{
		name: name, index: n, regs: &t.o.Registers[n], model: model, sizes: sizes,
		features: model.Features() | virtio.RingFeatures,
	}
	*d.regs = abi.VirtioDevice{
		NumQueues:      uint32(len(sizes)),
		DeviceFeatures: d.features,
		ConfigSize:     uint32(len(config)),
	}
	copy(d.regs.Config[:], config)
	for i, size := range sizes {
		d.regs.Queues[i].SizeMax = uint32(size)
	}
	t.devices = append(t.devices, d)
	if c, ok := model.(virtio.ConfigChanger); ok {
		c.OnConfigChange(func(config []byte) { t.setConfig(d, config) })
	}
	// Last: a guest that runs may look at any time.
	atomic.StoreUint32(&d.regs.DeviceID, model.Type())
	return n, nil
}

// NumDevices is the value for BootParams.NumDevices.
func (t *Transport) NumDevices() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.devices)
}

// Scan looks for what drivers have written. The platform calls it after the
// guest has made CallNotify; it does not block but for a device reset.
func (t *Transport) Scan() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	for _, d := range t.devices {
		t.scanDevice(d)
	}
}

func (t *Transport) scanDevice(d *device) {
	if seq := atomic.LoadUint32(&d.regs.ResetSeq); seq != d.resets {
		d.model.Reset()
		d.active, d.failed, d.resets = false, false, seq
		atomic.StoreUint32(&d.regs.DeviceStatus, 0)
		atomic.StoreUint32(&d.regs.ISR, 0)
		atomic.StoreUint64(&d.regs.NotifyQueues, 0)
		atomic.StoreUint32(&d.regs.ResetAck, seq)
	}
	if d.failed {
		return
	}
	if !d.active {
		status := atomic.LoadUint32(&d.regs.DriverStatus)
		if status&statusDriverOK == 0 {
			return
		}
		if err := t.activate(d); err != nil {
			d.failed = true
			t.fail(d, err)
			return
		}
		atomic.StoreUint32(&d.regs.DeviceStatus, status&0xff&^statusNeedsReset)
		// A driver may have filled queues before DRIVER_OK.
		atomic.StoreUint64(&d.regs.NotifyQueues, 0)
		for i := range d.sizes {
			d.model.Kick(i)
		}
		return
	}
	for kicked := takeQueues(d.regs); kicked != 0; kicked &= kicked - 1 {
		if i := bits.TrailingZeros64(kicked); i < len(d.sizes) {
			d.model.Kick(i)
		}
	}
}

// takeQueues reads and clears the bitmap of kicked queues; the common case, no
// kick, does not write to the shared line.
func takeQueues(regs *abi.VirtioDevice) uint64 {
	if atomic.LoadUint64(&regs.NotifyQueues) == 0 {
		return 0
	}
	return atomic.SwapUint64(&regs.NotifyQueues, 0)
}

func (t *Transport) activate(d *device) error {
	features := atomic.LoadUint64(&d.regs.DriverFeatures)
	if extra := features &^ d.features; extra != 0 {
		return &virtio.QueueError{Queue: d.name, Reason: fmt.Sprintf("features %#x were not on offer", extra)}
	}
	if features&virtio.FeatureVersion1 == 0 {
		return &virtio.QueueError{Queue: d.name, Reason: "VIRTIO_F_VERSION_1 was not accepted"}
	}
	queues := make([]*virtio.Queue, len(d.sizes))
	for i, max := range d.sizes {
		r := &d.regs.Queues[i]
		if atomic.LoadUint32(&r.Ready) == 0 {
			continue
		}
		layout := virtio.QueueLayout{
			Size:   int(atomic.LoadUint32(&r.Size)),
			Desc:   atomic.LoadUint64(&r.Desc),
			Driver: atomic.LoadUint64(&r.Driver),
			Device: atomic.LoadUint64(&r.Device),
		}
		var err error
		queues[i], err = virtio.NewQueue(t.o.Memory, layout, virtio.QueueOptions{
			Name:      fmt.Sprintf("virtio device %q, queue %d", d.name, i),
			MaxSize:   max,
			Features:  features,
			Interrupt: func() { t.interrupt(d, abi.ISRUsed) },
			Fail:      func(err error) { t.fail(d, err) },
		})
		if err != nil {
			return err
		}
	}
	if err := d.model.Activate(features, queues); err != nil {
		return fmt.Errorf("virtio device %q: %w", d.name, err)
	}
	d.active = true
	return nil
}

// setConfig changes the configuration space of a device. Reading the same
// ConfigGen before and after, a driver knows that it has seen one state.
func (t *Transport) setConfig(d *device, config []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || len(config) > abi.ConfigSize {
		return
	}
	atomic.AddUint32(&d.regs.ConfigGen, 1)
	copy(d.regs.Config[:], config)
	atomic.AddUint32(&d.regs.ConfigGen, 1)
	if d.active {
		t.interrupt(d, abi.ISRConfig)
	}
}

// interrupt may run in any goroutine.
func (t *Transport) interrupt(d *device, why uint32) {
	// A bit that is still set has an interrupt under way.
	if atomic.OrUint32(&d.regs.ISR, why)&why == 0 {
		_ = t.o.RaiseIRQ(uint(abi.IRQDevice0 + d.index))
	}
}

// fail may run in any goroutine, also under mu.
func (t *Transport) fail(d *device, err error) {
	atomic.OrUint32(&d.regs.DeviceStatus, statusNeedsReset)
	t.o.Fail(err)
}

// Close resets and closes all devices. Only the first call does anything.
func (t *Transport) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	t.closed = true
	var errs []error
	for _, d := range t.devices {
		if err := d.model.Close(); err != nil {
			errs = append(errs, fmt.Errorf("virtio device %q: %w", d.name, err))
		}
	}
	return errors.Join(errs...)
}
