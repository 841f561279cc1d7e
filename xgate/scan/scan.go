// SPDX-License-Identifier: Apache-2.0

// Package scan finds machine instructions that must not be in executable
// memory of a cell. Protection keys do not stop instruction fetch, so the
// guest's user can jump to any byte of the kernel and the monitor: an
// instruction counts wherever its bytes are, also in the middle of another
// one or of an address.
//
// Functions are pure and safe for concurrent use.
package scan

import (
	"fmt"
	"slices"
	"strings"
)

// Kind is a kind of forbidden instruction.
type Kind uint

// Kinds, as bits of a set.
const (
	WRPKRU   Kind = 1 << iota // loads PKRU
	XRSTOR                    // can load PKRU from memory: xrstor, xrstors
	Syscall                   // calls the host: syscall, sysenter, int $0x80
	SetBase                   // wrfsbase, wrgsbase
	AllKinds = WRPKRU | XRSTOR | Syscall | SetBase
)

var kindNames = []struct {
	kind Kind
	name string
}{{WRPKRU, "wrpkru"}, {XRSTOR, "xrstor"}, {Syscall, "syscall"}, {SetBase, "setbase"}}

func (k Kind) String() string {
	var names []string
	for _, n := range kindNames {
		if k&n.kind != 0 {
			names = append(names, n.name)
		}
	}
	return strings.Join(names, ",")
}

// ParseKinds is the inverse of Kind.String.
func ParseKinds(list string) (Kind, error) {
	var k Kind
next:
	for _, word := range strings.Split(list, ",") {
		for _, n := range kindNames {
			if n.name == word {
				k |= n.kind
				continue next
			}
		}
		return 0, fmt.Errorf("unknown kind of instruction %q; there are %v", word, AllKinds)
	}
	return k, nil
}

// Finding is one place with the bytes of a forbidden instruction.
type Finding struct {
	Addr  uint64 // of the first byte of the opcode, after prefixes
	Kind  Kind
	Where string // symbol+offset, if known
}

func (f Finding) String() string {
	if f.Where == "" {
		return fmt.Sprintf("%#x: %v", f.Addr, f.Kind)
	}
	return fmt.Sprintf("%#x (%s): %v", f.Addr, f.Where, f.Kind)
}

// Range is the address range [Start, End).
type Range struct{ Start, End uint64 }

// Bytes reports every forbidden instruction of the given kinds in code, which
// lies at address base. Findings whose opcode starts in one of the allowed
// ranges are left out. Bytes behind the end of code are unknown: an opcode that
// is cut off there is not reported, so neighbouring pages are scanned together.
func Bytes(code []byte, base uint64, kinds Kind, allowed []Range) []Finding {
	var found []Finding
	for i := range code {
		k := at(code, i) & kinds
		if k == 0 {
			continue
		}
		addr := base + uint64(i)
		if slices.ContainsFunc(allowed, func(r Range) bool { return addr >= r.Start && addr < r.End }) {
			continue
		}
		found = append(found, Finding{Addr: addr, Kind: k})
	}
	return found
}

// at tells which forbidden opcode starts at code[i], if any.
func at(code []byte, i int) Kind {
	rest := code[i:]
	if len(rest) < 2 {
		return 0
	}
	if rest[0] == 0xcd && rest[1] == 0x80 {
		return Syscall // int $0x80
	}
	if rest[0] != 0x0f {
		return 0
	}
	if rest[1] == 0x05 || rest[1] == 0x34 {
		return Syscall // syscall, sysenter
	}
	if len(rest) < 3 {
		return 0
	}
	modRM := rest[2]
	reg, register := modRM>>3&7, modRM>>6 == 3
	switch rest[1] {
	case 0x01:
		if modRM == 0xef {
			return WRPKRU
		}
	case 0xae:
		switch {
		case reg == 5 && !register:
			return XRSTOR
		case (reg == 2 || reg == 3) && register && prefixed(code[:i], 0xf3):
			return SetBase
		}
	case 0xc7:
		if reg == 3 && !register {
			return XRSTOR // xrstors
		}
	}
	return 0
}

// maxPrefixes: an instruction has at most 15 bytes.
const maxPrefixes = 12

// prefixed tells whether the prefixes at the end of code contain want.
func prefixed(code []byte, want byte) bool {
	for n := 0; n < maxPrefixes && len(code) > 0; n++ {
		b := code[len(code)-1]
		if b == want {
			return true
		}
		if !isPrefix(b) {
			return false
		}
		code = code[:len(code)-1]
	}
	return false
}

// isPrefix knows the legacy prefixes and REX.
func isPrefix(b byte) bool {
	switch b {
	case 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3:
		return true
	}
	return b&0xf0 == 0x40
}
