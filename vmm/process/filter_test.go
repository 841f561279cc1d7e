// SPDX-License-Identifier: Apache-2.0

package process

import (
	"encoding/binary"
	"math"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/paracell/paracell/xgate/abi"
)

// runFilter interprets the program as the host kernel does.
func runFilter(t *testing.T, prog []unix.SockFilter, arch, nr uint32, args [6]uint64) uint32 {
	t.Helper()
	data := binary.LittleEndian.AppendUint32(nil, nr)
	data = binary.LittleEndian.AppendUint32(data, arch)
	data = binary.LittleEndian.AppendUint64(data, 0)
	for _, a := range args {
		data = binary.LittleEndian.AppendUint64(data, a)
	}
	var acc uint32
	for pc := 0; pc < len(prog); pc++ {
		i := prog[pc]
		var cond bool
		switch i.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			acc = binary.LittleEndian.Uint32(data[i.K:])
			continue
		case unix.BPF_RET | unix.BPF_K:
			return i.K
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			cond = acc == i.K
		case unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K:
			cond = acc > i.K
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			cond = acc >= i.K
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			cond = acc&i.K != 0
		default:
			t.Fatalf("instruction %d has unknown code %#x", pc, i.Code)
		}
		if cond {
			pc += int(i.Jt)
		} else {
			pc += int(i.Jf)
		}
	}
	t.Fatal("fell off the end of the filter")
	return 0
}

func testFilter(t *testing.T) []unix.SockFilter {
	t.Helper()
	prog, err := buildFilter(allowList)
	if err != nil {
		t.Fatal(err)
	}
	return prog
}

func TestFilterTrapsWhatNoRuleNames(t *testing.T) {
	prog := testFilter(t)
	named := map[uint32]bool{}
	for _, r := range allowList {
		named[r.nr] = true
	}
	for nr := uint32(0); nr < 1024; nr++ {
		if got := runFilter(t, prog, auditArchX8664, nr, [6]uint64{}); !named[nr] && got != retTrap {
			t.Errorf("call %d (%s): %#x", nr, callName(int64(nr)), got)
		}
		const x32 = 0x40000000
		if got := runFilter(t, prog, auditArchX8664, nr|x32, [6]uint64{}); got != retTrap {
			t.Errorf("x32 call %d: %#x", nr, got)
		}
		const auditArchI386 = 0x40000003
		if got := runFilter(t, prog, auditArchI386, nr, [6]uint64{}); got != retTrap {
			t.Errorf("i386 call %d: %#x", nr, got)
		}
	}
}

// TestFilterTests tries every argument test at and beside its limits.
func TestFilterTests(t *testing.T) {
	const nr = 7
	interesting := []uint64{0, 1, 2, 0xffff, 0x10000, 1<<32 - 1, 1 << 32, 1<<32 + 1, 1<<33 | 5, 5, math.MaxInt64, 1 << 63, math.MaxUint64}
	tests := []argTest{
		oneOf(3, 5), oneOf(3, 1, 2, 1<<33|5), oneOf(3, math.MaxUint64, 0),
		inRange(3, 0x10000, 1<<32), inRange(3, 1, 2), inRange(3, 1<<32+1, 1<<33|5), inRange(3, 5, math.MaxUint64), inRange(3, 1<<32-1, 1<<32+1),
		onlyBits(3, 7), onlyBits(3, 1<<33|1), onlyBits(3, 0),
	}
	for _, test := range tests {
		values := interesting
		for _, v := range append([]uint64{test.a, test.b}, test.set...) {
			values = append(values, v-1, v, v+1, v^1<<32, v^1<<63)
		}
		prog, err := buildFilter([]rule{
			{nr: 6, name: "before", when: alternatives(all(test))},
			{nr: nr, name: "it", when: alternatives(all(oneOf(0, 1), test), all(oneOf(0, 2)))},
			{nr: 8, name: "after"},
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range values {
			want := uint32(retTrap)
			if test.holds(v) {
				want = retAllow
			}
			if got := runFilter(t, prog, auditArchX8664, nr, [6]uint64{1, 0, 0, v}); got != want {
				t.Errorf("%+v with %#x: %#x", test, v, got)
			}
			if got := runFilter(t, prog, auditArchX8664, nr, [6]uint64{3, 0, 0, v}); got != retTrap {
				t.Errorf("%+v with the first argument wrong: %#x", test, got)
			}
			if got := runFilter(t, prog, auditArchX8664, nr, [6]uint64{2, 0, 0, v}); got != retAllow {
				t.Errorf("%+v: second alternative: %#x", test, got)
			}
			if got := runFilter(t, prog, auditArchX8664, 8, [6]uint64{0, 0, 0, v}); got != retAllow {
				t.Errorf("rule without conditions: %#x", got)
			}
		}
	}
}

// holds is the meaning of a test, written a second time.
func (t argTest) holds(v uint64) bool {
	switch t.kind {
	case testOneOf:
		for _, s := range t.set {
			if v == s {
				return true
			}
		}
		return false
	case testRange:
		return v >= t.a && v < t.b
	default:
		return v|t.a == t.a
	}
}

func TestFilterOnMmap(t *testing.T) {
	prog := testFilter(t)
	const sharedFixed = unix.MAP_SHARED | unix.MAP_FIXED
	const rw = unix.PROT_READ | unix.PROT_WRITE
	good := [6]uint64{abi.UserMin, 4096, rw, sharedFixed, fdMemory, 0}
	bend := func(arg int, v uint64) [6]uint64 {
		a := good
		a[arg] = v
		return a
	}
	for _, c := range []struct {
		what string
		args [6]uint64
		ok   bool
	}{
		{"a user page", good, true},
		{"executable", bend(2, unix.PROT_READ|unix.PROT_EXEC), true},
		{"populate", bend(3, sharedFixed|unix.MAP_POPULATE), true},
		{"the vmalloc area", bend(0, abi.VmallocBase), true},
		{"all of the user half", bend(1, abi.UserMax-abi.UserMin), true},
		{"more than the user half", bend(1, abi.UserMax-abi.UserMin+1), false},
		{"no length", bend(1, 0), false},
		{"executable vmalloc", [6]uint64{abi.VmallocBase, 4096, unix.PROT_READ | unix.PROT_EXEC, sharedFixed, fdMemory}, false},
		{"guest memory", bend(0, abi.PhysBase), false},
		{"the control area", bend(0, abi.ControlBase), false},
		{"below the user's area", bend(0, abi.UserMin-4096), false},
		{"the monitor", bend(0, abi.MonitorBase), false},
		{"a non-canonical address", bend(0, 1<<63), false},
		{"a negative length", bend(1, math.MaxUint64), false},
		{"private", bend(3, unix.MAP_PRIVATE|unix.MAP_FIXED), false},
		{"anonymous", bend(3, sharedFixed|unix.MAP_ANONYMOUS), false},
		{"not fixed", bend(3, unix.MAP_SHARED), false},
		{"locked", bend(3, sharedFixed|unix.MAP_LOCKED), false},
		{"another file", bend(4, fdConsole), false},
		{"high bits in the file", bend(4, 1<<32|fdMemory), false},
		{"unknown protection", bend(2, 0x1000000), false},
	} {
		got := runFilter(t, prog, auditArchX8664, unix.SYS_MMAP, c.args) == retAllow
		if got != c.ok {
			t.Errorf("mmap of %s: allowed %v", c.what, got)
		}
	}
}

func TestFilterRefusesTwoRulesForOneCall(t *testing.T) {
	if _, err := buildFilter([]rule{{nr: 1, name: "a"}, {nr: 1, name: "b"}}); err == nil {
		t.Error("accepted")
	}
	long := make([]uint64, 100)
	if _, err := buildFilter([]rule{{nr: 1, name: "a", when: alternatives(all(oneOf(0, long[:40]...)), all(oneOf(0, long[:40]...)))}}); err == nil {
		t.Error("too long a rule was accepted")
	}
}

func TestAllowListIsComplete(t *testing.T) {
	for _, r := range allowList {
		if callName(int64(r.nr)) != r.name {
			t.Errorf("rule %q is for call %d (%s)", r.name, r.nr, callName(int64(r.nr)))
		}
		if r.args == "" || r.why == "" {
			t.Errorf("rule %q has no reason", r.name)
		}
	}
}

func TestFilterSize(t *testing.T) {
	if n := len(testFilter(t)); n > 512 {
		t.Errorf("filter has %d instructions, and each host call runs through a part of them", n)
	}
}
