// SPDX-License-Identifier: Apache-2.0

package virtionet

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/paracell/paracell/vmm/virtio"
)

// receiver is the state of the goroutine that serves the receive queue.
type receiver struct {
	mergeable bool // a packet may be spread over several buffers of the driver

	// held are buffers taken from the queue and not used yet: held[first] and
	// the count-1 that follow it, around the end. room is how much they take.
	held         [queueSize]virtio.Chain
	first, count int
	room         int

	used   []virtio.Used
	header [HeaderSize]byte
	vector vector
}

func (r *receiver) at(i int) *virtio.Chain { return &r.held[(r.first+i)%queueSize] }

// receive gives packets to the guest until the device stops.
func (d *Device) receive(stop <-chan struct{}) {
	for {
		if !d.gather() {
			select {
			case <-stop:
				return
			case <-d.rxBell:
			}
			continue
		}
		n, err := d.read()
		if err != nil {
			// The deadline of Reset, or there is no interface any more.
			<-stop
			return
		}
		if n <= HeaderSize {
			continue
		}
		d.deliver(n)
		d.rx.Signal()
	}
}

// gather takes buffers from the queue until the longest packet fits: how long a
// packet is shows only when it has been read. It returns false when the driver
// has to give more first.
func (d *Device) gather() bool {
	r := &d.in
	for !r.enough() {
		if r.count == queueSize {
			return false // all are held, and too small
		}
		c := r.at(r.count)
		if !d.rx.Pop(c) {
			if !d.rx.EnableNotify() {
				return false
			}
			continue
		}
		n := virtio.Len(c.Writable)
		if n < HeaderSize+minPacket {
			d.rx.Break("receive buffer of %d bytes", n)
			return false
		}
		r.count++
		r.room += n
	}
	return true
}

func (r *receiver) enough() bool {
	if r.mergeable {
		return r.room >= HeaderSize+maxPacket
	}
	return r.count > 0
}

// read waits for a packet and puts it into the held buffers, behind room for the
// header. It returns the bytes of both.
func (d *Device) read() (n int, err error) {
	r := &d.in
	r.vector.reset()
	r.vector.add(r.header[:])
	skip := HeaderSize
	for i := range r.count {
		for _, part := range r.at(i).Writable {
			if skip >= len(part) {
				skip -= len(part)
				continue
			}
			r.vector.add(part[skip:])
			skip = 0
		}
		if !r.mergeable {
			break
		}
	}
	var failed error
	err = d.raw.Read(func(fd uintptr) bool {
		for {
			n, failed = r.vector.read(fd)
			if failed != unix.EINTR {
				return failed != unix.EAGAIN
			}
		}
	})
	if err == nil {
		err = failed
	}
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, os.ErrClosed) || gone(err) {
		return 0, err
	}
	if err != nil {
		return 0, nil // a packet lost
	}
	return n, nil
}

// deliver gives the guest the buffers in which the n bytes read are.
func (d *Device) deliver(n int) {
	r := &d.in
	if !r.mergeable && n > virtio.Len(r.at(0).Writable) {
		return // cannot be: readv does not return more than there is room
	}
	r.used = r.used[:0]
	for left := n; left > 0; {
		c := r.at(len(r.used))
		size := virtio.Len(c.Writable)
		r.used = append(r.used, virtio.Used{Head: c.Head, Written: min(left, size)})
		r.room -= size
		left -= min(left, size)
	}
	var h header
	h.decode(&r.header)
	h.numBuffers = uint16(len(r.used))
	h.encode(&r.header)
	virtio.CopyOut(r.at(0).Writable, r.header[:])
	r.first = (r.first + len(r.used)) % queueSize
	r.count -= len(r.used)
	d.rx.PushAll(r.used)
}
