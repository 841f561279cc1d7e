// SPDX-License-Identifier: Apache-2.0

// Package scrub removes forbidden instructions that stand in a linked image by
// accident: in the middle of another instruction, in a displacement, or across
// two instructions. Where code lies decides about most of them, so no change
// of the source would last.
//
// An affected instruction is moved, with as many neighbours as a jump needs
// room for, to the area between the symbols __xgate_thunks and
// __xgate_thunks_end, which the image keeps free (0xcc) for this. Nothing that
// anything could refer to is moved: what may be a branch target, or has an
// entry in an exception table, is found by looking for every possible way to
// name its address, not by following the code.
package scrub

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sort"

	"golang.org/x/arch/x86/x86asm"

	"github.com/paracell/paracell/xgate/scan"
)

// Change is one finding and what was done about it.
type Change struct {
	scan.Finding
	What string
}

func (c Change) String() string { return c.Finding.String() + ": " + c.What }

// ErrStubborn says that a forbidden instruction cannot be removed; the
// wrapping error says where it is and why. The source has to change.
var ErrStubborn = errors.New("cannot be moved")

// Image rewrites the ELF image in data, which it changes, until no instruction
// of the given kinds is left in its executable segments.
func Image(data []byte, kinds scan.Kind) ([]Change, error) {
	im, err := load(data)
	if err != nil {
		return nil, err
	}
	var changes []Change
	// Every change removes what it is about, so this ends.
	for {
		found, err := scan.Image(bytes.NewReader(data), kinds, nil)
		if err != nil || len(found) == 0 {
			return changes, err
		}
		im.kinds = kinds
		what, err := im.remove(found[0].Addr)
		if err != nil {
			return changes, fmt.Errorf("%v: %w", found[0], err)
		}
		changes = append(changes, Change{found[0], what})
	}
}

// segment is a loaded part of the image.
type segment struct {
	addr uint64
	data []byte // the image's own bytes
	exec bool
}

type image struct {
	kinds     scan.Kind
	segments  []segment
	symbols   []elf.Symbol // sorted by value
	next, end uint64       // free part of the thunk area
}

func load(data []byte) (*image, error) {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	im := &image{}
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && p.Off+p.Filesz <= uint64(len(data)) {
			im.segments = append(im.segments, segment{p.Vaddr, data[p.Off : p.Off+p.Filesz], p.Flags&elf.PF_X != 0})
		}
	}
	all, err := f.Symbols()
	if err != nil {
		return nil, fmt.Errorf("the image needs its symbols: %w", err)
	}
	for _, s := range all {
		if s.Section == elf.SHN_UNDEF || s.Section >= elf.SHN_LORESERVE || s.Name == "" {
			continue
		}
		switch s.Name {
		case "__xgate_thunks":
			im.next = s.Value
		case "__xgate_thunks_end":
			im.end = s.Value
		}
		im.symbols = append(im.symbols, s)
	}
	if im.next == 0 || im.end < im.next {
		return nil, errors.New("no room for moved instructions: the image has no symbols __xgate_thunks and __xgate_thunks_end")
	}
	sort.SliceStable(im.symbols, func(i, j int) bool { return im.symbols[i].Value < im.symbols[j].Value })
	return im, nil
}

// text returns the image's bytes in [from, to) of an executable segment.
func (im *image) text(from, to uint64) []byte {
	for _, s := range im.segments {
		if s.exec && from >= s.addr && from <= to && to <= s.addr+uint64(len(s.data)) {
			return s.data[from-s.addr : to-s.addr]
		}
	}
	return nil
}

// function returns the bounds of the code around addr, from a symbol to the
// next one.
func (im *image) function(addr uint64) (from, to uint64, err error) {
	i := sort.Search(len(im.symbols), func(i int) bool { return im.symbols[i].Value > addr })
	if i == 0 || i == len(im.symbols) {
		return 0, 0, fmt.Errorf("%w: it is in no function", ErrStubborn)
	}
	return im.symbols[i-1].Value, im.symbols[i].Value, nil
}

// instruction is a decoded one with its place.
type instruction struct {
	x86asm.Inst
	addr uint64
	code []byte
}

func (in instruction) end() uint64 { return in.addr + uint64(in.Len) }

// target is what a PC-relative instruction refers to.
func (in instruction) target() uint64 {
	field := in.code[in.PCRelOff:]
	if in.PCRel == 1 {
		return in.end() + uint64(int64(int8(field[0])))
	}
	return in.end() + uint64(int64(int32(binary.LittleEndian.Uint32(field))))
}

// remove gets rid of the forbidden bytes at addr.
func (im *image) remove(addr uint64) (string, error) {
	from, to, err := im.function(addr)
	if err != nil {
		return "", err
	}
	code := im.text(from, to)
	if code == nil {
		return "", fmt.Errorf("%w: it is in no function", ErrStubborn)
	}
	var list []instruction
	first, last := -1, -1
	for at := from; at < to && at < addr+64; {
		in, err := x86asm.Decode(code[at-from:], 64)
		if err != nil && at > addr+3 {
			break // what follows is not needed
		}
		if err != nil {
			return "", fmt.Errorf("%w: the instruction at %#x is not known", ErrStubborn, at)
		}
		i := instruction{in, at, slices.Clone(code[at-from : at-from+uint64(in.Len)])}
		// The opcode has two bytes at least; breaking it up is enough.
		if i.end() > addr && i.addr < addr+2 {
			if first < 0 {
				first = len(list)
			}
			last = len(list)
		}
		list = append(list, i)
		at += uint64(in.Len)
	}
	if first < 0 {
		return "", fmt.Errorf("%w: no instruction is there", ErrStubborn)
	}
	if first == last {
		if target, opcode, ok := branch(list[first].code); ok {
			return im.redirect(list[first], opcode, list[first].end()+target)
		}
	}
	named := im.named(from, to)
	// All windows that hold one of the instructions, the shortest first.
	type window struct{ i, j, size int }
	var windows []window
	for i := max(0, first-5); i <= last; i++ {
		for j := max(i, first); j < min(len(list), last+6); j++ {
			if size := int(list[j].end() - list[i].addr); size >= 5 && size <= 40 {
				windows = append(windows, window{i, j, size})
			}
		}
	}
	slices.SortStableFunc(windows, func(a, b window) int { return a.size - b.size })
	for _, w := range windows {
		if im.move(list[w.i:w.j+1], named, addr) {
			return fmt.Sprintf("%d bytes at %#x moved", w.size, list[w.i].addr), nil
		}
	}
	return "", fmt.Errorf("%w: change the source around it", ErrStubborn)
}

// branch recognises call, jmp and jcc with a 32-bit displacement, and returns
// it with the opcode.
func branch(code []byte) (displacement uint64, opcode []byte, ok bool) {
	switch {
	case len(code) == 5 && (code[0] == 0xe8 || code[0] == 0xe9):
	case len(code) == 6 && code[0] == 0x0f && code[1]&0xf0 == 0x80:
	default:
		return 0, nil, false
	}
	n := len(code) - 4
	return uint64(int64(int32(binary.LittleEndian.Uint32(code[n:])))), code[:n], true
}

// redirect lets a branch take a jump in the thunk area for a target.
func (im *image) redirect(in instruction, opcode []byte, target uint64) (string, error) {
	ok := im.place(in.addr, func(thunk uint64) ([]byte, []byte) {
		return jump([]byte{0xe9}, thunk, target), jump(opcode, in.addr, thunk)
	})
	if !ok {
		return "", fmt.Errorf("%w: the thunk area is full", ErrStubborn)
	}
	return fmt.Sprintf("%d-byte branch at %#x redirected", in.Len, in.addr), nil
}

// jump encodes a branch at addr.
func jump(opcode []byte, addr, target uint64) []byte {
	disp := uint32(target - addr - uint64(len(opcode)) - 4)
	return binary.LittleEndian.AppendUint32(slices.Clone(opcode), disp)
}

// move moves instructions to the thunk area, if they can be.
func (im *image) move(list []instruction, named map[uint64]reference, hit uint64) bool {
	for i, in := range list {
		switch ref := named[in.addr]; {
		case i > 0 && ref != 0, ref&tabled != 0:
			return false
		}
	}
	from, to := list[0].addr, list[len(list)-1].end()
	possible := true
	return im.place(from, func(thunk uint64) ([]byte, []byte) {
		var code []byte
		for _, in := range list {
			moved := relocate(in, thunk+uint64(len(code)))
			if moved == nil {
				possible = false
				return nil, nil
			}
			// The no-op separates what must not come together.
			code = append(append(code, moved...), 0x90)
		}
		code = append(code, jump([]byte{0xe9}, thunk+uint64(len(code)), to)...)
		site := jump([]byte{0xe9}, from, thunk)
		for uint64(len(site)) < to-from {
			site = append(site, 0xcc)
		}
		return code, site
	}) && possible
}

// place finds an address in the thunk area with which neither the thunk nor
// the changed site holds a forbidden instruction, and writes both.
func (im *image) place(site uint64, encode func(thunk uint64) (code, patch []byte)) bool {
	const around = 16
	for thunk := im.next; thunk < min(im.next+256, im.end); thunk++ {
		code, patch := encode(thunk)
		if code == nil || thunk+uint64(len(code)) > im.end {
			return false
		}
		if !im.clean(thunk, code, around) || !im.clean(site, patch, 2) {
			continue
		}
		copy(im.text(thunk, im.end), code)
		copy(im.text(site, site+uint64(len(patch))), patch)
		im.next = thunk + uint64(len(code))
		return true
	}
	return false
}

// clean says whether code at addr would bring no forbidden instruction, alone
// or together with the bytes around it.
func (im *image) clean(addr uint64, code []byte, around uint64) bool {
	before := im.text(addr-around, addr)
	n := uint64(len(code))
	behind := im.text(addr+n, addr+n+around)
	whole := slices.Concat(before, code, behind)
	for _, f := range scan.Bytes(whole, addr-uint64(len(before)), im.kinds, nil) {
		// What does not touch the code is not its fault.
		if f.Addr < addr+n && f.Addr+3 > addr {
			return false
		}
	}
	return true
}

// relocate returns code for another address that does what the instruction
// does, nil if it does not know how.
func relocate(in instruction, addr uint64) []byte {
	code := slices.Clone(in.code)
	switch in.PCRel {
	case 0:
		return respell(code)
	case 1:
		switch {
		case code[0] == 0xeb && len(code) == 2:
			return jump([]byte{0xe9}, addr, in.target())
		case code[0]&0xf0 == 0x70 && len(code) == 2:
			return jump([]byte{0x0f, code[0] + 0x10}, addr, in.target())
		}
	case 4:
		disp := in.target() - addr - uint64(in.Len)
		if int64(int32(disp)) == int64(disp) {
			binary.LittleEndian.PutUint32(code[in.PCRelOff:], uint32(disp))
			return code
		}
	}
	return nil
}

// respell returns another encoding of an instruction that holds a forbidden
// one all by itself, the same code if it does not, and nil if there is none.
func respell(code []byte) []byte {
	if len(scan.Bytes(code, 0, scan.AllKinds, nil)) == 0 {
		return code
	}
	rex := 0 // length of the REX prefix
	if code[0]&0xf0 == 0x40 {
		rex = 1
	}
	op := code[rex:]
	switch {
	case rex == 0 && len(op) == 3 && op[0] == 0x80 && op[1]&0xc7 == 0xc5:
		// On %ch: swap with %cl, which leaves the flags alone.
		return []byte{0x86, 0xe9, 0x80, op[1]&^7 | 1, op[2], 0x86, 0xe9}
	case (rex == 0 || code[0] == 0x48) && (op[0] == 0x81 || op[0] == 0x83) && op[1]&0xc7 == 0xc5:
		// On %ebp or %rbp: swap with %rax. A 32-bit result clears the upper half.
		swapped := slices.Concat([]byte{0x48, 0x95}, code, []byte{0x48, 0x95})
		swapped[2+rex+1] &^= 7
		return checked(swapped)
	}
	// A byte displacement becomes a long one.
	n := rex + 1
	if op[0] == 0x0f {
		n++
	}
	if n < len(code) && code[n]>>6 == 1 && op[0] != 0x0f {
		disp := n + 1
		if code[n]&7 == 4 {
			disp++
		}
		if disp < len(code) {
			long := slices.Clone(code[:disp])
			long[n] ^= 0xc0 // mod 1 to 2
			long = binary.LittleEndian.AppendUint32(long, uint32(int32(int8(code[disp]))))
			return checked(append(long, code[disp+1:]...))
		}
	}
	return nil
}

func checked(code []byte) []byte {
	if len(scan.Bytes(code, 0, scan.AllKinds, nil)) > 0 {
		return nil
	}
	if _, err := x86asm.Decode(code, 64); err != nil {
		return nil
	}
	return code
}

// reference tells how an address may be named.
type reference uint8

const (
	jumped reference = 1 << iota // by a branch, a pointer or a symbol
	tabled                       // by a word relative to itself, as in exception tables
)

// named finds all addresses in [from, to) that something in the image may
// refer to. It errs on the side of too many.
func (im *image) named(from, to uint64) map[uint64]reference {
	refs := map[uint64]reference{}
	note := func(target uint64, r reference) {
		if target >= from && target < to {
			refs[target] |= r
		}
	}
	for _, s := range im.symbols {
		note(s.Value, jumped)
	}
	le := binary.LittleEndian
	for _, s := range im.segments {
		for i := range s.data {
			rest, addr := s.data[i:], s.addr+uint64(i)
			if len(rest) >= 8 {
				note(le.Uint64(rest), jumped)
			}
			if !s.exec {
				if len(rest) >= 4 && addr%4 == 0 {
					note(addr+uint64(int64(int32(le.Uint32(rest)))), tabled)
				}
				continue
			}
			op := rest[0]
			switch {
			case len(rest) >= 2 && (op&0xf0 == 0x70 || op == 0xeb || op&0xfc == 0xe0):
				note(addr+2+uint64(int64(int8(rest[1]))), jumped)
			case len(rest) >= 5 && op&0xfe == 0xe8:
				note(addr+5+uint64(int64(int32(le.Uint32(rest[1:])))), jumped)
			case len(rest) >= 6 && op == 0x0f && rest[1]&0xf0 == 0x80,
				len(rest) >= 6 && op == 0x8d && rest[1]&0xc7 == 0x05:
				note(addr+6+uint64(int64(int32(le.Uint32(rest[2:])))), jumped)
			}
		}
	}
	return refs
}
