// SPDX-License-Identifier: Apache-2.0

package virtiofs_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/paracell/paracell/vmm/virtio/virtiotest"
	"github.com/paracell/paracell/vmm/virtiofs"
	"github.com/paracell/paracell/vmm/virtiofs/passthrough"
)

// Opcodes (linux/fuse.h).
const (
	opLookup = 1
	opForget = 2
	opRead   = 15
	opWrite  = 16
	opInit   = 26
	opSetlkw = 33
)

// guest sends FUSE requests through the queues of a device.
type guest struct {
	t      *testing.T
	dev    *virtiofs.Device
	queues []*virtiotest.Queue
	unique uint64
	dir    string
}

func boot(t *testing.T, o passthrough.Options) *guest {
	t.Helper()
	g := &guest{t: t, dir: t.TempDir()}
	fs, err := passthrough.New(passthrough.Share{Dir: g.dir}, o)
	if err != nil {
		t.Fatal(err)
	}
	g.dev, err = virtiofs.New("root", fs)
	if err != nil {
		t.Fatal(err)
	}
	g.queues = virtiotest.Start(t, virtiotest.NewMachine(t, 64<<20), g.dev)
	return g
}

func (g *guest) message(op uint32, node uint64, body []byte) []byte {
	g.unique++
	m := binary.LittleEndian.AppendUint32(nil, uint32(40+len(body)))
	m = binary.LittleEndian.AppendUint32(m, op)
	m = binary.LittleEndian.AppendUint64(m, g.unique)
	m = binary.LittleEndian.AppendUint64(m, node)
	m = append(m, make([]byte, 16)...)
	return append(m, body...)
}

// call sends one request in parts and returns the reply's error and data.
func (g *guest) call(op uint32, node uint64, body []byte, data [][]byte, reply ...int) (int32, []byte) {
	g.t.Helper()
	g.queues[1].Add(append([][]byte{g.message(op, node, body)}, data...), append([]int{16}, reply...)...)
	g.dev.Kick(1)
	_, out := g.queues[1].Wait()
	if len(out) < 16 || binary.LittleEndian.Uint64(out[8:]) != g.unique {
		g.t.Fatalf("reply %x to request %d", out, g.unique)
	}
	if n := binary.LittleEndian.Uint32(out); int(n) != len(out) {
		g.t.Fatalf("reply of %d bytes says %d", len(out), n)
	}
	return int32(binary.LittleEndian.Uint32(out[4:])), out[16:]
}

func words(w ...uint32) []byte {
	var b []byte
	for _, x := range w {
		b = binary.LittleEndian.AppendUint32(b, x)
	}
	return b
}

func (g *guest) init() {
	g.t.Helper()
	body := append(words(7, 41, 128<<10, 0xffffffff, 0xffffffff), make([]byte, 44)...)
	errno, out := g.call(opInit, 0, body, nil, 64)
	if errno != 0 || binary.LittleEndian.Uint32(out) != 7 {
		g.t.Fatalf("INIT: %d, %x", errno, out)
	}
}

func (g *guest) lookup(name string) uint64 {
	g.t.Helper()
	errno, out := g.call(opLookup, 1, append([]byte(name), 0), nil, 128)
	if errno != 0 {
		g.t.Fatalf("LOOKUP %q: %d", name, errno)
	}
	return binary.LittleEndian.Uint64(out)
}

func ioBody(off uint64, size uint32) []byte {
	b := make([]byte, 40)
	binary.LittleEndian.PutUint64(b[8:], off)
	binary.LittleEndian.PutUint32(b[16:], size)
	return b
}

func TestConfig(t *testing.T) {
	fs := passthrough.NewShares(passthrough.Options{})
	d, err := virtiofs.New("tag", fs)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if c := d.Config(); !bytes.HasPrefix(c, []byte("tag\x00")) || c[36] != 1 {
		t.Errorf("config %v", c)
	}
	for _, tag := range []string{"", strings.Repeat("x", 37)} {
		if _, err := virtiofs.New(tag, passthrough.NewShares(passthrough.Options{})); err == nil {
			t.Errorf("tag %q accepted", tag)
		}
	}
}

// Data in many parts, as the guest's page cache sends them.
func TestReadAndWriteInPages(t *testing.T) {
	g := boot(t, passthrough.Options{Exclusive: true})
	data := make([]byte, 5*4096)
	for i := range data {
		data[i] = byte(i * 7)
	}
	if err := os.WriteFile(filepath.Join(g.dir, "f"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	g.init()
	f := g.lookup("f")
	errno, out := g.call(opRead, f, ioBody(4096, 4*4096), nil, 4096, 4096, 4096, 4096)
	if errno != 0 || !bytes.Equal(out, data[4096:]) {
		t.Fatalf("READ: %d, %d bytes", errno, len(out))
	}
	errno, out = g.call(opRead, f, ioBody(5*4096-10, 4096), nil, 4096)
	if errno != 0 || !bytes.Equal(out, data[5*4096-10:]) {
		t.Fatalf("READ at the end: %d, %d bytes", errno, len(out))
	}
	page := func(c string) []byte { return []byte(strings.Repeat(c, 4096)) }
	errno, out = g.call(opWrite, f, ioBody(4096, 2*4096+5), [][]byte{page("a"), page("b"), page("c")}, 8)
	if errno != 0 || binary.LittleEndian.Uint32(out) != 2*4096+5 {
		t.Fatalf("WRITE: %d, %x", errno, out)
	}
	got, err := os.ReadFile(filepath.Join(g.dir, "f"))
	copy(data[4096:], strings.Repeat("a", 4096)+strings.Repeat("b", 4096)+"ccccc")
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("on the host: %v", err)
	}

	// FORGET has no reply, and the node is gone.
	g.queues[0].Add([][]byte{g.message(opForget, f, make([]byte, 8))})
	forget := make([]byte, 8)
	forget[0] = 1
	g.queues[0].Add([][]byte{g.message(opForget, f, forget)})
	g.dev.Kick(0)
	g.queues[0].Wait()
	g.queues[0].Wait()
	if errno, _ := g.call(opRead, f, ioBody(0, 10), nil, 10); errno != -116 {
		t.Errorf("READ of a forgotten node: %d", errno)
	}
}

func TestManyRequestsAtOnce(t *testing.T) {
	g := boot(t, passthrough.Options{Exclusive: true})
	if err := os.WriteFile(filepath.Join(g.dir, "f"), []byte("0123456789"), 0o644); err != nil {
		t.Fatal(err)
	}
	g.init()
	f := g.lookup("f")
	const n = 100
	want := map[uint64]byte{}
	for i := range n {
		want[g.unique+1] = byte('0' + i%10)
		g.queues[1].Add([][]byte{g.message(opRead, f, ioBody(uint64(i%10), 1))}, 16, 1)
	}
	g.dev.Kick(1)
	for range n {
		_, out := g.queues[1].Wait()
		unique := binary.LittleEndian.Uint64(out[8:])
		if len(out) != 17 || out[16] != want[unique] {
			t.Fatalf("reply %x", out)
		}
		delete(want, unique)
	}
}

func TestBadMessagesBreakTheDevice(t *testing.T) {
	for name, m := range map[string][]byte{
		"short":       make([]byte, 39),
		"empty":       {0},
		"old version": append((&guest{}).message(opInit, 0, words(7, 12)), make([]byte, 60)...),
		"other major": append((&guest{}).message(opInit, 0, words(8, 41)), make([]byte, 60)...),
		"short init":  (&guest{}).message(opInit, 0, words(7)),
		"too long":    (&guest{}).message(opLookup, 1, make([]byte, 200<<10)),
	} {
		t.Run(name, func(t *testing.T) {
			g := boot(t, passthrough.Options{})
			g.queues[1].Add([][]byte{m}, 16, 64)
			g.dev.Kick(1)
			t.Log(g.queues[1].WaitError())
		})
	}
}

// A guest that waits for a lock does not hold up the end of its cell.
func TestResetEndsWaiting(t *testing.T) {
	g := boot(t, passthrough.Options{})
	p := filepath.Join(g.dir, "f")
	if err := os.WriteFile(p, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	g.init()
	f := g.lookup("f")
	lock := func(owner byte) []byte {
		b := make([]byte, 48)
		b[8] = owner
		b[24] = 100 // end
		b[32] = 1   // F_WRLCK
		return b
	}
	if errno, _ := g.call(opSetlkw, f, lock(1), nil); errno != 0 {
		t.Fatalf("the first lock: %d", errno)
	}
	g.queues[1].Add([][]byte{g.message(opSetlkw, f, lock(2))}, 16)
	g.dev.Kick(1)
	g.lookup("f") // the device still answers
	g.dev.Reset()
}

// BenchmarkRequests is the device's part of a round trip: from the kick to the
// used buffer.
func BenchmarkRequests(b *testing.B) {
	dir := b.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), make([]byte, 1<<20), 0o644); err != nil {
		b.Fatal(err)
	}
	g := &guest{}
	for _, bm := range []struct {
		name  string
		op    uint32
		body  []byte
		node  uint64
		reply []int
	}{
		{"getattr", 3, make([]byte, 16), 2, []int{16, 104}},
		{"lookup", opLookup, []byte("f\x00"), 1, []int{16, 128}},
		{"read 4k", opRead, ioBody(0, 4096), 2, []int{16, 4096}},
		{"read 128k", opRead, ioBody(0, 128<<10), 2, []int{16, 128 << 10}},
	} {
		b.Run(bm.name, func(b *testing.B) {
			fs, err := passthrough.New(passthrough.Share{Dir: dir}, passthrough.Options{Exclusive: true})
			if err != nil {
				b.Fatal(err)
			}
			var e fuse.EntryOut
			fs.Lookup(nil, &fuse.InHeader{NodeId: 1}, "f", &e)
			d, err := virtiofs.New("root", fs)
			if err != nil {
				b.Fatal(err)
			}
			m := virtiotest.NewMachine(b, 4<<20)
			q := virtiotest.Start(b, m, d)[1]
			q.Reusable(g.message(bm.op, bm.node, bm.body), bm.reply...)
			b.ReportAllocs()
			for b.Loop() {
				q.Again()
				d.Kick(1)
				for !q.Done() {
					runtime.Gosched()
				}
			}
		})
	}
}

func FuzzMessage(f *testing.F) {
	g := &guest{}
	f.Add(g.message(opLookup, 1, []byte("f\x00")), uint16(200), true)
	f.Add(g.message(opInit, 1, append(words(7, 41, 1<<17, ^uint32(0), ^uint32(0)), make([]byte, 44)...)), uint16(80), true)
	for op := uint32(0); op < 60; op++ {
		f.Add(g.message(op, 1, append(make([]byte, 64), "name\x00other\x00"...)), uint16(300), true)
		f.Add(g.message(op, 2, append(ioBody(0, 100), "name\x00other\x00"...)), uint16(300), false)
	}
	base := f.TempDir()
	f.Fuzz(func(t *testing.T, m []byte, reply uint16, exclusive bool) {
		if len(m) == 0 || len(m) > 100<<10 {
			return
		}
		dir := filepath.Join(base, "share")
		os.RemoveAll(dir)
		os.MkdirAll(filepath.Join(dir, "dir"), 0o755)
		os.WriteFile(filepath.Join(dir, "f"), []byte("data"), 0o644)
		fs, err := passthrough.New(passthrough.Share{Dir: dir}, passthrough.Options{Exclusive: exclusive})
		if err != nil {
			t.Fatal(err)
		}
		var e fuse.EntryOut
		fs.Lookup(nil, &fuse.InHeader{NodeId: 1}, "f", &e)
		d, err := virtiofs.New("root", fs)
		if err != nil {
			t.Fatal(err)
		}
		machine := virtiotest.NewMachine(t, 4<<20)
		q := virtiotest.Start(t, machine, d)[1]
		half := len(m) / 2
		if half == 0 {
			half = len(m)
		}
		parts := [][]byte{m[:half]}
		if half < len(m) {
			parts = append(parts, m[half:])
		}
		q.Add(parts, 16, 1+int(reply))
		d.Kick(1)
		for q.Err() == nil {
			if _, _, ok := q.Poll(); ok {
				break
			}
			time.Sleep(20 * time.Microsecond)
		}
		if err := q.Err(); err != nil && strings.Contains(err.Error(), "panic") {
			t.Fatal(err)
		}
	})
}
