// SPDX-License-Identifier: Apache-2.0

// Package virtiovsock is the virtio socket device (virtio 1.2, section 5.10):
// stream connections between processes of a guest and this process, which
// listens and dials with net.Listener and net.Conn. Nothing of it reaches the
// sockets of the host.
//
// Lock order: Device.mu is a leaf and guards the state of all connections; it
// is not held over a queue operation.
package virtiovsock

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/paracell/paracell/vmm/virtio"
)

const (
	hostCID = 2
	// GuestCID is the address of every guest: cells do not see each other.
	GuestCID = 3

	rxQueue = 0 // to the guest
	txQueue = 1 // from the guest
	// The driver fills the rx queue with buffers of 4 KiB at boot, which is
	// memory of an idle cell.
	rxSize    = 32
	txSize    = 64
	eventSize = 4

	// bufferSize is what a connection holds in each direction, in bytes.
	bufferSize = 256 << 10
	// maxConns bounds what a guest can make the host remember.
	maxConns = 1024
	// maxReplies is how many packets without data may wait for buffers of the
	// guest before the host stops to listen to it.
	maxReplies = 256
	// lingerTime is how long a closed connection waits for the guest's RST.
	lingerTime = 8 * time.Second

	// firstLocalPort is the first port that Dial uses.
	firstLocalPort = 1 << 30
)

// Device is a virtio.Device. Listen and Dial may be called by many goroutines
// and at any time; connections are made when the guest's driver is up.
type Device struct {
	rx, tx         *virtio.Queue
	rxBell, txBell virtio.Bell
	run            virtio.Runner
	rxChain        virtio.Chain // popped, not used yet; belongs to the rx goroutine
	rxHeld         bool

	mu        sync.Mutex
	closed    bool
	listeners map[uint32]*Listener
	conns     map[ports]*Conn
	order     []*Conn // conns, for taking turns
	turn      int
	replies   []header
	nextPort  uint32
}

// ports identifies a connection.
type ports struct{ host, guest uint32 }

// New returns a device without listeners.
func New() *Device {
	return &Device{
		rxBell: virtio.NewBell(), txBell: virtio.NewBell(),
		listeners: map[uint32]*Listener{}, conns: map[ports]*Conn{}, nextPort: firstLocalPort,
	}
}

// Type implements virtio.Device.
func (d *Device) Type() uint32 { return virtio.TypeVsock }

// Features implements virtio.Device.
func (d *Device) Features() uint64 { return 0 }

// QueueSizes implements virtio.Device.
func (d *Device) QueueSizes() []int { return []int{rxSize, txSize, eventSize} }

// Config implements virtio.Device.
func (d *Device) Config() []byte { return binary.LittleEndian.AppendUint64(nil, GuestCID) }

// Activate implements virtio.Device.
func (d *Device) Activate(_ uint64, queues []*virtio.Queue) error {
	d.rx, d.tx = queues[rxQueue], queues[txQueue]
	if d.rx == nil || d.tx == nil {
		return errors.New("a socket device needs both of its queues")
	}
	d.rxHeld = false
	d.run.Start()
	d.run.Serve(d.rxBell, d.send)
	d.run.Serve(d.txBell, d.receive)
	return nil
}

// Kick implements virtio.Device.
func (d *Device) Kick(queue int) {
	switch queue {
	case rxQueue:
		d.rxBell.Ring()
	case txQueue:
		d.txBell.Ring()
	}
}

// Reset implements virtio.Device. All connections are reset; listeners stay.
func (d *Device) Reset() {
	d.run.Stop()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.order {
		c.failLocked(errReset)
	}
	d.order, d.conns, d.replies = nil, map[ports]*Conn{}, nil
}

// Close implements virtio.Device. All connections and listeners fail.
func (d *Device) Close() error {
	d.Reset()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for _, l := range d.listeners {
		l.closeLocked()
	}
	return nil
}

// receive takes the packets of the guest.
func (d *Device) receive() {
	var c virtio.Chain
	for d.willingToReceive() {
		if !d.tx.Pop(&c) {
			if !d.tx.EnableNotify() {
				return
			}
			continue
		}
		var raw [headerSize]byte
		if virtio.CopyIn(raw[:], c.Readable) < headerSize {
			d.tx.Break("packet of %d bytes has no header", virtio.Len(c.Readable))
			return
		}
		var h header
		h.decode(&raw)
		data := virtio.Advance(c.Readable, headerSize)
		if uint64(h.length) > uint64(virtio.Len(data)) {
			d.tx.Break("packet with %d bytes of data says %d", virtio.Len(data), h.length)
			return
		}
		if h.srcCID != GuestCID {
			d.tx.Break("packet from address %d", h.srcCID)
			return
		}
		d.mu.Lock()
		d.packetLocked(&h, virtio.Limit(data, int(h.length)))
		d.mu.Unlock()
		d.tx.Push(c.Head, 0)
		d.tx.Signal()
		d.rxBell.Ring()
	}
}

func (d *Device) willingToReceive() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.replies) < maxReplies
}

// packetLocked handles one packet of the guest. The data are guest memory.
func (d *Device) packetLocked(h *header, data [][]byte) {
	c := d.conns[ports{h.dstPort, h.srcPort}]
	if h.dstCID != hostCID || h.kind != typeStream {
		d.resetLocked(h)
		return
	}
	if c == nil {
		if h.op == opRequest {
			d.acceptLocked(h)
		} else {
			d.resetLocked(h)
		}
		return
	}
	c.peerAlloc, c.peerFwd = h.bufAlloc, h.fwdCnt
	switch h.op {
	case opResponse:
		if c.state != connecting {
			d.abortLocked(c, h)
			return
		}
		c.state = open
	case opRST:
		err := errReset
		switch {
		case c.state == connecting:
			err = errRefused
		case c.recvEOF || c.shut&shutSend != 0:
			err = nil // the guest has nothing more to say, in order
		}
		c.failLocked(err)
		d.removeLocked(c)
	case opShutdown:
		c.recvEOF = c.recvEOF || h.flags&shutSend != 0
		c.peerDeaf = c.peerDeaf || h.flags&shutReceive != 0
		if c.recvEOF && c.peerDeaf {
			d.resetLocked(h)
			c.failLocked(nil)
			d.removeLocked(c)
		}
	case opRW:
		if c.state != open || !c.takeLocked(data) {
			d.abortLocked(c, h)
			return
		}
	case opCreditUpdate:
	case opCreditRequest:
		c.tellCredit = true
	default:
		d.abortLocked(c, h)
		return
	}
	c.cond.Broadcast()
}

// acceptLocked handles a request for a connection.
func (d *Device) acceptLocked(h *header) {
	l := d.listeners[h.dstPort]
	if l == nil || len(l.backlog) >= maxBacklog || len(d.conns) >= maxConns {
		d.resetLocked(h)
		return
	}
	c := d.newConnLocked(ports{h.dstPort, h.srcPort})
	c.state = open
	c.peerAlloc, c.peerFwd = h.bufAlloc, h.fwdCnt
	d.replies = append(d.replies, c.headerLocked(opResponse))
	l.backlog = append(l.backlog, c)
	l.cond.Signal()
}

// resetLocked answers a packet that belongs to no connection.
func (d *Device) resetLocked(h *header) {
	if h.op == opRST {
		return
	}
	d.replies = append(d.replies, header{
		srcCID: hostCID, dstCID: GuestCID, srcPort: h.dstPort, dstPort: h.srcPort, kind: h.kind, op: opRST,
	})
}

// abortLocked ends a connection whose guest side broke the rules.
func (d *Device) abortLocked(c *Conn, h *header) {
	d.resetLocked(h)
	c.failLocked(fmt.Errorf("%w: the guest broke the protocol", errReset))
	d.removeLocked(c)
}

func (d *Device) newConnLocked(p ports) *Conn {
	c := &Conn{d: d, ports: p}
	c.cond.L = &d.mu
	d.conns[p] = c
	d.order = append(d.order, c)
	return c
}

func (d *Device) removeLocked(c *Conn) {
	if d.conns[c.ports] != c {
		return
	}
	delete(d.conns, c.ports)
	for i, o := range d.order {
		if o == c {
			d.order = append(d.order[:i], d.order[i+1:]...)
			break
		}
	}
}

// send gives packets to the guest for as long as there are both packets and
// buffers for them.
func (d *Device) send() {
	for {
		if !d.rxHeld {
			if !d.rx.Pop(&d.rxChain) {
				if !d.rx.EnableNotify() {
					return
				}
				continue
			}
			d.rxHeld = true
		}
		room := virtio.Len(d.rxChain.Writable) - headerSize
		if room < 0 {
			d.rx.Break("receive buffer of %d bytes", room+headerSize)
			return
		}
		var raw [headerSize]byte
		n, ok := d.nextPacket(&raw, room)
		if !ok {
			return
		}
		d.rxHeld = false
		d.rx.Push(d.rxChain.Head, headerSize+n)
		d.rx.Signal()
	}
}

// nextPacket writes the next packet for the guest into the held buffer, and
// returns the number of bytes of its data.
func (d *Device) nextPacket(raw *[headerSize]byte, room int) (n int, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.replies) > 0 {
		if len(d.replies) == maxReplies {
			d.txBell.Ring()
		}
		d.replies[0].encode(raw)
		d.replies = d.replies[1:]
		virtio.CopyOut(d.rxChain.Writable, raw[:])
		return 0, true
	}
	for range d.order {
		d.turn = (d.turn + 1) % len(d.order)
		c := d.order[d.turn]
		h, data, ok := c.packetLocked(room)
		if !ok {
			continue
		}
		h.encode(raw)
		virtio.CopyOut(d.rxChain.Writable, raw[:])
		virtio.CopyOut(virtio.Advance(d.rxChain.Writable, headerSize), data)
		c.sentLocked(len(data))
		return len(data), true
	}
	return 0, false
}
