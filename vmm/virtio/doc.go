// SPDX-License-Identifier: Apache-2.0

// Package virtio is the device side of virtio 1.2 split virtqueues, and the
// contract between a device model and the transport that carries it.
//
// A device sees queues and the buffers in them, never the platform. All that
// comes out of a queue was written by the guest and can change under the
// reader: ring indices and descriptors are read once, copied and then checked;
// buffers are handed out as slices of guest memory whose contents a device must
// copy before it validates them.
//
// A driver that breaks the rules of the ring breaks its queue: the queue
// reports one QueueError, takes and returns no more buffers, and whoever owns
// the cell ends it.
package virtio

import "fmt"

// Device types (virtio 1.2, section 5).
const (
	TypeNet     = 1
	TypeBlock   = 2
	TypeConsole = 3
	TypeRNG     = 4
	TypeVsock   = 19
	TypeFS      = 26
)

// Feature bits that belong to queue and transport, not to a device type.
const (
	FeatureIndirectDesc = 1 << 28
	FeatureEventIdx     = 1 << 29
	FeatureVersion1     = 1 << 32

	// RingFeatures are offered by the transport on behalf of every device.
	RingFeatures = FeatureIndirectDesc | FeatureEventIdx | FeatureVersion1
)

// Device is a device model.
//
// Type, Features, QueueSizes and Config are constant and may be called at any
// time. Then calls come in this order, from one goroutine at a time: Activate,
// any number of Kick, Reset, and again Activate; Close is the last. A device
// does not touch its queues before Activate, nor after Reset or Close has
// returned. Reset and Close are also called on a device that is not active.
type Device interface {
	// Type is the device type, for example TypeConsole.
	Type() uint32
	// Features are the device-specific feature bits on offer.
	Features() uint64
	// QueueSizes gives the maximum size of every queue, powers of two.
	QueueSizes() []int
	// Config is the device configuration space at start.
	Config() []byte
	// Activate starts the device with the features that the driver accepted.
	// Queues that the driver did not set up are nil. An error means that the
	// driver is broken; the cell ends.
	Activate(features uint64, queues []*Queue) error
	// Kick says that a queue may have new buffers. It must not block.
	Kick(queue int)
	// Reset stops the device and waits until nothing of it uses the queues.
	Reset()
	// Close is Reset and gives back what the device holds of the host.
	Close() error
}

// ConfigChanger is a Device whose configuration space changes while it is used.
type ConfigChanger interface {
	Device
	// OnConfigChange sets who is to be told. It is called once, before
	// Activate. The function may be called by any goroutine, but not from a
	// method of Device.
	OnConfigChange(func(config []byte))
}

// QueueError says how a driver broke a queue.
type QueueError struct {
	Queue  string // device and queue
	Reason string
}

func (e *QueueError) Error() string {
	return fmt.Sprintf("%s: broken by the guest's driver: %s", e.Queue, e.Reason)
}
