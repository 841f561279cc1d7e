// SPDX-License-Identifier: Apache-2.0

package virtionet_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/paracell/paracell/vmm/virtio"
	"github.com/paracell/paracell/vmm/virtio/virtiotest"
	"github.com/paracell/paracell/vmm/virtionet"
)

// port is a socket that keeps packets apart, as a tap does.
type port struct {
	*os.File
	offload atomic.Int64
}

func (p *port) SetOffload(flags int) error {
	p.offload.Store(int64(flags))
	return nil
}

type wire struct {
	t    testing.TB
	d    *virtionet.Device
	port *port
	peer *os.File // the network
	m    *virtiotest.Machine

	rx, tx *virtiotest.Queue
}

var mac = net.HardwareAddr{2, 0, 0, 0, 0, 1}

func pair(t testing.TB) (*port, *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	peer := os.NewFile(uintptr(fds[1]), "peer")
	t.Cleanup(func() { peer.Close() })
	return &port{File: os.NewFile(uintptr(fds[0]), "port")}, peer
}

func boot(t testing.TB) *wire {
	t.Helper()
	p, peer := pair(t)
	d, err := virtionet.New(p, virtionet.Options{MAC: mac, MTU: 1500})
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{t: t, d: d, port: p, peer: peer, m: virtiotest.NewMachine(t, 32<<20)}
	q := virtiotest.Start(t, w.m, d)
	w.rx, w.tx = q[0], q[1]
	return w
}

// header is struct virtio_net_hdr_v1 without the last field.
type header struct {
	flags, gso                             uint8
	hdrLen, gsoSize, csumStart, csumOffset uint16
}

func (h header) bytes() []byte {
	b := []byte{h.flags, h.gso}
	for _, v := range []uint16{h.hdrLen, h.gsoSize, h.csumStart, h.csumOffset, 0} {
		b = binary.LittleEndian.AppendUint16(b, v)
	}
	return b
}

func packet(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7)
	}
	return b
}

// transmit sends as the guest and waits until the device has taken it.
func (w *wire) transmit(parts ...[]byte) {
	w.t.Helper()
	w.tx.Add(parts)
	w.d.Kick(1)
	w.tx.Wait()
}

// sent is what has come out on the network; nil is nothing.
func (w *wire) sent() []byte {
	w.t.Helper()
	b := make([]byte, 128<<10)
	if err := w.peer.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		w.t.Fatal(err)
	}
	n, err := w.peer.Read(b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return b[:n]
}

func TestTransmit(t *testing.T) {
	w := boot(t)
	whole := header{flags: 1, gso: 1, hdrLen: 54, gsoSize: 1448, csumStart: 34, csumOffset: 16}
	data := packet(40000)
	w.transmit(whole.bytes(), data[:100], data[100:30000], data[30000:])
	if got := w.sent(); !bytes.Equal(got, append(whole.bytes(), data...)) {
		t.Errorf("%d bytes came out, not what was sent", len(got))
	}
	// Header and packet in one buffer, and unused fields with rubbish in them.
	w.transmit(append(header{hdrLen: 1, gsoSize: 2, csumStart: 3, csumOffset: 4}.bytes(), data[:60]...))
	if got := w.sent(); !bytes.Equal(got, append(header{}.bytes(), data[:60]...)) {
		t.Errorf("%x came out", got)
	}
}

func TestOddPacketsAreDropped(t *testing.T) {
	w := boot(t)
	good := header{flags: 1, gso: 1, hdrLen: 54, gsoSize: 1448, csumStart: 34, csumOffset: 16}
	for name, c := range map[string]struct {
		change func(*header)
		size   int
	}{
		"short":                 {func(h *header) { *h = header{} }, 13},
		"long":                  {func(*header) {}, 65535 + 19},
		"checksum outside":      {func(h *header) { h.csumStart = 999 }, 1000},
		"checksum wraps":        {func(h *header) { h.csumStart, h.csumOffset = 0xffff, 0xffff }, 1000},
		"unknown flag":          {func(h *header) { h.flags |= 2 }, 1000},
		"unknown segmentation":  {func(h *header) { h.gso = 2 }, 1000},
		"UDP fragments":         {func(h *header) { h.gso = 3 }, 1000},
		"UDP with ECN":          {func(h *header) { h.gso = 0x85 }, 1000},
		"ECN alone":             {func(h *header) { h.gso = 0x80 }, 1000},
		"segments of no size":   {func(h *header) { h.gsoSize = 0 }, 1000},
		"segments, no checksum": {func(h *header) { h.flags = 0 }, 1000},
		"header longer":         {func(h *header) { h.hdrLen = 1001 }, 1000},
	} {
		h := good
		c.change(&h)
		w.transmit(h.bytes(), packet(c.size))
		if got := w.sent(); got != nil {
			t.Errorf("%s: %d bytes came out", name, len(got))
		}
	}
	w.transmit(good.bytes(), packet(1000))
	if got := w.sent(); len(got) != 1012 {
		t.Errorf("a good packet after them: %d bytes", len(got))
	}
}

func TestReceive(t *testing.T) {
	w := boot(t)
	for range 64 {
		w.rx.Add(nil, 100, 1400)
	}
	w.d.Kick(0)
	for _, n := range []int{14, 60, 1488, 1489, 65535} {
		h := header{flags: 1, gso: 1, hdrLen: 54, gsoSize: 1448, csumStart: 34, csumOffset: 16}
		data := packet(n)
		if _, err := w.peer.Write(append(h.bytes(), data...)); err != nil {
			t.Fatal(err)
		}
		_, got := w.rx.Wait()
		want := (n + 12 + 1499) / 1500
		if buffers := binary.LittleEndian.Uint16(got[10:]); int(buffers) != want {
			t.Errorf("packet of %d bytes: %d buffers, want %d", n, buffers, want)
		}
		if !bytes.Equal(got[:10], h.bytes()[:10]) {
			t.Errorf("packet of %d bytes: header %x", n, got[:10])
		}
		for range want - 1 {
			// They are all there, as soon as the first one is.
			_, more, ok := w.rx.Poll()
			if !ok {
				t.Fatal("a buffer is missing")
			}
			got = append(got, more...)
		}
		if !bytes.Equal(got[12:], data) {
			t.Errorf("packet of %d bytes: %d came, not the same", n, len(got)-12)
		}
		for range want {
			w.rx.Add(nil, 100, 1400)
		}
		w.d.Kick(0)
	}
}

// A packet that comes while the guest has no buffers waits.
func TestReceiveWithoutBuffers(t *testing.T) {
	w := boot(t)
	data := packet(200)
	if _, err := w.peer.Write(append(header{}.bytes(), data...)); err != nil {
		t.Fatal(err)
	}
	w.rx.Add(nil, 1500) // not enough for every packet
	w.d.Kick(0)
	if _, _, ok := w.rx.Poll(); ok {
		t.Error("a packet was read that could have been longer than the buffers")
	}
	w.rx.Add(nil, 65000)
	w.d.Kick(0)
	if _, got := w.rx.Wait(); !bytes.Equal(got[12:], data) {
		t.Errorf("%d bytes", len(got))
	}
}

func TestActivation(t *testing.T) {
	p, peer := pair(t)
	d, err := virtionet.New(p, virtionet.Options{MAC: mac, MTU: 9000})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if c := d.Config(); !bytes.Equal(c[:6], mac) || binary.LittleEndian.Uint16(c[10:]) != 9000 {
		t.Errorf("configuration %x", c)
	}
	for _, c := range []struct {
		features uint64
		offload  int64
	}{
		{0, 0},
		{1 << 7, 0}, // segments without checksums
		{1 << 1, unix.TUN_F_CSUM},
		{1<<1 | 1<<9, unix.TUN_F_CSUM},
		{1<<1 | 1<<7 | 1<<9, unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO_ECN},
		{1<<1 | 1<<54, unix.TUN_F_CSUM},
		{d.Features(), unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN | unix.TUN_F_USO4 | unix.TUN_F_USO6},
	} {
		m := virtiotest.NewMachine(t, 1<<20)
		features := c.features | virtio.RingFeatures
		rx, tx := virtiotest.NewQueue(t, m, 256, features), virtiotest.NewQueue(t, m, 256, features)
		if err := d.Activate(features, []*virtio.Queue{rx.Device, tx.Device}); err != nil {
			t.Fatal(err)
		}
		if got := p.offload.Load(); got != c.offload {
			t.Errorf("features %#x: offloads %#x, want %#x", c.features, got, c.offload)
		}
		// Without merging one buffer is enough.
		if c.features&(1<<15) == 0 {
			rx.Add(nil, 1526)
			d.Kick(0)
			if _, err := peer.Write(append(header{}.bytes(), packet(100)...)); err != nil {
				t.Fatal(err)
			}
			if _, got := rx.Wait(); len(got) != 112 {
				t.Errorf("features %#x: %d bytes", c.features, len(got))
			}
		}
		d.Reset()
	}
	if d.Activate(virtio.RingFeatures, make([]*virtio.Queue, 2)) == nil {
		t.Error("activated without queues")
	}
}

func TestNewRefuses(t *testing.T) {
	for _, o := range []virtionet.Options{{MAC: mac, MTU: 10}, {MAC: mac, MTU: 70000}, {MTU: 1500}} {
		p, _ := pair(t)
		if _, err := virtionet.New(p, o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
		if p.Close() == nil {
			t.Errorf("%+v: the port was not closed", o)
		}
	}
}

func TestBrokenDrivers(t *testing.T) {
	t.Run("no header", func(t *testing.T) {
		w := boot(t)
		w.tx.Add([][]byte{make([]byte, 11)})
		w.d.Kick(1)
		t.Log(w.tx.WaitError())
	})
	t.Run("small receive buffer", func(t *testing.T) {
		w := boot(t)
		w.rx.Add(nil, 11)
		w.d.Kick(0)
		t.Log(w.rx.WaitError())
	})
}

// FuzzTransmit sends what a hostile driver makes up; what reaches the tap is
// well-formed.
func FuzzTransmit(f *testing.F) {
	f.Add(append(header{}.bytes(), packet(60)...), uint16(20))
	f.Add(append(header{1, 1, 54, 1448, 34, 16}.bytes(), packet(3000)...), uint16(12))
	f.Add(append(header{1, 4, 74, 1428, 54, 16}.bytes(), packet(3000)...), uint16(1))
	f.Fuzz(func(t *testing.T, data []byte, cut uint16) {
		if len(data) == 0 || len(data) > 4096 {
			return
		}
		w := boot(t)
		n := 1 + int(cut)%len(data)
		parts := [][]byte{data[:n]}
		if n < len(data) {
			parts = append(parts, data[n:])
		}
		w.tx.Add(parts)
		w.d.Kick(1)
		for w.tx.Err() == nil {
			if _, _, ok := w.tx.Poll(); ok {
				break
			}
			runtime.Gosched()
		}
		got := make([]byte, 8192)
		if err := w.peer.SetReadDeadline(time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		n, err := unix.Read(int(w.peer.Fd()), got)
		if err != nil {
			return // dropped
		}
		got = got[:n]
		start, offset := binary.LittleEndian.Uint16(got[6:]), binary.LittleEndian.Uint16(got[8:])
		switch {
		case n < 12+14 || n != len(data) || !bytes.Equal(got[12:], data[12:]):
			t.Fatalf("%d bytes of %d came out", n, len(data))
		case got[0]&^1 != 0, got[0] == 0 && (start != 0 || offset != 0), int(start)+int(offset)+2 > n-12 && got[0] != 0:
			t.Fatalf("checksum: %x", got[:12])
		case got[1] != 0 && (got[0] == 0 || got[4] == 0 && got[5] == 0):
			t.Fatalf("segments: %x", got[:12])
		}
	})
}

// FuzzReceive offers buffers of any shape; no packet breaks the device.
func FuzzReceive(f *testing.F) {
	f.Add([]byte{200, 255, 255, 30}, uint16(60))
	f.Add([]byte{1, 1, 1, 40, 0, 9}, uint16(1000))
	f.Add(bytes.Repeat([]byte{255}, 100), uint16(60000))
	f.Fuzz(func(t *testing.T, sizes []byte, n uint16) {
		if n == 0 {
			return // a packet without a byte is none
		}
		w := boot(t)
		if _, err := w.peer.Write(append(header{}.bytes(), packet(int(n))...)); err != nil {
			t.Fatal(err)
		}
		var parts []int
		for _, s := range sizes {
			if s == 0 || len(parts) == 8 {
				if len(parts) > 0 && w.rx.Room(len(parts)+1) {
					w.rx.Add(nil, parts...)
				}
				parts = nil
				continue
			}
			parts = append(parts, 8*int(s))
		}
		w.rx.Add(nil, 70000)
		w.d.Kick(0)
		got, seen := 0, 0
		end := time.Now().Add(virtiotest.Timeout)
		for want := 1; seen < want && w.rx.Err() == nil; {
			_, data, ok := w.rx.Poll()
			if !ok {
				if time.Now().After(end) {
					t.Fatal("the device does not answer")
				}
				runtime.Gosched()
				continue
			}
			if seen == 0 {
				want = int(binary.LittleEndian.Uint16(data[10:]))
			}
			seen++
			got += len(data)
		}
		if w.rx.Err() == nil && got != int(n)+12 {
			t.Fatalf("%d bytes of %d", got, int(n)+12)
		}
	})
}
