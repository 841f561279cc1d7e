// SPDX-License-Identifier: Apache-2.0

// Package virtionet is the virtio network device (virtio 1.2, section 5.1) over
// a tap of the host. Checksums and the cutting of large segments are left to
// whoever has to do them at last: the guest hands unfinished packets to the
// tap with a header that says what is missing, and gets such from it.
//
// A goroutine serves each direction. Packets go between the tap and guest
// memory without a copy in between.
package virtionet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/paracell/paracell/vmm/virtio"
)

const (
	rxQueue = 0 // to the guest
	txQueue = 1 // from the guest

	// A Linux driver fills the receive queue with buffers of 1.5 KiB when the
	// interface is switched on.
	queueSize = 256

	// maxPacket is the longest packet with its Ethernet header and a VLAN
	// tag: segments are as long as an IP packet can be.
	maxPacket = 65535 + 18
	minPacket = 14

	// MinMTU and MaxMTU bound Options.MTU (the driver refuses less).
	MinMTU = 68
	MaxMTU = 65535
)

// Feature bits.
const (
	featureCsum      = 1 << 0
	featureGuestCsum = 1 << 1
	featureMTU       = 1 << 3
	featureMAC       = 1 << 5
	featureGuestTSO4 = 1 << 7
	featureGuestTSO6 = 1 << 8
	featureGuestECN  = 1 << 9
	featureHostTSO4  = 1 << 11
	featureHostTSO6  = 1 << 12
	featureHostECN   = 1 << 13
	featureMrgRxBuf  = 1 << 15
	featureGuestUSO4 = 1 << 54
	featureGuestUSO6 = 1 << 55
	featureHostUSO   = 1 << 56

	features = featureCsum | featureGuestCsum | featureMTU | featureMAC |
		featureGuestTSO4 | featureGuestTSO6 | featureGuestECN | featureGuestUSO4 | featureGuestUSO6 |
		featureHostTSO4 | featureHostTSO6 | featureHostECN | featureHostUSO | featureMrgRxBuf
)

// Port is where the packets of a device go: a tap with headers of HeaderSize
// bytes (IFF_VNET_HDR, TUNSETVNETHDRSZ), or what behaves so.
type Port interface {
	// SyscallConn gives access to a non-blocking descriptor that has a packet
	// per call of readv and writev.
	SyscallConn() (syscall.RawConn, error)
	SetReadDeadline(time.Time) error
	// SetOffload says what a reader can finish by itself: unix.TUN_F_*.
	SetOffload(flags int) error
	Close() error
}

// Options configure New.
type Options struct {
	MAC net.HardwareAddr
	// MTU is the longest packet without its Ethernet header, in bytes.
	MTU int
}

// Device is a virtio.Device.
type Device struct {
	port   Port
	raw    syscall.RawConn
	config []byte

	rx, tx *virtio.Queue
	txBell virtio.Bell
	rxBell virtio.Bell // the guest has given receive buffers
	run    virtio.Runner

	out sender
	in  receiver
}

// New returns a device, which owns the port, also when New fails.
func New(port Port, o Options) (*Device, error) {
	raw, err := port.SyscallConn()
	switch {
	case err != nil:
	case len(o.MAC) != 6:
		err = fmt.Errorf("hardware address %q does not have 6 bytes", o.MAC)
	case o.MTU < MinMTU || o.MTU > MaxMTU:
		err = fmt.Errorf("MTU %d is not between %d and %d", o.MTU, MinMTU, MaxMTU)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("network device: %w", err), port.Close())
	}
	config := make([]byte, 12) // mac, status, max_virtqueue_pairs, mtu
	copy(config, o.MAC)
	binary.LittleEndian.PutUint16(config[8:], 1)
	binary.LittleEndian.PutUint16(config[10:], uint16(o.MTU))
	return &Device{port: port, raw: raw, config: config, rxBell: virtio.NewBell(), txBell: virtio.NewBell()}, nil
}

// Type implements virtio.Device.
func (d *Device) Type() uint32 { return virtio.TypeNet }

// Features implements virtio.Device.
func (d *Device) Features() uint64 { return features }

// QueueSizes implements virtio.Device.
func (d *Device) QueueSizes() []int { return []int{queueSize, queueSize} }

// Config implements virtio.Device.
func (d *Device) Config() []byte { return d.config }

// offload translates what the driver can finish into what the tap may send.
func offload(accepted uint64) int {
	if accepted&featureGuestCsum == 0 {
		return 0
	}
	flags := unix.TUN_F_CSUM
	for _, f := range []struct {
		feature uint64
		flag    int
	}{
		{featureGuestTSO4, unix.TUN_F_TSO4},
		{featureGuestTSO6, unix.TUN_F_TSO6},
		{featureGuestECN, unix.TUN_F_TSO_ECN},
		{featureGuestUSO4 | featureGuestUSO6, unix.TUN_F_USO4 | unix.TUN_F_USO6}, // the tap has both or none
	} {
		if accepted&f.feature == f.feature {
			flags |= f.flag
		}
	}
	if flags&(unix.TUN_F_TSO4|unix.TUN_F_TSO6) == 0 {
		flags &^= unix.TUN_F_TSO_ECN // the tap refuses it alone
	}
	return flags
}

// Activate implements virtio.Device.
func (d *Device) Activate(accepted uint64, queues []*virtio.Queue) error {
	d.rx, d.tx = queues[rxQueue], queues[txQueue]
	if d.rx == nil || d.tx == nil {
		return errors.New("a network device needs both of its queues")
	}
	// The interface may be gone by now, with its namespace. Then there are no
	// packets, which is no fault of the driver.
	if err := d.port.SetOffload(offload(accepted)); err != nil && !gone(err) {
		return fmt.Errorf("set the offloads of the tap: %w", err)
	}
	d.out.accepted = accepted
	d.in = receiver{mergeable: accepted&featureMrgRxBuf != 0}
	d.run.Start()
	d.run.Serve(d.txBell, d.transmit)
	d.run.Go(d.receive)
	return nil
}

// gone says whether an error means that there is no interface any more.
func gone(err error) bool {
	return errors.Is(err, unix.EBADFD) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO)
}

// Kick implements virtio.Device.
func (d *Device) Kick(queue int) {
	if queue == txQueue {
		d.kickTransmit()
	} else {
		d.rxBell.Ring()
	}
}

// Reset implements virtio.Device.
func (d *Device) Reset() {
	// A deadline in the past ends the wait for a packet.
	_ = d.port.SetReadDeadline(time.Unix(1, 0))
	d.run.Stop()
	_ = d.port.SetReadDeadline(time.Time{})
}

// Close implements virtio.Device. The tap goes with it.
func (d *Device) Close() error {
	d.Reset()
	return d.port.Close()
}
