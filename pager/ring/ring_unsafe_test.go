// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"encoding/binary"
	"errors"
	"reflect"
	"testing"
	"unsafe"
)

// TestCacheLines: what different sides write is in different cache lines.
func TestCacheLines(t *testing.T) {
	area := reflect.TypeFor[Area]()
	for _, name := range []string{"Version", "Sleeping", "Tail", "Stats", "Ring"} {
		if f, _ := area.FieldByName(name); f.Offset%64 != 0 {
			t.Errorf("Area.%s is at offset %d, not a multiple of 64", name, f.Offset)
		}
	}
	if Offset%FrameSize != 0 || Entries&(Entries-1) != 0 {
		t.Error("offset or number of entries")
	}
}

const testFrames = 64

var (
	testControl = make([]byte, Offset+int(unsafe.Sizeof(Area{})))
	testMemory  = make([]byte, testFrames*FrameSize)
)

// newPair is a host with a guest whose table is at the start of its memory.
func newPair(t testing.TB) (*Host, *Guest, []byte) {
	t.Helper()
	// One for all: most of it is in front of the area, and never touched.
	control, memory := testControl, testMemory
	clear(control[Offset:])
	clear(memory)
	h, err := NewHost(control, testFrames)
	if err != nil {
		t.Fatal(err)
	}
	g, err := NewGuest(control, memory, 0, Rules)
	if err != nil {
		t.Fatal(err)
	}
	attach(t, h, memory)
	return h, g, control
}

func attach(t testing.TB, h *Host, memory []byte) {
	t.Helper()
	ok, err := h.Attach(func(gpa, n uint64) ([]byte, error) { return memory[gpa : gpa+n], nil })
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
}

func TestRing(t *testing.T) {
	h, g, _ := newPair(t)
	if !h.Sleep(SleepDeep) {
		t.Error("an empty ring keeps the host awake")
	}
	kicks := 0
	g.Notify = func() { kicks++ }
	for round := range 3 * Entries / 2 {
		want := Intent{OpGive, uint64(round % testFrames), 1}
		g.Tell(want)
		got, err := h.Read(nil)
		if err != nil || len(got) != 1 || got[0] != want {
			t.Fatal(got, err)
		}
	}
	if kicks != 1 {
		t.Errorf("%d notifications", kicks)
	}
	h.Sleep(SleepNap)
	g.Tell(Intent{OpGive, 1, 1})
	if kicks != 1 {
		t.Error("a nap ends for a free frame")
	}
	if h.Sleep(SleepNap) {
		t.Error("sleeps with something in the ring")
	}
	_, _ = h.Read(nil)
	h.Sleep(SleepNap)
	g.Tell(Intent{OpBind, 1, 1})
	if kicks != 2 {
		t.Error("a nap does not end for a frame to bind")
	}
	_, _ = h.Read(nil)
	for range Entries + 1 {
		g.Tell(Intent{OpGive, 2, 3})
	}
	if got, err := h.Read(nil); err != nil || len(got) != Entries || !h.Overflowed() || h.Overflowed() {
		t.Error(len(got), err)
	}
}

func TestRunawayIndex(t *testing.T) {
	h, _, _ := newPair(t)
	for _, tail := range []uint64{Entries + 1, ^uint64(0), 1 << 63} {
		h.area.Tail = tail
		if _, err := h.Read(nil); !errors.Is(err, ErrCorrupt) {
			t.Errorf("tail %d: %v", tail, err)
		}
	}
}

func TestFalseTable(t *testing.T) {
	control := make([]byte, Offset+int(unsafe.Sizeof(Area{})))
	outside := errors.New("outside")
	for _, c := range []struct{ gpa, n uint64 }{{0, testFrames + 1}, {1, testFrames}, {1 << 40, testFrames}, {0, ^uint64(0)}} {
		h, err := NewHost(control, testFrames)
		if err != nil {
			t.Fatal(err)
		}
		h.area.TableGPA, h.area.TableFrames = c.gpa, c.n
		ok, err := h.Attach(func(uint64, uint64) ([]byte, error) { return nil, outside })
		if ok || !errors.Is(err, ErrCorrupt) {
			t.Errorf("%+v: %v %v", c, ok, err)
		}
	}
	if _, err := NewHost(control[:Offset], testFrames); err == nil {
		t.Error("a control area without room")
	}
}

// FuzzHost gives the host an area and a table that are nothing but the input.
func FuzzHost(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 0}, []byte{0, 1, 2, 3, 4, 5, 6, 7})
	f.Add([]byte{0, 0, 0, 0, 0, 1, 0, 0x10, 0xff}, []byte{})
	f.Fuzz(func(t *testing.T, ring, words []byte) {
		h, _, control := newPair(t)
		for i := range h.words {
			if len(words) > i {
				h.words[i] = uint32(words[i])
			}
		}
		at := Offset + int(unsafe.Offsetof(Area{}.Tail))
		n := copy(control[at:at+8], ring)
		copy(control[Offset+int(unsafe.Offsetof(Area{}.Ring)):], ring[n:])
		tail := binary.NativeEndian.Uint64(control[at:])
		got, err := h.Read(nil)
		if err != nil && !errors.Is(err, ErrCorrupt) {
			t.Error(err)
		}
		if tail > Entries && err == nil {
			t.Errorf("tail %d is accepted", tail)
		}
		for _, i := range got {
			if i.Count == 0 || i.First >= testFrames || i.First+i.Count > testFrames {
				t.Errorf("%+v", i)
			}
			for f := i.First; f < i.First+i.Count; f++ {
				for e := BindStart; e < NumEvents; e++ {
					was := h.Word(f)
					if h.Do(e, f, 1) && was.State() >= NumStates {
						t.Errorf("%v changes a word %d", e, was)
					}
				}
			}
		}
	})
}

func TestAge(t *testing.T) {
	for _, c := range []struct{ stamp, now, want uint32 }{{5, 7, 2}, {0xffffff, 1, 2}, {1<<24 + 5, 5, 0}} {
		if got := Word(c.stamp << StampShift).Age(c.now); got != c.want {
			t.Errorf("age of %d at %d is %d", c.stamp, c.now, got)
		}
	}
}
