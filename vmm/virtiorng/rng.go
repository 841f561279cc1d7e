// SPDX-License-Identifier: Apache-2.0

// Package virtiorng is the virtio entropy device (virtio 1.2, section 5.4): it
// fills the guest's buffers from the host's random pool.
package virtiorng

import (
	"crypto/rand"

	"github.com/paracell/paracell/vmm/virtio"
)

const (
	queueSize = 8
	// maxFill bounds what one buffer gets, in bytes: the guest's pool asks
	// again if it wants more, and nobody can keep the host busy with one
	// request.
	maxFill = 4096
)

// Device is a virtio.Device.
type Device struct {
	queue *virtio.Queue
	bell  virtio.Bell
	run   virtio.Runner
}

// New returns an entropy device.
func New() *Device { return &Device{bell: virtio.NewBell()} }

// Type implements virtio.Device.
func (d *Device) Type() uint32 { return virtio.TypeRNG }

// Features implements virtio.Device.
func (d *Device) Features() uint64 { return 0 }

// QueueSizes implements virtio.Device.
func (d *Device) QueueSizes() []int { return []int{queueSize} }

// Config implements virtio.Device.
func (d *Device) Config() []byte { return nil }

// Activate implements virtio.Device.
func (d *Device) Activate(_ uint64, queues []*virtio.Queue) error {
	d.queue = queues[0]
	d.run.Start()
	if d.queue != nil {
		d.run.Serve(d.bell, d.fill)
	}
	return nil
}

// Kick implements virtio.Device.
func (d *Device) Kick(int) { d.bell.Ring() }

func (d *Device) fill() {
	var c virtio.Chain
	for {
		for d.queue.Pop(&c) {
			parts := virtio.Limit(c.Writable, maxFill)
			for _, p := range parts {
				// Read never fails and never returns short.
				rand.Read(p)
			}
			d.queue.Push(c.Head, virtio.Len(parts))
			d.queue.Signal()
		}
		if !d.queue.EnableNotify() {
			return
		}
	}
}

// Reset implements virtio.Device.
func (d *Device) Reset() { d.run.Stop() }

// Close implements virtio.Device.
func (d *Device) Close() error {
	d.run.Stop()
	return nil
}
