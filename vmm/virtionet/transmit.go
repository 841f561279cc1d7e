// SPDX-License-Identifier: Apache-2.0

package virtionet

import (
	"golang.org/x/sys/unix"

	"github.com/paracell/paracell/vmm/virtio"
)

// burst is how many packets are sent before the driver is told that it can use
// their buffers again.
const burst = 32

// sender is the state of the goroutine that serves the transmit queue.
type sender struct {
	accepted uint64 // features
	chain    virtio.Chain
	header   [HeaderSize]byte
	vector   vector
}

// transmit sends what the guest has queued.
func (d *Device) transmit() {
	for {
		n := 0
		for d.tx.Pop(&d.out.chain) {
			if !d.send(&d.out.chain) {
				return
			}
			d.tx.Push(d.out.chain.Head, 0)
			if n++; n%burst == 0 {
				d.tx.Signal()
			}
		}
		d.tx.Signal()
		if !d.tx.EnableNotify() {
			return
		}
	}
}

// send writes one packet to the tap, or drops it. It returns false when the
// driver has broken the queue.
func (d *Device) send(c *virtio.Chain) bool {
	s := &d.out
	if virtio.CopyIn(s.header[:], c.Readable) < HeaderSize {
		d.tx.Break("packet of %d bytes has no header", virtio.Len(c.Readable))
		return false
	}
	var h header
	h.decode(&s.header)
	packet := virtio.Advance(c.Readable, HeaderSize)
	if !h.valid(s.accepted, virtio.Len(packet)) {
		return true
	}
	h.clean()
	h.encode(&s.header)
	s.vector.reset()
	s.vector.add(s.header[:])
	for _, part := range packet {
		s.vector.add(part)
	}
	// The tap takes a packet or drops it; an error is a packet lost, as on
	// any network.
	_ = d.raw.Write(func(fd uintptr) bool {
		for {
			if _, err := s.vector.write(fd); err != unix.EINTR {
				return true
			}
		}
	})
	return true
}
