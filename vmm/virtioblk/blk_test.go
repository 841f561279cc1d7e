// SPDX-License-Identifier: Apache-2.0

package virtioblk_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/paracell/paracell/vmm/virtio/virtiotest"
	"github.com/paracell/paracell/vmm/virtioblk"
)

const (
	reqIn          = 0
	reqOut         = 1
	reqFlush       = 4
	reqGetID       = 8
	reqDiscard     = 11
	reqWriteZeroes = 13

	ok          = 0
	ioErr       = 1
	unsupported = 2
)

const diskSize = 1 << 20

type disk struct {
	t    testing.TB
	d    *virtioblk.Device
	q    *virtiotest.Queue
	path string
}

func boot(t testing.TB, o virtioblk.Options) *disk {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	data := make([]byte, diskSize)
	for i := range data {
		data[i] = byte(i / 512)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	d, err := virtioblk.New(f, o)
	if err != nil {
		t.Fatal(err)
	}
	return &disk{t, d, virtiotest.Start(t, virtiotest.NewMachine(t, 16<<20), d)[0], path}
}

func header(kind uint32, sector uint64) []byte {
	h := binary.LittleEndian.AppendUint32(nil, kind)
	h = binary.LittleEndian.AppendUint32(h, 0)
	return binary.LittleEndian.AppendUint64(h, sector)
}

// do sends a request and returns its status and data.
func (b *disk) do(kind uint32, sector uint64, out [][]byte, in ...int) (status byte, data []byte) {
	b.t.Helper()
	b.q.Add(append([][]byte{header(kind, sector)}, out...), append(in, 1)...)
	b.d.Kick(0)
	_, got := b.q.Wait()
	return got[len(got)-1], got[:len(got)-1]
}

func TestReadWrite(t *testing.T) {
	b := boot(t, virtioblk.Options{ID: "serial"})
	if st, data := b.do(reqIn, 5, nil, 512, 1024); st != ok || len(data) != 1536 || data[0] != 5 || data[1535] != 7 {
		t.Fatalf("read: status %d, %d bytes", st, len(data))
	}
	if st, _ := b.do(reqOut, 9, [][]byte{bytes.Repeat([]byte{0xaa}, 512), bytes.Repeat([]byte{0xbb}, 512)}); st != ok {
		t.Fatalf("write: status %d", st)
	}
	if st, _ := b.do(reqFlush, 0, nil); st != ok {
		t.Fatalf("flush: status %d", st)
	}
	got, err := os.ReadFile(b.path)
	if err != nil || got[9*512-1] != 8 || got[9*512] != 0xaa || got[10*512] != 0xbb || got[11*512] != 11 {
		t.Fatalf("on the host: %v", err)
	}
	if st, data := b.do(reqGetID, 0, nil, 20); st != ok || !bytes.HasPrefix(data, []byte("serial\x00")) {
		t.Fatalf("id: status %d, %q", st, data)
	}
	if st, _ := b.do(99, 0, nil); st != unsupported {
		t.Errorf("unknown request: status %d", st)
	}
}

func TestDiscardAndZero(t *testing.T) {
	b := boot(t, virtioblk.Options{})
	r := func(sector uint64, n, flags uint32) []byte {
		x := binary.LittleEndian.AppendUint64(nil, sector)
		x = binary.LittleEndian.AppendUint32(x, n)
		return binary.LittleEndian.AppendUint32(x, flags)
	}
	if st, _ := b.do(reqDiscard, 0, [][]byte{r(8, 8, 0), r(32, 8, 0)}); st != ok {
		t.Fatalf("discard: status %d", st)
	}
	if st, _ := b.do(reqWriteZeroes, 0, [][]byte{r(64, 3, 0)}); st != ok && st != unsupported {
		t.Fatalf("zero: status %d", st)
	}
	got, err := os.ReadFile(b.path)
	if err != nil || len(got) != diskSize || got[8*512] != 0 || got[39*512] != 0 || got[40*512] != 40 {
		t.Fatalf("on the host: %v", err)
	}
	for name, x := range map[string][]byte{
		"beyond the end": r(diskSize/512, 1, 0),
		"wrap":           r(^uint64(0), 2, 0),
		"too many":       r(0, 1<<31, 0),
		"odd":            r(0, 1, 0)[:15],
		"none":           {0},
	} {
		if st, _ := b.do(reqDiscard, 0, [][]byte{x}); st != ioErr {
			t.Errorf("%s: status %d", name, st)
		}
	}
}

func TestLimits(t *testing.T) {
	b := boot(t, virtioblk.Options{})
	last := uint64(diskSize/512 - 1)
	if st, _ := b.do(reqIn, last, nil, 512); st != ok {
		t.Errorf("last sector: status %d", st)
	}
	for name, st := range map[string]byte{
		"beyond":   first(b.do(reqIn, last, nil, 1024)),
		"far":      first(b.do(reqIn, ^uint64(0), nil, 512)),
		"wrap":     first(b.do(reqIn, 1<<55, nil, 512)),
		"odd":      first(b.do(reqIn, 0, nil, 100)),
		"beyond w": first(b.do(reqOut, last+1, [][]byte{make([]byte, 512)})),
	} {
		if st != ioErr {
			t.Errorf("%s: status %d", name, st)
		}
	}
}

func first(st byte, _ []byte) byte { return st }

func TestReadOnly(t *testing.T) {
	b := boot(t, virtioblk.Options{ReadOnly: true})
	if st, _ := b.do(reqOut, 0, [][]byte{make([]byte, 512)}); st != ioErr {
		t.Errorf("write: status %d", st)
	}
	if st, _ := b.do(reqDiscard, 0, [][]byte{make([]byte, 16)}); st != ioErr {
		t.Errorf("discard: status %d", st)
	}
	if st, _ := b.do(reqFlush, 0, nil); st != ok {
		t.Errorf("flush: status %d", st)
	}
	if b.d.Features()&(1<<5) == 0 {
		t.Error("the guest is not told")
	}
}

func TestBadRequestsBreakTheDevice(t *testing.T) {
	for name, add := range map[string]func(b *disk){
		"no header": func(b *disk) { b.q.Add([][]byte{make([]byte, 15)}, 1) },
		"no status": func(b *disk) { b.q.Add([][]byte{header(reqIn, 0)}) },
	} {
		t.Run(name, func(t *testing.T) {
			b := boot(t, virtioblk.Options{})
			add(b)
			b.d.Kick(0)
			t.Log(b.q.WaitError())
		})
	}
}

func TestNewRefuses(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString("not a sector")
	if _, err := virtioblk.New(f, virtioblk.Options{}); err == nil {
		t.Error("a file of 12 bytes was accepted")
	}
	if f.Close() == nil {
		t.Error("the file was not closed")
	}
}

func FuzzRequest(f *testing.F) {
	for _, kind := range []uint32{reqIn, reqOut, reqFlush, reqGetID, reqDiscard, reqWriteZeroes} {
		f.Add(append(header(kind, 0), make([]byte, 16)...), uint16(512))
		f.Add(append(header(kind, 1<<40), make([]byte, 512)...), uint16(1))
	}
	f.Fuzz(func(t *testing.T, out []byte, in uint16) {
		if len(out) == 0 || len(out) > 64<<10 {
			return
		}
		path := filepath.Join(t.TempDir(), "disk")
		if err := os.WriteFile(path, make([]byte, 4096), 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		d, err := virtioblk.New(file, virtioblk.Options{})
		if err != nil {
			t.Fatal(err)
		}
		q := virtiotest.Start(t, virtiotest.NewMachine(t, 1<<20), d)[0]
		q.Add([][]byte{out}, 1+int(in))
		d.Kick(0)
		for q.Err() == nil {
			if _, _, ok := q.Poll(); ok {
				break
			}
		}
		if st, err := os.Stat(path); err != nil || st.Size() != 4096 {
			t.Fatalf("the size of the disk changed: %v", err)
		}
	})
}
