// SPDX-License-Identifier: Apache-2.0

package process

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// This file turns the allow-list into a seccomp filter: a classic BPF program
// over struct seccomp_data (linux/seccomp.h).

// Offsets in struct seccomp_data.
const (
	dataNr   = 0
	dataArch = 4
	dataArgs = 16
)

const auditArchX8664 = 0xc000003e

// Results of the filter.
const (
	retAllow = 0x7fff0000 // SECCOMP_RET_ALLOW
	retTrap  = 0x00030000 // SECCOMP_RET_TRAP
)

// argTest is a condition on one argument (all 64 bits of it).
type argTest struct {
	arg  int
	kind testKind
	a, b uint64
	set  []uint64
}

type testKind int

const (
	testOneOf testKind = iota // one of set
	testRange                 // a <= x < b
	testBits                  // x has no bits outside a
)

func oneOf(arg int, values ...uint64) argTest { return argTest{arg: arg, kind: testOneOf, set: values} }
func inRange(arg int, from, end uint64) argTest {
	return argTest{arg: arg, kind: testRange, a: from, b: end}
}
func onlyBits(arg int, mask uint64) argTest { return argTest{arg: arg, kind: testBits, a: mask} }

// Jump targets that are not known yet while a piece is built.
const (
	toPass = 254 // end of the test
	toFail = 255 // end of the alternative
)

func stmt(code uint16, k uint32) unix.SockFilter { return unix.SockFilter{Code: code, K: k} }

func jump(cond uint16, k uint32, jt, jf uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | cond | unix.BPF_K, Jt: jt, Jf: jf, K: k}
}

func load(off uint32) unix.SockFilter { return stmt(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, off) }

func ret(v uint32) unix.SockFilter { return stmt(unix.BPF_RET|unix.BPF_K, v) }

// code compiles a test. Falling off its end means that it passed.
func (t argTest) code() []unix.SockFilter {
	lo := load(uint32(dataArgs + 8*t.arg))
	hi := load(uint32(dataArgs + 8*t.arg + 4))
	var c []unix.SockFilter
	switch t.kind {
	case testOneOf:
		for i, v := range t.set {
			next := uint8(2) // over the low half, to the next value
			last := uint8(0)
			if i == len(t.set)-1 {
				next, last = toFail, toFail
			}
			c = append(c, hi, jump(unix.BPF_JEQ, uint32(v>>32), 0, next), lo, jump(unix.BPF_JEQ, uint32(v), toPass, last))
		}
	case testRange:
		c = append(c,
			hi,
			jump(unix.BPF_JGT, uint32(t.a>>32), 3, 0),
			jump(unix.BPF_JEQ, uint32(t.a>>32), 0, toFail),
			lo,
			jump(unix.BPF_JGE, uint32(t.a), 0, toFail),
			hi,
			jump(unix.BPF_JGT, uint32(t.b>>32), toFail, 0),
			jump(unix.BPF_JEQ, uint32(t.b>>32), 0, toPass),
			lo,
			jump(unix.BPF_JGE, uint32(t.b), toFail, toPass))
	case testBits:
		c = append(c,
			hi, jump(unix.BPF_JSET, uint32(^t.a>>32), toFail, 0),
			lo, jump(unix.BPF_JSET, uint32(^t.a), toFail, 0))
	}
	resolve(c, toPass)
	return c
}

// resolve replaces a jump target by the distance to the end of the piece.
func resolve(c []unix.SockFilter, target uint8) {
	for i := range c {
		dist := len(c) - 1 - i
		if dist >= toPass {
			panic("seccomp filter: piece too long for its jumps")
		}
		if c[i].Code&7 != unix.BPF_JMP {
			continue
		}
		if c[i].Jt == target {
			c[i].Jt = uint8(dist)
		}
		if c[i].Jf == target {
			c[i].Jf = uint8(dist)
		}
	}
}

// buildFilter compiles the rules. Each becomes a block of its own: is it this
// call, then one alternative of its conditions after the other.
func buildFilter(rules []rule) ([]unix.SockFilter, error) {
	prog := []unix.SockFilter{
		load(dataArch),
		jump(unix.BPF_JEQ, auditArchX8664, 1, 0),
		ret(retTrap),
		load(dataNr),
	}
	seen := map[uint32]bool{}
	for _, r := range rules {
		if seen[r.nr] {
			return nil, fmt.Errorf("allow-list: two rules for call %d (%s)", r.nr, r.name)
		}
		seen[r.nr] = true
		var block []unix.SockFilter
		for _, alt := range r.when {
			var c []unix.SockFilter
			for _, t := range alt {
				c = append(c, t.code()...)
			}
			c = append(c, ret(retAllow))
			resolve(c, toFail)
			block = append(block, c...)
		}
		if len(r.when) == 0 {
			block = append(block, ret(retAllow))
		} else {
			block = append(block, ret(retTrap))
		}
		if len(block) >= toPass {
			return nil, fmt.Errorf("allow-list: the rule for call %d (%s) is too long", r.nr, r.name)
		}
		prog = append(prog, jump(unix.BPF_JEQ, r.nr, 0, uint8(len(block))))
		prog = append(prog, block...)
	}
	prog = append(prog, ret(retTrap))
	if len(prog) > 4096 {
		return nil, fmt.Errorf("allow-list: filter of %d instructions; the host takes 4096", len(prog))
	}
	return prog, nil
}

// encodeFilter is the program as struct sock_filter array.
func encodeFilter(prog []unix.SockFilter) []byte {
	b := make([]byte, 0, 8*len(prog))
	for _, i := range prog {
		b = binary.LittleEndian.AppendUint16(b, i.Code)
		b = append(b, i.Jt, i.Jf)
		b = binary.LittleEndian.AppendUint32(b, i.K)
	}
	return b
}
