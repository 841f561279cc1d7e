// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/paracell/paracell/vmm/platform"
	"github.com/paracell/paracell/xgate/abi"
)

const kernelVA = abi.PhysBase + abi.KernelGPA

// testELF is a description of a small kernel image, to be bent.
type testELF struct {
	header elf.Header64
	progs  []elf.Prog64
	data   []byte // behind the program headers
	note   []byte
}

const noteOff, dataOff = 0x800, 0x1000

func (e *testELF) bytes() []byte {
	var b bytes.Buffer
	binary.Write(&b, binary.LittleEndian, &e.header)
	binary.Write(&b, binary.LittleEndian, e.progs)
	b.Write(make([]byte, noteOff-b.Len()))
	b.Write(e.note)
	b.Write(make([]byte, dataOff-b.Len()))
	b.Write(e.data)
	return b.Bytes()
}

// testKernel is an image with text, read-only data, data and bss.
func testKernel(bend func(*testELF)) io.ReaderAt {
	load := func(flags elf.ProgFlag, va, off, filesz, memsz uint64) elf.Prog64 {
		return elf.Prog64{
			Type: uint32(elf.PT_LOAD), Flags: uint32(flags), Off: dataOff + off,
			Vaddr: va, Paddr: va, Filesz: filesz, Memsz: memsz, Align: 0x1000,
		}
	}
	e := &testELF{
		progs: []elf.Prog64{
			load(elf.PF_R|elf.PF_X, kernelVA, 0, 0x1800, 0x1800),
			load(elf.PF_R, kernelVA+0x2000, 0x1800, 0x10, 0x10),
			load(elf.PF_R|elf.PF_W, kernelVA+0x3000, 0x1810, 0x20, 0x5000),
		},
		data: bytes.Repeat([]byte{0xaa}, 0x1830),
		note: abi.Note(abi.Identity),
	}
	e.header = elf.Header64{
		Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: 1, Entry: kernelVA + 0x100,
		Phoff: 64, Ehsize: 64, Phentsize: 56, Shentsize: 64,
	}
	copy(e.header.Ident[:], "\x7fELF\x02\x01\x01")
	if bend != nil {
		bend(e)
	}
	e.progs = append(e.progs, elf.Prog64{Type: uint32(elf.PT_NOTE), Off: noteOff, Filesz: uint64(len(e.note))})
	e.header.Phnum = uint16(len(e.progs))
	return bytes.NewReader(e.bytes())
}

func TestLoadKernel(t *testing.T) {
	m := newTestMemory(t, 64<<20)
	k, err := loadKernel(m, testKernel(nil), &Image{})
	if err != nil {
		t.Fatal(err)
	}
	want := kernelLayout{
		entry: kernelVA + 0x100, textStart: 0x200000, textEnd: 0x202000, rodataEnd: 0x203000, end: 0x208000,
	}
	if k != want {
		t.Errorf("layout %#x, not %#x", k, want)
	}
	b, _ := m.Slice(abi.KernelGPA, 0x4000)
	if b[0] != 0xaa || b[0x17ff] != 0xaa || b[0x1800] != 0 || b[0x200f] != 0xaa || b[0x301f] != 0xaa || b[0x3020] != 0 {
		t.Error("segments are not where they belong")
	}
}

func TestLoadKernelRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		bend func(*testELF)
		want string
	}{
		"32 bit machine":  {func(e *testELF) { e.header.Machine = uint16(elf.EM_386) }, "x86-64 executable"},
		"object file":     {func(e *testELF) { e.header.Type = uint16(elf.ET_REL) }, "x86-64 executable"},
		"no segments":     {func(e *testELF) { e.progs = nil }, "no executable segment"},
		"entry in data":   {func(e *testELF) { e.header.Entry = kernelVA + 0x3000 }, "entry point"},
		"entry wraps":     {func(e *testELF) { e.header.Entry = 0 }, "entry point"},
		"low address":     {func(e *testELF) { e.progs[0].Vaddr = 0x400000 }, "kernels are linked at"},
		"below the start": {func(e *testELF) { e.progs[0].Vaddr = abi.PhysBase }, "kernels are linked at"},
		"above the area":  {func(e *testELF) { e.progs[2].Vaddr = abi.VmallocBase }, "kernels are linked at"},
		"size wraps":      {func(e *testELF) { e.progs[2].Memsz = math.MaxInt64 }, "give it more"},
		"too large":       {func(e *testELF) { e.progs[2].Memsz = 64 << 20 }, "give it more"},
		"file larger":     {func(e *testELF) { e.progs[1].Filesz = 0x11 }, "more bytes in the file"},
		"truncated":       {func(e *testELF) { e.data = e.data[:0x1000] }, "EOF"},
		"overlap":         {func(e *testELF) { e.progs[1].Vaddr = kernelVA + 0x1000 }, "shares a page"},
		"writable text":   {func(e *testELF) { e.progs[0].Flags |= uint32(elf.PF_W) }, "writable and executable"},
		"second text":     {func(e *testELF) { e.progs[1].Flags |= uint32(elf.PF_X) }, "second executable"},
		"late read-only":  {func(e *testELF) { e.progs[1].Vaddr += 0x1000; e.progs[2].Vaddr += 0x1000 }, "has to follow the text"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := loadKernel(newTestMemory(t, 32<<20), testKernel(c.bend), &Image{})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	if _, err := loadKernel(newTestMemory(t, 32<<20), strings.NewReader("#!/bin/sh\n"), &Image{}); !errors.Is(err, errKernel) {
		t.Errorf("script: %v", err)
	}
}

// TestOtherBuild: a kernel of another build is refused before anything else of
// it is looked at, and the error names both.
func TestOtherBuild(t *testing.T) {
	ours := fmt.Sprintf("%016x", abi.Identity)
	for name, c := range map[string]struct {
		note []byte
		want string
	}{
		"other":     {abi.Note(0x1234), "the kernel 0000000000001234"},
		"without":   {nil, "does not say"},
		"cut off":   {abi.Note(abi.Identity)[:28], "does not say"},
		"of others": {bytes.Replace(abi.Note(abi.Identity), []byte("ParaCell"), []byte("ParaXell"), 1), "does not say"},
	} {
		_, err := loadKernel(newTestMemory(t, 32<<20), testKernel(func(e *testELF) { e.note, e.progs = c.note, nil }), &Image{})
		if !errors.Is(err, platform.ErrBuild) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), ours) {
			t.Errorf("%s: %v", name, err)
		}
	}
	behind := append([]byte("\x04\x00\x00\x00\x04\x00\x00\x00\x01\x00\x00\x00GNU\x00abcd"), abi.Note(abi.Identity)...)
	if _, err := loadKernel(newTestMemory(t, 32<<20), testKernel(func(e *testELF) { e.note = behind }), &Image{}); err != nil {
		t.Errorf("behind another note: %v", err)
	}
}

func FuzzLoadKernel(f *testing.F) {
	b, err := io.ReadAll(testKernel(nil).(io.Reader))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	m := newTestMemory(f, 32<<20)
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := loadKernel(m, bytes.NewReader(b), &Image{})
		if err == nil && (k.textStart >= k.textEnd || k.textEnd > k.rodataEnd || k.rodataEnd > k.end || k.end > m.Size()) {
			t.Errorf("layout %#x", k)
		}
	})
}

// blob is an Image that may lie about its size.
type blob struct {
	data string
	size int64
}

func (b blob) Size() int64 { return b.size }
func (b blob) WriteTo(w io.Writer) (int64, error) {
	n, err := io.WriteString(w, b.data)
	return int64(n), err
}

func TestLoadInitrd(t *testing.T) {
	m := newTestMemory(t, 32<<20)
	gpa, size, err := loadInitrd(m, 0x3ff001, blob{"0123456789", 10})
	if err != nil || gpa != 0x400000 || size != 10 {
		t.Errorf("%#x+%d, %v", gpa, size, err)
	}
	got := make([]byte, 11)
	if err := m.Read(gpa, got); err != nil || string(got) != "0123456789\x00" {
		t.Errorf("memory holds %q, %v", got, err)
	}
	if gpa, size, err := loadInitrd(m, 0x400000, nil); gpa != 0 || size != 0 || err != nil {
		t.Errorf("none: %#x+%d, %v", gpa, size, err)
	}
	for name, c := range map[string]struct {
		image blob
		want  string
	}{
		"short":     {blob{"0123", 10}, "10 bytes were announced and 4 came"},
		"long":      {blob{"0123456789", 4}, "outside guest memory"},
		"negative":  {blob{"", -1}, "-1 bytes"},
		"too large": {blob{"", 20 << 20}, "give the cell at least"},
		"huge":      {blob{"", math.MaxInt64}, "give the cell at least"},
	} {
		if _, _, err := loadInitrd(m, 0x400000, c.image); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := loadInitrd(m, 0x400000, blob{"", 20 << 20}); !errors.Is(err, platform.ErrConfig) {
		t.Error("not a configuration error")
	}
}
