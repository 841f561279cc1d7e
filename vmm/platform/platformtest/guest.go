// SPDX-License-Identifier: Apache-2.0

package platformtest

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"io"

	"github.com/paracell/paracell/xgate/abi"
)

// Guest is a guest kernel of a few instructions, written with the methods
// below. It starts with the address of the control area in rdi and a stack.
type Guest struct {
	code []byte
}

// TextBase is the address of the first instruction.
const TextBase = abi.PhysBase + abi.KernelGPA

// ScratchGPA is memory behind the image that guests may use.
const ScratchGPA = 8 << 20

// Reg is a register number of the instruction set.
type Reg byte

const (
	RAX Reg = 0
	RCX Reg = 1
	RDX Reg = 2
	RBX Reg = 3
	RSP Reg = 4
	RSI Reg = 6
	RDI Reg = 7
	R8  Reg = 8
)

// SetReg: mov $v, r
func (g *Guest) SetReg(r Reg, v uint64) *Guest {
	g.code = append(g.code, 0x48|byte(r>>3), 0xb8|byte(r&7))
	g.code = binary.LittleEndian.AppendUint64(g.code, v)
	return g
}

// Call makes a monitor call; the result is in rax.
func (g *Guest) Call(nr int, args ...uint64) *Guest {
	g.SetReg(RDI, uint64(nr))
	for i, r := range []Reg{RSI, RDX, RCX, R8} {
		if i < len(args) {
			g.SetReg(r, args[i])
		}
	}
	g.SetReg(RAX, abi.MonitorBase+abi.EntryCall)
	g.code = append(g.code, 0xff, 0xd0) // call *%rax
	return g
}

// Print writes memory to the console.
func (g *Guest) Print(addr, n uint64) *Guest { return g.Call(abi.CallConsole, addr, n) }

// Say writes a text to the console; it stands in the code.
func (g *Guest) Say(text string) *Guest {
	g.code = append(g.code, 0xeb, byte(len(text))) // jmp over it
	addr := TextBase + uint64(len(g.code))
	g.code = append(g.code, text...)
	return g.Print(addr, uint64(len(text)))
}

// Exit ends the guest.
func (g *Guest) Exit(code int, reason uint64) *Guest {
	return g.Call(abi.CallExit, uint64(int64(code)), reason)
}

// Spin loops for ever.
func (g *Guest) Spin() *Guest {
	g.code = append(g.code, 0xeb, 0xfe)
	return g
}

// Await loops until the 64-bit word at addr is not zero.
func (g *Guest) Await(addr uint64) *Guest {
	g.SetReg(RBX, addr)
	g.code = append(g.code,
		0xf3, 0x90, // pause
		0x48, 0x83, 0x3b, 0x00, // cmpq $0, (%rbx)
		0x74, 0xf8) // je to pause
	return g
}

// Take copies the 64-bit word at addr to another address and clears it.
func (g *Guest) Take(addr, to uint64) *Guest {
	g.SetReg(RBX, addr)
	g.code = append(g.code, 0x31, 0xc0) // xor %eax, %eax
	g.code = append(g.code, 0x48, 0x87, 0x03)
	g.SetReg(RBX, to) // xchg %rax, (%rbx) is above
	g.code = append(g.code, 0x48, 0x89, 0x03)
	return g
}

// Store writes a 64-bit word.
func (g *Guest) Store(addr, v uint64) *Guest {
	g.SetReg(RBX, addr).SetReg(RAX, v)
	g.code = append(g.code, 0x48, 0x89, 0x03) // mov %rax, (%rbx)
	return g
}

// Fill writes n bytes of value v.
func (g *Guest) Fill(addr, n uint64, v byte) *Guest {
	g.SetReg(RDI, addr).SetReg(RCX, n).SetReg(RAX, uint64(v))
	g.code = append(g.code, 0xf3, 0xaa) // rep stosb
	return g
}

// Raw appends machine code.
func (g *Guest) Raw(code ...byte) *Guest {
	g.code = append(g.code, code...)
	return g
}

// Again jumps back to the first instruction.
func (g *Guest) Again() *Guest {
	g.SetReg(RAX, TextBase)
	g.code = append(g.code, 0xff, 0xe0) // jmp *%rax
	return g
}

// Len is the size of what has been written so far, in bytes.
func (g *Guest) Len() int { return len(g.code) }

// Image is the ELF file of the guest.
func (g *Guest) Image() io.ReaderAt {
	const headers = 64 + 2*56
	code, note := g.code, abi.Note(abi.Identity)
	var b bytes.Buffer
	h := elf.Header64{
		Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: 1, Entry: TextBase,
		Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 2, Shentsize: 64,
	}
	copy(h.Ident[:], "\x7fELF\x02\x01\x01")
	p := elf.Prog64{
		Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Off: headers,
		Vaddr: TextBase, Paddr: TextBase, Filesz: uint64(len(code)), Memsz: uint64(len(code)), Align: 1,
	}
	n := elf.Prog64{Type: uint32(elf.PT_NOTE), Off: headers + uint64(len(code)), Filesz: uint64(len(note))}
	// Writes to a bytes.Buffer do not fail.
	_ = binary.Write(&b, binary.LittleEndian, &h)
	_ = binary.Write(&b, binary.LittleEndian, []elf.Prog64{p, n})
	b.Write(code)
	b.Write(note)
	return bytes.NewReader(b.Bytes())
}
