// SPDX-License-Identifier: Apache-2.0

// Package virtiofs is the virtio file system device (virtio 1.2, section 5.11):
// FUSE requests come out of queues and go to a server, by default one over
// directories of the host (package passthrough).
//
// The protocol is decoded by go-fuse. What it decodes is copied out of guest
// memory first; only the data of READ and WRITE moves between guest memory and
// the host's files directly.
package virtiofs

import (
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/paracell/paracell/vmm/virtio"
)

const (
	tagSize = 36

	hiprioQueue  = 0
	requestQueue = 1

	hiprioSize = 64
	// requestSize leaves room for requests of 1 MiB in single pages.
	requestSize = 512

	// workers serve the request queue: one more than usually have to wait for
	// the host's disk.
	workers = 4

	// maxMessage bounds all of a request but the data of a WRITE, in bytes;
	// an extended attribute is the largest thing there is.
	maxMessage = 128 << 10
	// maxTotal bounds a request with its data and its reply.
	maxTotal = 2 << 20
)

// Numbers of the FUSE protocol (linux/fuse.h).
const (
	headerSize = 40
	writeSize  = headerSize + 40

	opWrite  = 16
	opInit   = 26
	opSetlkw = 33

	fuseMajor    = 7
	fuseMinMinor = 31
)

var silence sync.Once

// Server is what the device asks for answers.
type Server interface {
	fuse.RawFileSystem
	// MountOptions are what is negotiated with the guest.
	MountOptions() *fuse.MountOptions
	// Interrupt makes requests that wait for something give up, now and until
	// Restart.
	Interrupt()
	// Restart forgets all state of the guest, which starts anew. No request
	// is under way.
	Restart()
	// Close is the last call.
	Close() error
}

// Device is a virtio.Device.
type Device struct {
	tag    string
	server Server
	proto  *fuse.ProtocolServer

	hiprio, request         *virtio.Queue
	hiprioBell, requestBell virtio.Bell
	run                     virtio.Runner

	popMu sync.Mutex // Pop and EnableNotify of the request queue

	// active is held for reading by requests and for writing by INIT, which
	// makes the server forget.
	active sync.RWMutex

	waiters sync.WaitGroup // blocking lock requests, each in a goroutine
}

// New returns a device with a tag, by which the guest mounts it. The device
// owns the server, also when New fails.
func New(tag string, server Server) (*Device, error) {
	if tag == "" || len(tag) > tagSize {
		server.Close()
		return nil, fmt.Errorf("file system tag %q: 1 to %d bytes are possible", tag, tagSize)
	}
	o := server.MountOptions()
	// The guest could fill the host's log. Of short requests go-fuse tells the
	// standard logger, which nothing of ours uses.
	o.Logger = log.New(io.Discard, "", 0)
	silence.Do(func() { log.SetOutput(io.Discard) })
	return &Device{
		tag: tag, server: server, proto: fuse.NewProtocolServer(server, o),
		hiprioBell: virtio.NewBell(), requestBell: virtio.NewBell(),
	}, nil
}

// Type implements virtio.Device.
func (d *Device) Type() uint32 { return virtio.TypeFS }

// Features implements virtio.Device.
func (d *Device) Features() uint64 { return 0 }

// QueueSizes implements virtio.Device.
func (d *Device) QueueSizes() []int { return []int{hiprioSize, requestSize} }

// Config implements virtio.Device.
func (d *Device) Config() []byte {
	c := make([]byte, tagSize+4)
	copy(c, d.tag)
	binary.LittleEndian.PutUint32(c[tagSize:], 1) // num_request_queues
	return c
}

// Activate implements virtio.Device.
func (d *Device) Activate(_ uint64, queues []*virtio.Queue) error {
	d.hiprio, d.request = queues[hiprioQueue], queues[requestQueue]
	if d.hiprio == nil || d.request == nil {
		return fmt.Errorf("a file system needs both of its queues")
	}
	d.run.Start()
	d.run.Serve(d.hiprioBell, d.serveHiprio)
	for range workers {
		d.run.Serve(d.requestBell, d.serveRequests)
	}
	return nil
}

// Kick implements virtio.Device.
func (d *Device) Kick(queue int) {
	if queue == hiprioQueue {
		d.hiprioBell.Ring()
	} else {
		d.requestBell.Ring()
	}
}

func (d *Device) serveHiprio() {
	var c virtio.Chain
	for {
		for d.hiprio.Pop(&c) {
			d.answer(d.hiprio, &c)
		}
		if !d.hiprio.EnableNotify() {
			return
		}
	}
}

func (d *Device) serveRequests() {
	var c virtio.Chain
	for d.next(&c) {
		d.answer(d.request, &c)
	}
}

// next takes a request, and wakes another worker in case there is a second.
func (d *Device) next(c *virtio.Chain) bool {
	d.popMu.Lock()
	defer d.popMu.Unlock()
	for !d.request.Pop(c) {
		if !d.request.EnableNotify() {
			return false
		}
	}
	if d.request.EnableNotify() {
		d.requestBell.Ring()
	}
	return true
}

// answer handles one request and gives its chain back.
func (d *Device) answer(q *virtio.Queue, c *virtio.Chain) {
	in, op, reason := message(c)
	if reason != "" {
		q.Break("%s", reason)
		return
	}
	out := c.Writable
	if op == opSetlkw {
		// It may wait for long, and must not keep a worker.
		head, out := c.Head, append([][]byte(nil), out...)
		d.waiters.Go(func() { d.handle(q, head, op, in, out) })
		return
	}
	d.handle(q, c.Head, op, in, out)
}

func (d *Device) handle(q *virtio.Queue, head uint16, op uint32, in, out [][]byte) {
	if op == opInit {
		d.server.Interrupt()
		d.active.Lock()
		defer d.active.Unlock()
		d.server.Restart()
	} else {
		d.active.RLock()
		defer d.active.RUnlock()
	}
	// No input is known to make go-fuse panic, but the input is hostile, and a
	// panic here would take other cells of the process with it.
	defer func() {
		if r := recover(); r != nil {
			q.Break("FUSE request %d made the server panic: %v", op, r)
		}
	}()
	n, _ := d.proto.HandleRequest(in, out)
	q.Push(head, n)
	q.Signal()
}

// message copies a request out of guest memory, but for the data of a WRITE.
// It returns its opcode, or what is wrong with it.
func message(c *virtio.Chain) (in [][]byte, op uint32, reason string) {
	total := virtio.Len(c.Readable)
	if total+virtio.Len(c.Writable) > maxTotal {
		return nil, 0, fmt.Sprintf("FUSE request of %d bytes", total)
	}
	var header [headerSize]byte
	if virtio.CopyIn(header[:], c.Readable) < headerSize {
		return nil, 0, fmt.Sprintf("FUSE request of %d bytes has no header", total)
	}
	op = binary.LittleEndian.Uint32(header[4:])
	private := total
	if op == opWrite {
		private = min(total, writeSize)
	}
	if private > maxMessage {
		return nil, 0, fmt.Sprintf("FUSE request %d of %d bytes", op, total)
	}
	buf := make([]byte, private)
	virtio.CopyIn(buf, c.Readable)
	// The guest may have changed the header between the two copies.
	copy(buf, header[:])
	if op == opInit {
		if private < headerSize+8 {
			return nil, 0, "short FUSE INIT"
		}
		major := binary.LittleEndian.Uint32(buf[headerSize:])
		minor := binary.LittleEndian.Uint32(buf[headerSize+4:])
		if major != fuseMajor || minor < fuseMinMinor {
			return nil, 0, fmt.Sprintf("FUSE version %d.%d, at least %d.%d is needed", major, minor, fuseMajor, fuseMinMinor)
		}
	}
	in = append(in, buf)
	if private < total {
		in = append(in, virtio.Advance(c.Readable, private)...)
	}
	return in, op, ""
}

// Reset implements virtio.Device.
func (d *Device) Reset() {
	d.stop()
	d.server.Restart()
}

// Close implements virtio.Device.
func (d *Device) Close() error {
	d.stop()
	return d.server.Close()
}

// stop ends the workers and the lock requests that still wait.
func (d *Device) stop() {
	d.server.Interrupt()
	d.run.Stop()
	d.waiters.Wait()
}
