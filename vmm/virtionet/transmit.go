// SPDX-License-Identifier: Apache-2.0

package virtionet

import (
	"sync"

	"golang.org/x/sys/unix"

	"github.com/paracell/paracell/vmm/virtio"
)

// burst is how many packets are sent before the driver is told that it can use
// their buffers again, inline how many of them by who brings the news.
const (
	burst  = 32
	inline = 4
)

// sender is the state of the transmit queue, under mu: two goroutines serve it.
type sender struct {
	mu       sync.Mutex
	accepted uint64 // features
	chain    virtio.Chain
	header   [HeaderSize]byte
	vector   vector
}

// kickTransmit sends the first packets in the goroutine that brings the news:
// waking another one takes longer than a packet does. The rest is for transmit,
// as Kick must not take long.
func (d *Device) kickTransmit() {
	if !d.out.mu.TryLock() {
		d.txBell.Ring() // transmit may have looked for the last time
		return
	}
	done := d.transmitSome(inline)
	d.out.mu.Unlock()
	if !done {
		d.txBell.Ring()
	}
}

// transmit sends what the guest has queued.
func (d *Device) transmit() {
	for done := false; !done; {
		d.out.mu.Lock()
		done = d.transmitSome(burst)
		d.out.mu.Unlock()
	}
}

// transmitSome sends up to n packets, and says whether none is left: the driver
// then notifies of the next one. d.out.mu is held.
func (d *Device) transmitSome(n int) (done bool) {
	defer d.tx.Signal()
	for {
		for d.tx.Pop(&d.out.chain) {
			if !d.send(&d.out.chain) {
				return true
			}
			d.tx.Push(d.out.chain.Head, 0)
			if n--; n == 0 {
				return false
			}
		}
		if !d.tx.EnableNotify() {
			return true
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
