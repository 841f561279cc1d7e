// SPDX-License-Identifier: Apache-2.0

// Package virtioconsole is a virtio console with one port (virtio 1.2, section
// 5.3): hvc0 in the guest, a reader and a writer on the host.
package virtioconsole

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"sync"

	"github.com/paracell/paracell/vmm/virtio"
)

const (
	queueSize = 64

	rxQueue = 0 // to the guest
	txQueue = 1 // from the guest

	featureSize = 1 << 0

	// readSize is the unit in which input is read ahead, in bytes. Input
	// beyond it stays with the reader until the guest has taken it.
	readSize = 4096
)

// Device is a virtio.Device.
//
// Output is written to the writer in order. A writer that blocks for long makes
// the guest wait. When it fails, output is thrown away: a guest must not hang
// because nobody reads its console.
type Device struct {
	in  *pump
	out *spool // nil: output is thrown away

	sizeMu     sync.Mutex
	cols, rows uint16
	resized    func(config []byte)

	rx, tx         *virtio.Queue
	rxBell, txBell virtio.Bell
	run            virtio.Runner
}

// Options configure New.
type Options struct {
	// In is what the guest reads; nil is no input. A Read under way when the
	// device is closed is abandoned; if In is an io.Closer, Close ends it.
	In io.Reader
	// Out gets what the guest writes, from one goroutine; nil throws it away.
	// A Write under way when the device is closed is abandoned.
	Out io.Writer
	// Cols and Rows are the initial size of the terminal; 0 is unknown.
	Cols, Rows uint16
}

// New returns a console. It starts to read In when the guest's driver is up.
func New(o Options) *Device {
	d := &Device{cols: o.Cols, rows: o.Rows, rxBell: virtio.NewBell(), txBell: virtio.NewBell()}
	if o.Out != nil {
		d.out = newSpool(o.Out)
	}
	if o.In != nil {
		d.in = &pump{src: o.In, wake: d.rxBell}
		d.in.room.L = &d.in.mu
	}
	return d
}

// Type implements virtio.Device.
func (d *Device) Type() uint32 { return virtio.TypeConsole }

// Features implements virtio.Device. The size is always on offer, so that a
// terminal whose size is not known at start can tell it later.
func (d *Device) Features() uint64 { return featureSize }

// QueueSizes implements virtio.Device.
func (d *Device) QueueSizes() []int { return []int{queueSize, queueSize} }

// Config implements virtio.Device.
func (d *Device) Config() []byte {
	d.sizeMu.Lock()
	defer d.sizeMu.Unlock()
	return d.configLocked()
}

func (d *Device) configLocked() []byte {
	c := make([]byte, 12) // cols, rows, max_nr_ports, emerg_wr
	binary.LittleEndian.PutUint16(c[0:], d.cols)
	binary.LittleEndian.PutUint16(c[2:], d.rows)
	return c
}

// OnConfigChange implements virtio.ConfigChanger.
func (d *Device) OnConfigChange(f func(config []byte)) {
	d.sizeMu.Lock()
	d.resized = f
	d.sizeMu.Unlock()
}

// Resize tells the guest the size of the terminal.
func (d *Device) Resize(cols, rows uint16) {
	d.sizeMu.Lock()
	defer d.sizeMu.Unlock()
	d.cols, d.rows = cols, rows
	if d.resized != nil {
		// Under the lock, so that the last size is the one that stays.
		d.resized(d.configLocked())
	}
}

// Activate implements virtio.Device.
func (d *Device) Activate(_ uint64, queues []*virtio.Queue) error {
	d.rx, d.tx = queues[rxQueue], queues[txQueue]
	if d.rx == nil || d.tx == nil {
		return errors.New("a console needs both of its queues")
	}
	if d.out != nil {
		d.out.pause(false)
	}
	d.run.Start()
	d.run.Serve(d.txBell, d.transmit)
	if d.in != nil {
		d.in.start()
		d.run.Serve(d.rxBell, d.receive)
	}
	return nil
}

// Kick implements virtio.Device.
func (d *Device) Kick(queue int) {
	if queue == txQueue {
		d.txBell.Ring()
	} else {
		d.rxBell.Ring()
	}
}

// transmit takes what the guest has sent.
func (d *Device) transmit() {
	var c virtio.Chain
	for {
		for d.tx.Pop(&c) {
			if d.out != nil && !d.out.add(c.Readable) {
				return
			}
			d.tx.Push(c.Head, 0)
			d.tx.Signal()
		}
		if !d.tx.EnableNotify() {
			return
		}
	}
}

// receive gives the guest the input that has been read ahead.
func (d *Device) receive() {
	var c virtio.Chain
	for d.in.pending() {
		if !d.rx.Pop(&c) {
			if !d.rx.EnableNotify() {
				return
			}
			continue
		}
		d.rx.Push(c.Head, d.in.take(c.Writable))
		d.rx.Signal()
	}
}

// Drain waits until all that the guest has written before it ended is with the
// writer, or for the end of the context.
func (d *Device) Drain(ctx context.Context) error {
	if d.out == nil {
		return nil
	}
	return d.out.drain(ctx)
}

// Reset implements virtio.Device.
func (d *Device) Reset() {
	if d.out != nil {
		d.out.pause(true)
	}
	d.run.Stop()
}

// Close implements virtio.Device. Output that was not drained is lost.
func (d *Device) Close() error {
	d.Reset()
	if d.out != nil {
		d.out.close()
	}
	if d.in == nil {
		return nil
	}
	return d.in.close()
}

// pump reads ahead from a source that may block for ever, in a goroutine of
// its own that does not touch guest memory and so may outlive an activation.
type pump struct {
	src  io.Reader
	wake virtio.Bell

	mu      sync.Mutex
	room    sync.Cond // buf has become empty, or closed
	buf     []byte
	started bool
	closed  bool
}

func (p *pump) start() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.started && !p.closed {
		p.started = true
		go p.read()
	}
	if len(p.buf) > 0 {
		p.wake.Ring()
	}
}

func (p *pump) read() {
	space := make([]byte, readSize)
	for {
		n, err := p.src.Read(space)
		p.mu.Lock()
		p.buf = space[:n]
		if n > 0 {
			p.wake.Ring()
		}
		for len(p.buf) > 0 && !p.closed {
			p.room.Wait()
		}
		closed := p.closed
		p.mu.Unlock()
		if err != nil || closed {
			return
		}
	}
}

func (p *pump) pending() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.buf) > 0
}

// take moves input into parts and returns the number of bytes.
func (p *pump) take(parts [][]byte) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := virtio.CopyOut(parts, p.buf)
	p.buf = p.buf[n:]
	if len(p.buf) == 0 {
		p.room.Signal()
	}
	return n
}

func (p *pump) close() error {
	p.mu.Lock()
	p.closed = true
	p.room.Signal()
	p.mu.Unlock()
	if c, ok := p.src.(io.Closer); ok {
		return c.Close()
	}
	return nil
}
