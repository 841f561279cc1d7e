// SPDX-License-Identifier: Apache-2.0

package virtiovsock

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/paracell/paracell/vmm/virtio"
)

var (
	errReset   = fmt.Errorf("connection to the guest: %w", syscall.ECONNRESET)
	errRefused = fmt.Errorf("connection to the guest: %w", syscall.ECONNREFUSED)
)

// Addr is one end of a connection.
type Addr struct{ CID, Port uint32 }

// Network implements net.Addr.
func (a Addr) Network() string { return "vsock" }

func (a Addr) String() string { return fmt.Sprintf("%d:%d", a.CID, a.Port) }

type state int

const (
	connecting state = iota
	open
	dead // no more packets either way
)

// Conn is a stream to the guest. It is a net.Conn with half-close.
type Conn struct {
	d     *Device
	ports ports
	cond  sync.Cond // on Device.mu: anything below has changed

	// Guarded by Device.mu.
	state      state
	err        error // why it is dead; nil for an orderly end
	closed     bool  // Close was called
	sendBuf    []byte
	wantShut   uint32 // shutdown flags to be sent after sendBuf
	shut       uint32 // shutdown flags that were sent
	sentBytes  uint32 // modulo 2^32, as the three below
	peerAlloc  uint32
	peerFwd    uint32
	fwdCnt     uint32 // bytes that the reader has taken
	fwdTold    uint32 // fwdCnt in the last packet to the guest
	recvBuf    []byte
	recvEOF    bool // the guest will not send any more
	peerDeaf   bool // the guest will not receive any more
	tellCredit bool
	readBy     deadline
	writeBy    deadline
	linger     *time.Timer // of a closed connection that the guest has not given up
}

// deadline is a time at which waiters are woken.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

// headerLocked is a packet of the connection without data.
func (c *Conn) headerLocked(op uint16) header {
	c.fwdTold = c.fwdCnt
	return header{
		srcCID: hostCID, dstCID: GuestCID, srcPort: c.ports.host, dstPort: c.ports.guest,
		kind: typeStream, op: op, bufAlloc: bufferSize, fwdCnt: c.fwdCnt,
	}
}

// packetLocked is the next packet of the connection, if it has one.
func (c *Conn) packetLocked(room int) (h header, data []byte, ok bool) {
	if c.state != open {
		return header{}, nil, false
	}
	if n := min(len(c.sendBuf), room, c.creditLocked()); n > 0 && !c.peerDeaf {
		h = c.headerLocked(opRW)
		h.length = uint32(n)
		return h, c.sendBuf[:n], true
	}
	if (len(c.sendBuf) == 0 || c.peerDeaf) && c.wantShut&^c.shut != 0 {
		c.shut |= c.wantShut
		h = c.headerLocked(opShutdown)
		h.flags = c.shut
		return h, nil, true
	}
	if c.tellCredit || c.fwdCnt-c.fwdTold >= bufferSize/4 {
		c.tellCredit = false
		return c.headerLocked(opCreditUpdate), nil, true
	}
	return header{}, nil, false
}

// creditLocked is the number of bytes that the guest has room for. A guest
// that takes back credit it has given gets nothing.
func (c *Conn) creditLocked() int {
	used := c.sentBytes - c.peerFwd
	if used >= c.peerAlloc {
		return 0
	}
	return int(c.peerAlloc - used)
}

func (c *Conn) sentLocked(n int) {
	if n == 0 {
		return
	}
	c.sentBytes += uint32(n)
	c.sendBuf = c.sendBuf[:copy(c.sendBuf, c.sendBuf[n:])]
	if len(c.sendBuf) == 0 {
		c.sendBuf = nil // an idle connection holds no memory
	}
	c.cond.Broadcast()
}

// takeLocked keeps data of the guest; false if it has sent more than it may.
func (c *Conn) takeLocked(data [][]byte) bool {
	n := virtio.Len(data)
	if len(c.recvBuf)+n > bufferSize || c.recvEOF {
		return false
	}
	if c.closed {
		c.fwdCnt += uint32(n) // nobody will read it
		return true
	}
	for _, p := range data {
		c.recvBuf = append(c.recvBuf, p...)
	}
	return true
}

// failLocked ends the connection; err nil is an orderly end.
func (c *Conn) failLocked(err error) {
	if c.state != dead {
		c.state, c.err = dead, err
		c.sendBuf = nil
		if c.linger != nil {
			c.linger.Stop() // it would keep the connection in memory
		}
		c.cond.Broadcast()
	}
}

func (c *Conn) opError(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return &net.OpError{Op: op, Net: "vsock", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}

// Read implements net.Conn.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.read(p)
	if n > 0 {
		c.d.rxBell.Ring() // there may be credit to tell
	}
	return n, c.opError("read", err)
}

func (c *Conn) read(p []byte) (int, error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, net.ErrClosed
		case c.readBy.passed():
			return 0, os.ErrDeadlineExceeded
		case len(c.recvBuf) > 0 && len(p) > 0:
			n := copy(p, c.recvBuf)
			c.recvBuf = c.recvBuf[:copy(c.recvBuf, c.recvBuf[n:])]
			if len(c.recvBuf) == 0 {
				c.recvBuf = nil
			}
			c.fwdCnt += uint32(n)
			return n, nil
		case len(p) == 0:
			return 0, nil
		case c.state == dead && c.err != nil:
			return 0, c.err
		case c.state == dead || c.recvEOF:
			return 0, io.EOF
		}
		c.cond.Wait()
	}
}

// Write implements net.Conn. It returns when the data are on their way; an
// error of the guest's end shows in a later call.
func (c *Conn) Write(p []byte) (int, error) {
	total := 0
	for {
		n, err := c.write(p[total:])
		total += n
		if n > 0 {
			c.d.rxBell.Ring()
		}
		if err != nil || total == len(p) {
			return total, c.opError("write", err)
		}
	}
}

// write waits for room and takes what fits.
func (c *Conn) write(p []byte) (int, error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, net.ErrClosed
		case c.writeBy.passed():
			return 0, os.ErrDeadlineExceeded
		case c.state == dead && c.err != nil:
			return 0, c.err
		case c.state == dead || c.peerDeaf || c.wantShut&shutSend != 0:
			return 0, syscall.EPIPE
		case len(p) == 0:
			return 0, nil
		case len(c.sendBuf) < bufferSize:
			n := min(len(p), bufferSize-len(c.sendBuf))
			c.sendBuf = append(c.sendBuf, p[:n]...)
			return n, nil
		}
		c.cond.Wait()
	}
}

// CloseWrite says that there will be no more Write. What was written is
// delivered first.
func (c *Conn) CloseWrite() error {
	c.d.mu.Lock()
	c.wantShut |= shutSend
	c.cond.Broadcast()
	c.d.mu.Unlock()
	c.d.rxBell.Ring()
	return nil
}

// Close implements net.Conn. What was written is still delivered.
func (c *Conn) Close() error {
	c.d.mu.Lock()
	if c.closed {
		c.d.mu.Unlock()
		return c.opError("close", net.ErrClosed)
	}
	c.closed = true
	c.wantShut = shutSend | shutReceive
	c.fwdCnt += uint32(len(c.recvBuf))
	c.recvBuf = nil
	c.readBy.set(c, time.Time{})
	c.writeBy.set(c, time.Time{})
	c.cond.Broadcast()
	if c.state != dead {
		c.linger = time.AfterFunc(lingerTime, c.abandon)
	}
	c.d.mu.Unlock()
	c.d.rxBell.Ring()
	return nil
}

// abandon resets a closed connection for which the guest has not done its part.
func (c *Conn) abandon() {
	c.d.mu.Lock()
	if c.state != dead {
		c.d.replies = append(c.d.replies, c.headerLocked(opRST))
		c.failLocked(errReset)
		c.d.removeLocked(c)
	}
	c.d.mu.Unlock()
	c.d.rxBell.Ring()
}

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr { return Addr{hostCID, c.ports.host} }

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr { return Addr{GuestCID, c.ports.guest} }

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setDeadline(&c.readBy, t) }

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setDeadline(&c.writeBy, t) }

func (c *Conn) setDeadline(d *deadline, t time.Time) error {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	if c.closed {
		return c.opError("set", net.ErrClosed)
	}
	d.set(c, t)
	return nil
}

func (d *deadline) set(c *Conn, t time.Time) {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.at = t
	if !t.IsZero() {
		d.timer = time.AfterFunc(time.Until(t), c.wake)
	}
	c.cond.Broadcast()
}

// wake makes all waiters look again. It takes the lock, so that none is between
// its look and its wait.
func (c *Conn) wake() {
	c.d.mu.Lock()
	c.cond.Broadcast()
	c.d.mu.Unlock()
}

// Dial connects to a port of the guest. It waits for the guest's driver, and
// for the answer of the guest, for as long as the context lives.
func (d *Device) Dial(ctx context.Context, port uint32) (*Conn, error) {
	c, err := d.request(port)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, c.wake)
	defer stop()
	d.mu.Lock()
	defer d.mu.Unlock()
	for c.state == connecting && ctx.Err() == nil {
		c.cond.Wait()
	}
	switch {
	case c.state == open:
		return c, nil
	case c.state == connecting:
		// The guest may answer still; it will be told that it is too late.
		c.failLocked(errReset)
		d.removeLocked(c)
		err = context.Cause(ctx)
	default:
		err = c.err
	}
	return nil, c.opError("dial", err)
}

// request starts a connection.
func (d *Device) request(port uint32) (*Conn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, net.ErrClosed
	}
	if len(d.conns) >= maxConns {
		return nil, fmt.Errorf("vsock: %d connections are open, more are not possible", len(d.conns))
	}
	for d.conns[ports{d.nextPort, port}] != nil {
		d.bumpPortLocked()
	}
	c := d.newConnLocked(ports{d.nextPort, port})
	d.bumpPortLocked()
	d.replies = append(d.replies, c.headerLocked(opRequest))
	d.rxBell.Ring()
	return c, nil
}

func (d *Device) bumpPortLocked() {
	if d.nextPort++; d.nextPort < firstLocalPort {
		d.nextPort = firstLocalPort
	}
}

// maxBacklog bounds the connections that wait for Accept.
const maxBacklog = 128

// Listener is a net.Listener for connections that the guest makes to CID 2.
type Listener struct {
	d    *Device
	port uint32
	cond sync.Cond // on Device.mu

	// Guarded by Device.mu.
	backlog []*Conn
	closed  bool
}

// Listen accepts connections to a port of the host's side.
func (d *Device) Listen(port uint32) (*Listener, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, net.ErrClosed
	}
	if d.listeners[port] != nil {
		return nil, fmt.Errorf("vsock port %d: %w", port, syscall.EADDRINUSE)
	}
	l := &Listener{d: d, port: port}
	l.cond.L = &d.mu
	d.listeners[port] = l
	return l, nil
}

// Accept implements net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	for len(l.backlog) == 0 && !l.closed {
		l.cond.Wait()
	}
	if l.closed {
		return nil, &net.OpError{Op: "accept", Net: "vsock", Addr: Addr{hostCID, l.port}, Err: net.ErrClosed}
	}
	c := l.backlog[0]
	l.backlog = l.backlog[1:]
	return c, nil
}

// Close implements net.Listener.
func (l *Listener) Close() error {
	l.d.mu.Lock()
	if l.closed {
		l.d.mu.Unlock()
		return net.ErrClosed
	}
	waiting := l.closeLocked()
	l.d.mu.Unlock()
	for _, c := range waiting {
		c.Close()
	}
	return nil
}

func (l *Listener) closeLocked() (waiting []*Conn) {
	l.closed = true
	delete(l.d.listeners, l.port)
	waiting, l.backlog = l.backlog, nil
	l.cond.Broadcast()
	return waiting
}

// Addr implements net.Listener.
func (l *Listener) Addr() net.Addr { return Addr{hostCID, l.port} }
