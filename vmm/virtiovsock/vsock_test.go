// SPDX-License-Identifier: Apache-2.0

package virtiovsock

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/paracell/paracell/vmm/virtio/virtiotest"
)

// guest is the driver side: it sends and gets single packets.
type guest struct {
	t       *testing.T
	d       *Device
	rx, tx  *virtiotest.Queue
	bufSize int
}

func boot(t *testing.T) *guest {
	t.Helper()
	d := New()
	q := virtiotest.Start(t, virtiotest.NewMachine(t, 512<<20), d)
	g := &guest{t: t, d: d, rx: q[rxQueue], tx: q[txQueue], bufSize: 4096}
	for range 8 {
		g.rx.Add(nil, g.bufSize)
	}
	d.Kick(rxQueue)
	return g
}

func (g *guest) send(h header, data ...[]byte) {
	g.t.Helper()
	h.srcCID, h.dstCID, h.kind = GuestCID, hostCID, typeStream
	h.length = uint32(len(bytes.Join(data, nil)))
	g.raw(h, data...)
}

func (g *guest) raw(h header, data ...[]byte) {
	g.t.Helper()
	var b [headerSize]byte
	h.encode(&b)
	g.tx.Add(append([][]byte{b[:]}, data...))
	g.d.Kick(txQueue)
	g.tx.Wait()
}

func (g *guest) recv() (h header, data []byte) {
	g.t.Helper()
	_, b := g.rx.Wait()
	g.rx.Add(nil, g.bufSize)
	g.d.Kick(rxQueue)
	h.decode((*[headerSize]byte)(b))
	if h.srcCID != hostCID || h.dstCID != GuestCID || int(h.length) != len(b)-headerSize {
		g.t.Fatalf("packet %+v with %d bytes", h, len(b)-headerSize)
	}
	return h, b[headerSize:]
}

func (g *guest) expect(op uint16) (header, []byte) {
	g.t.Helper()
	h, data := g.recv()
	if h.op != op {
		g.t.Fatalf("operation %d, want %d: %+v", h.op, op, h)
	}
	return h, data
}

const window = 64 << 10

// connect makes a connection from port 7 of the guest to a listener.
func (g *guest) connect() (net.Conn, header) {
	g.t.Helper()
	l, err := g.d.Listen(1024)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { l.Close() })
	out := header{srcPort: 7, dstPort: 1024, op: opRequest, bufAlloc: window}
	g.send(out)
	g.expect(opResponse)
	c, err := l.Accept()
	if err != nil {
		g.t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(virtiotest.Timeout))
	out.op = opRW
	return c, out
}

func TestGuestConnects(t *testing.T) {
	g := boot(t)
	c, out := g.connect()
	if c.RemoteAddr().String() != "3:7" || c.LocalAddr().String() != "2:1024" {
		t.Errorf("addresses %v, %v", c.LocalAddr(), c.RemoteAddr())
	}
	g.send(out, []byte("he"), []byte("llo"))
	buf := make([]byte, 100)
	if n, err := c.Read(buf); err != nil || string(buf[:n]) != "hello" {
		t.Fatalf("read %q, %v", buf[:n], err)
	}
	if _, err := c.Write([]byte("answer")); err != nil {
		t.Fatal(err)
	}
	h, data := g.expect(opRW)
	if string(data) != "answer" || h.srcPort != 1024 || h.dstPort != 7 || h.fwdCnt != 5 || h.bufAlloc != bufferSize {
		t.Fatalf("got %+v %q", h, data)
	}
	// The guest closes: both directions at once, and waits for RST.
	out.op, out.flags = opShutdown, shutSend|shutReceive
	g.send(out)
	g.expect(opRST)
	if _, err := c.Read(buf); err != io.EOF {
		t.Errorf("read after the end: %v", err)
	}
	if _, err := c.Write(buf); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("write after the end: %v", err)
	}
	c.Close()
}

func TestHostDials(t *testing.T) {
	g := boot(t)
	ctx, cancel := context.WithTimeout(t.Context(), virtiotest.Timeout)
	defer cancel()
	answer := func(op uint16) {
		h, _ := g.expect(opRequest)
		g.send(header{srcPort: h.dstPort, dstPort: h.srcPort, op: op, bufAlloc: window})
	}
	type result struct {
		c   *Conn
		err error
	}
	dial := func(ctx context.Context) chan result {
		r := make(chan result, 1)
		go func() {
			c, err := g.d.Dial(ctx, 99)
			r <- result{c, err}
		}()
		return r
	}
	r := dial(ctx)
	answer(opRST)
	if got := <-r; !errors.Is(got.err, syscall.ECONNREFUSED) {
		t.Fatalf("refused: %v", got.err)
	}
	r = dial(ctx)
	answer(opResponse)
	got := <-r
	if got.err != nil {
		t.Fatal(got.err)
	}
	got.c.Write([]byte("x"))
	got.c.Close()
	if h, _ := g.expect(opRW); h.dstPort != 99 {
		t.Errorf("data to %d", h.dstPort)
	}
	if h, _ := g.expect(opShutdown); h.flags != shutSend|shutReceive {
		t.Errorf("flags %d", h.flags)
	}

	short, stop := context.WithTimeout(ctx, 10*time.Millisecond)
	defer stop()
	r = dial(short)
	g.expect(opRequest)
	if got := <-r; !errors.Is(got.err, context.DeadlineExceeded) {
		t.Fatalf("no answer: %v", got.err)
	}
}

// More data than the guest gives room for at once, in both directions.
func TestFlowControl(t *testing.T) {
	g := boot(t)
	c, out := g.connect()
	r := rand.New(rand.NewPCG(3, 4))
	want := make([]byte, 3*window+123)
	for i := range want {
		want[i] = byte(r.Uint32())
	}
	go c.Write(want)
	var got []byte
	for len(got) < len(want) {
		_, data := g.expect(opRW)
		got = append(got, data...)
		if len(got)-int(out.fwdCnt) > window {
			t.Fatalf("%d bytes without credit", len(got)-int(out.fwdCnt))
		}
		if len(got)-int(out.fwdCnt) == window {
			out.op, out.fwdCnt = opCreditUpdate, uint32(len(got))
			g.send(out)
		}
	}
	if !bytes.Equal(got, want) {
		t.Fatal("the guest got other data")
	}

	// The guest asks for credit and is told.
	out.op = opCreditRequest
	g.send(out)
	if h, _ := g.expect(opCreditUpdate); h.bufAlloc != bufferSize || h.fwdCnt != 0 {
		t.Errorf("credit %+v", h)
	}
	chunk := make([]byte, 32<<10)
	out.op = opRW
	for range bufferSize / len(chunk) {
		g.send(out, chunk)
	}
	if n, err := io.ReadFull(c, make([]byte, bufferSize)); err != nil {
		t.Fatal(n, err)
	}
	h, _ := g.expect(opCreditUpdate)
	for h.fwdCnt < bufferSize*3/4 {
		h, _ = g.expect(opCreditUpdate)
	}
}

func TestGuestOverrunsItsCredit(t *testing.T) {
	g := boot(t)
	c, out := g.connect()
	chunk := make([]byte, 64<<10)
	for range bufferSize/len(chunk) + 1 {
		g.send(out, chunk)
	}
	g.expect(opRST)
	n, err := io.Copy(io.Discard, c)
	if n != bufferSize || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%d bytes, %v", n, err)
	}
}

func TestHalfClose(t *testing.T) {
	g := boot(t)
	c, out := g.connect()
	c.Write([]byte("last words"))
	c.(*Conn).CloseWrite()
	g.expect(opRW)
	if h, _ := g.expect(opShutdown); h.flags != shutSend {
		t.Fatalf("flags %d", h.flags)
	}
	if _, err := c.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("write after CloseWrite: %v", err)
	}
	g.send(out, []byte("reply"))
	out.op, out.flags = opShutdown, shutSend
	g.send(out)
	if got, err := io.ReadAll(c); err != nil || string(got) != "reply" {
		t.Errorf("read %q, %v", got, err)
	}
}

// A connection that both sides have given up is forgotten at once: a guest could
// make any number of them while the host waits.
func TestEndedConnectionsAreForgotten(t *testing.T) {
	g := boot(t)
	c, out := g.connect()
	c.Close()
	g.expect(opShutdown)
	g.d.mu.Lock()
	timer := c.(*Conn).linger
	g.d.mu.Unlock()
	out.op = opRST
	g.send(out)
	if timer == nil || timer.Stop() {
		t.Error("the end of the connection is still waited for")
	}
}

func TestDeadlines(t *testing.T) {
	g := boot(t)
	c, _ := g.connect()
	c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read: %v", err)
	}
	c.SetWriteDeadline(time.Now().Add(time.Second)) // long enough to use up the credit on a busy machine
	if n, err := c.Write(make([]byte, 4*bufferSize)); !errors.Is(err, os.ErrDeadlineExceeded) || n < bufferSize {
		t.Errorf("write: %d, %v", n, err)
	}
}

func TestResetFailsConnections(t *testing.T) {
	g := boot(t)
	c, _ := g.connect()
	go g.d.Reset()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read: %v", err)
	}
}

func TestUnknownPacketsAreReset(t *testing.T) {
	g := boot(t)
	for _, h := range []header{
		{srcPort: 1, dstPort: 2, op: opRequest},
		{srcPort: 1, dstPort: 2, op: opRW},
		{srcPort: 1, dstPort: 2, op: 77},
	} {
		g.send(h)
		if got, _ := g.expect(opRST); got.dstPort != 1 || got.srcPort != 2 {
			t.Errorf("RST %+v", got)
		}
	}
	g.send(header{op: opRST})
	g.raw(header{srcCID: GuestCID, dstCID: 9, kind: typeStream, op: opRequest, srcPort: 5})
	g.expect(opRST)
	g.raw(header{srcCID: GuestCID, dstCID: hostCID, kind: 2, op: opRequest, srcPort: 5})
	if h, _ := g.expect(opRST); h.kind != 2 {
		t.Errorf("RST %+v", h)
	}
}

func TestBadPacketsBreakTheDevice(t *testing.T) {
	for name, send := range map[string]func(g *guest){
		"short":       func(g *guest) { g.tx.Add([][]byte{make([]byte, 43)}) },
		"length":      func(g *guest) { sendRaw(g, header{srcCID: GuestCID, length: 1}) },
		"false guest": func(g *guest) { sendRaw(g, header{srcCID: 4}) },
	} {
		t.Run(name, func(t *testing.T) {
			g := boot(t)
			send(g)
			g.d.Kick(txQueue)
			t.Log(g.tx.WaitError())
		})
	}
}

func sendRaw(g *guest, h header) {
	var b [headerSize]byte
	h.encode(&b)
	g.tx.Add([][]byte{b[:]})
}

// A guest that sends and never takes a reply stops being heard; the host does
// not grow.
func TestRepliesAreBounded(t *testing.T) {
	d := New()
	q := virtiotest.Start(t, virtiotest.NewMachine(t, 64<<20), d)
	var b [headerSize]byte
	h := header{srcCID: GuestCID, dstCID: hostCID, kind: typeStream, op: opRW}
	h.encode(&b)
	answered := 0
	for answered < 1000 {
		if q[txQueue].Room(1) {
			q[txQueue].Add([][]byte{b[:]})
			d.Kick(txQueue)
		} else {
			time.Sleep(time.Millisecond)
		}
		if _, _, ok := q[txQueue].Poll(); ok {
			answered++
		} else if !q[txQueue].Room(1) && answered >= maxReplies {
			break
		}
	}
	if answered > maxReplies {
		t.Errorf("%d packets were taken, %d replies may wait", answered, maxReplies)
	}
	for range maxReplies + txSize {
		q[rxQueue].Add(nil, 64)
		d.Kick(rxQueue)
		q[rxQueue].Wait()
	}
}

func FuzzPacket(f *testing.F) {
	for op := uint16(0); op < 9; op++ {
		var b [headerSize]byte
		h := header{srcCID: GuestCID, dstCID: hostCID, kind: typeStream, op: op, srcPort: 7, dstPort: 1024, length: 3}
		h.encode(&b)
		f.Add(append(b[:], 1, 2, 3))
		f.Add(append(append(b[:], 1, 2, 3), b[:]...))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d := New()
		l, err := d.Listen(1024)
		if err != nil {
			t.Fatal(err)
		}
		q := virtiotest.Start(t, virtiotest.NewMachine(t, 4<<20), d)
		for range 8 {
			q[rxQueue].Add(nil, 256)
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go io.Copy(c, c)
			}
		}()
		for len(data) > 0 && q[txQueue].Err() == nil && q[txQueue].Room(1) {
			n := min(len(data), headerSize+3)
			q[txQueue].Add([][]byte{data[:n]})
			d.Kick(txQueue)
			data = data[n:]
		}
		for range 8 {
			q[txQueue].Poll()
			time.Sleep(10 * time.Microsecond)
		}
	})
}
