// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"bytes"
	"errors"
	"math"
	"os"
	"testing"
)

func newMemory(t testing.TB, size, tail uint64) *Memory {
	t.Helper()
	m, err := New("test", size, tail)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func TestNewRefusesBadSizes(t *testing.T) {
	for _, c := range [][2]uint64{{0, 0}, {1, 0}, {PageSize, 1}, {math.MaxUint64 &^ 0xfff, PageSize}, {1 << 48, 0}} {
		if m, err := New("test", c[0], c[1]); err == nil {
			m.Close()
			t.Errorf("New(%#x, %#x) succeeded", c[0], c[1])
		}
	}
}

func TestBounds(t *testing.T) {
	const size = 4 * PageSize
	m := newMemory(t, size, PageSize)
	for _, c := range []struct {
		gpa, n uint64
		ok     bool
	}{
		{0, 0, true}, {0, size, true}, {size, 0, true}, {size - 1, 1, true},
		{0, size + 1, false}, {size, 1, false}, {size + 1, 0, false},
		{math.MaxUint64, 1, false}, {math.MaxUint64, math.MaxUint64, false},
		{1, math.MaxUint64, false}, {math.MaxUint64 - 7, 8, false},
	} {
		if err := m.Check(c.gpa, c.n); (err == nil) != c.ok {
			t.Errorf("Check(%#x, %#x) = %v", c.gpa, c.n, err)
		} else if err != nil && !errors.Is(err, ErrRange) {
			t.Errorf("Check(%#x, %#x) = %v, not ErrRange", c.gpa, c.n, err)
		}
	}
	b, err := m.Slice(PageSize, 10)
	if err != nil || len(b) != 10 || cap(b) != 10 {
		t.Errorf("Slice: len %d cap %d, %v", len(b), cap(b), err)
	}
	if _, err := m.Slice(size-8, 9); err == nil {
		t.Error("a slice reaches into the tail")
	}
}

func TestWords(t *testing.T) {
	m := newMemory(t, PageSize, 0)
	if err := m.StoreUint64(8, 0x1122334455667788); err != nil {
		t.Fatal(err)
	}
	if err := m.StoreUint16(10, 0xbeef); err != nil {
		t.Fatal(err)
	}
	if err := m.StoreUint32(12, 0xcafef00d); err != nil {
		t.Fatal(err)
	}
	if v, _ := m.LoadUint64(8); v != 0xcafef00dbeef7788 {
		t.Errorf("word is %#x", v)
	}
	if v, _ := m.LoadUint16(8); v != 0x7788 {
		t.Errorf("low half is %#x", v)
	}
	if v, _ := m.LoadUint16(PageSize - 2); v != 0 {
		t.Errorf("last half is %#x", v)
	}
	if _, err := m.LoadUint32(2); !errors.Is(err, ErrAlign) {
		t.Errorf("unaligned load: %v", err)
	}
	if err := m.StoreUint64(4, 0); !errors.Is(err, ErrAlign) {
		t.Errorf("unaligned store: %v", err)
	}
	if _, err := m.LoadUint64(PageSize); !errors.Is(err, ErrRange) {
		t.Errorf("load past the end: %v", err)
	}
}

func TestWriterStopsAtItsEnd(t *testing.T) {
	m := newMemory(t, 2*PageSize, 0)
	w, err := m.Writer(100, 10)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("0123456")); err != nil {
		t.Fatal(err)
	}
	if n, err := w.Write([]byte("789a")); n != 0 || !errors.Is(err, ErrRange) {
		t.Errorf("write past the end: %d, %v", n, err)
	}
	got := make([]byte, 8)
	if err := m.Read(100, got); err != nil || string(got) != "0123456\x00" {
		t.Errorf("memory holds %q, %v", got, err)
	}
	if _, err := m.Writer(PageSize, PageSize+1); !errors.Is(err, ErrRange) {
		t.Errorf("writer past the end: %v", err)
	}
}

func TestDiscardReadsZero(t *testing.T) {
	m := newMemory(t, 4*PageSize, 0)
	if err := m.Write(0, bytes.Repeat([]byte{1}, 4*PageSize)); err != nil {
		t.Fatal(err)
	}
	before, err := m.Resident()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Discard(PageSize, 2*PageSize); err != nil {
		t.Fatal(err)
	}
	after, _ := m.Resident()
	if before-after != 2*PageSize {
		t.Errorf("resident %d, then %d", before, after)
	}
	b, _ := m.Slice(0, 4*PageSize)
	if b[PageSize-1] != 1 || b[PageSize] != 0 || b[3*PageSize-1] != 0 || b[3*PageSize] != 1 {
		t.Error("wrong bytes after discard")
	}
	if err := m.Discard(1, PageSize); !errors.Is(err, ErrAlign) {
		t.Errorf("unaligned discard: %v", err)
	}
}

func TestSizeIsSealed(t *testing.T) {
	m := newMemory(t, PageSize, PageSize)
	if err := m.File().Truncate(PageSize); err == nil {
		t.Error("the file could be shrunk")
	}
}

func TestCloseReleasesEverything(t *testing.T) {
	fds := func() int {
		e, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(e)
	}
	maps := func() int {
		b, err := os.ReadFile("/proc/self/maps")
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Count(b, []byte("memfd:leaktest"))
	}
	before := fds()
	for range 100 {
		m, err := New("leaktest", 1<<20, PageSize)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		if err := m.Close(); err != nil {
			t.Fatal("second close:", err)
		}
		if err := m.Check(0, 1); !errors.Is(err, ErrClosed) {
			t.Fatal("use after close:", err)
		}
	}
	if n := fds(); n > before {
		t.Errorf("%d fds before, %d after", before, n)
	}
	if n := maps(); n != 0 {
		t.Errorf("%d mappings left", n)
	}
}

func FuzzAccess(f *testing.F) {
	f.Add(uint64(0), uint64(8))
	f.Add(uint64(math.MaxUint64), uint64(1))
	f.Add(uint64(PageSize-1), uint64(2))
	m, err := New("fuzz", 2*PageSize, PageSize)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { m.Close() })
	f.Fuzz(func(t *testing.T, gpa, n uint64) {
		inside := gpa <= m.Size() && n <= m.Size()-gpa
		if b, err := m.Slice(gpa, n); (err == nil) != inside || (err == nil && uint64(len(b)) != n) {
			t.Fatalf("Slice(%#x, %#x): %d bytes, %v", gpa, n, len(b), err)
		}
		if n <= 3*PageSize {
			p := make([]byte, n)
			if err := m.Read(gpa, p); (err == nil) != inside {
				t.Fatalf("Read(%#x, %#x): %v", gpa, n, err)
			}
			if err := m.Write(gpa, p); (err == nil) != inside {
				t.Fatalf("Write(%#x, %#x): %v", gpa, n, err)
			}
		}
		m.LoadUint16(gpa)
		m.LoadUint32(gpa)
		m.LoadUint64(gpa)
		m.StoreUint16(gpa, 1)
		m.StoreUint32(gpa, 1)
		m.StoreUint64(gpa, 1)
	})
}
