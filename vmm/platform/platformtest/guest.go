// SPDX-License-Identifier: Apache-2.0

package platformtest

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"io"

	"github.com/paracell/paracell/xgate/abi"
)

// guest is a guest kernel of a few instructions, written with the methods
// below. It starts with the address of the control area in rdi and a stack.
type guest struct {
	code []byte
}

// textBase is the address of the first instruction.
const textBase = abi.PhysBase + abi.KernelGPA

// scratchGPA is memory behind the image that guests may use.
const scratchGPA = 8 << 20

// reg is a register number of the instruction set.
type reg byte

const (
	rax reg = 0
	rcx reg = 1
	rdx reg = 2
	rbx reg = 3
	rsi reg = 6
	rdi reg = 7
	r8  reg = 8
)

// setReg: mov $v, r
func (g *guest) setReg(r reg, v uint64) *guest {
	g.code = append(g.code, 0x48|byte(r>>3), 0xb8|byte(r&7))
	g.code = binary.LittleEndian.AppendUint64(g.code, v)
	return g
}

// call makes a monitor call; the result is in rax.
func (g *guest) call(nr int, args ...uint64) *guest {
	g.setReg(rdi, uint64(nr))
	for i, r := range []reg{rsi, rdx, rcx, r8} {
		if i < len(args) {
			g.setReg(r, args[i])
		}
	}
	g.setReg(rax, abi.MonitorBase+abi.EntryCall)
	g.code = append(g.code, 0xff, 0xd0) // call *%rax
	return g
}

// print writes memory to the console.
func (g *guest) print(addr, n uint64) *guest { return g.call(abi.CallConsole, addr, n) }

// say writes a text to the console; it stands in the code.
func (g *guest) say(text string) *guest {
	g.code = append(g.code, 0xeb, byte(len(text))) // jmp over it
	addr := textBase + uint64(len(g.code))
	g.code = append(g.code, text...)
	return g.print(addr, uint64(len(text)))
}

// exit ends the guest.
func (g *guest) exit(code int, reason uint64) *guest {
	return g.call(abi.CallExit, uint64(int64(code)), reason)
}

// spin loops for ever.
func (g *guest) spin() *guest {
	g.code = append(g.code, 0xeb, 0xfe)
	return g
}

// await loops until the 64-bit word at addr is not zero.
func (g *guest) await(addr uint64) *guest {
	g.setReg(rbx, addr)
	g.code = append(g.code,
		0xf3, 0x90, // pause
		0x48, 0x83, 0x3b, 0x00, // cmpq $0, (%rbx)
		0x74, 0xf8) // je to pause
	return g
}

// take copies the 64-bit word at addr to another address and clears it.
func (g *guest) take(addr, to uint64) *guest {
	g.setReg(rbx, addr)
	g.code = append(g.code, 0x31, 0xc0) // xor %eax, %eax
	g.code = append(g.code, 0x48, 0x87, 0x03)
	g.setReg(rbx, to) // xchg %rax, (%rbx) is above
	g.code = append(g.code, 0x48, 0x89, 0x03)
	return g
}

// store writes a 64-bit word.
func (g *guest) store(addr, v uint64) *guest {
	g.setReg(rbx, addr).setReg(rax, v)
	g.code = append(g.code, 0x48, 0x89, 0x03) // mov %rax, (%rbx)
	return g
}

// fill writes n bytes of value v.
func (g *guest) fill(addr, n uint64, v byte) *guest {
	g.setReg(rdi, addr).setReg(rcx, n).setReg(rax, uint64(v))
	g.code = append(g.code, 0xf3, 0xaa) // rep stosb
	return g
}

// raw appends machine code.
func (g *guest) raw(code ...byte) *guest {
	g.code = append(g.code, code...)
	return g
}

// again jumps back to the first instruction.
func (g *guest) again() *guest {
	g.setReg(rax, textBase)
	g.code = append(g.code, 0xff, 0xe0) // jmp *%rax
	return g
}

// image is the ELF file of the guest.
func (g *guest) image() io.ReaderAt {
	const headers = 64 + 56
	code := g.code
	var b bytes.Buffer
	h := elf.Header64{
		Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: 1, Entry: textBase,
		Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1, Shentsize: 64,
	}
	copy(h.Ident[:], "\x7fELF\x02\x01\x01")
	p := elf.Prog64{
		Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Off: headers,
		Vaddr: textBase, Paddr: textBase, Filesz: uint64(len(code)), Memsz: uint64(len(code)), Align: 1,
	}
	// Writes to a bytes.Buffer do not fail.
	_ = binary.Write(&b, binary.LittleEndian, &h)
	_ = binary.Write(&b, binary.LittleEndian, &p)
	b.Write(code)
	return bytes.NewReader(b.Bytes())
}
