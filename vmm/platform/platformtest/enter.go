// SPDX-License-Identifier: Apache-2.0

package platformtest

import (
	"encoding/binary"

	"github.com/paracell/paracell/xgate/abi"
)

// Enter runs user code at ip in address space 0 after the map operations are
// done; it returns to the kernel with an abi.Exit* value in rax. User registers
// are zero but for the ones that are needed.
func (g *Guest) Enter(ip uint64, ops ...abi.MapOp) *Guest {
	const regs = abi.PhysBase + ScratchGPA + 0x10000
	const fpArea = regs + 0x1000 // all zero: the initial state
	vcpu := func(off uint64) uint64 { return vcpusAddr + off }
	for i, op := range ops {
		at := vcpu(opsOffset) + uint64(i)*mapOpSize
		g.Store(at, uint64(op.Op)|uint64(op.Prot)<<32)
		g.Store(at+8, op.VA).Store(at+16, op.Len).Store(at+24, op.GPA)
	}
	g.Store(regs+8*abi.RegIP, ip)
	g.Store(vcpu(fpAreaOffset), fpArea)
	g.Store(vcpu(liveOffset), uint64(len(ops))<<32) // Live 0, NumOps behind it
	g.SetReg(RDI, regs).SetReg(RAX, abi.MonitorBase+abi.EntryEnter)
	return g.Raw(0xff, 0xd0) // call *%rax
}

// Keep writes rax to memory.
func (g *Guest) Keep(addr uint64) *Guest {
	g.SetReg(RBX, addr)
	return g.Raw(0x48, 0x89, 0x03) // mov %rax, (%rbx)
}

// EnterFrom is Enter in the address space whose number is at addr, by a process
// that has cmd in its command word already. On platform process the bits from 16
// on say which processor of the host the vCPU was on. The stack has to be in
// guest memory.
func (g *Guest) EnterFrom(addr uint64, cmd uint32, ip uint64) *Guest {
	g.SetReg(RBX, addr)
	g.Raw(0x48, 0x8b, 0x03) // mov (%rbx), %rax
	g.SetReg(RBX, vcpusAddr+asOffset)
	g.Raw(0x89, 0x03)             // mov %eax, (%rbx)
	g.Raw(0x48, 0xc1, 0xe0, 0x04) // shl $4, %rax: the size of a slot
	g.SetReg(RBX, slotsAddr)
	g.Raw(0x48, 0x01, 0xc3) // add %rax, %rbx
	g.Raw(0xc7, 0x03)       // movl $cmd, (%rbx)
	g.code = binary.LittleEndian.AppendUint32(g.code, cmd)
	return g.Enter(ip)
}

// OwnStack makes a stack in guest memory the one in use.
func (g *Guest) OwnStack() *Guest { return g.SetReg(RSP, abi.PhysBase+ScratchGPA+0x18000) }

// HostCall makes a call of the host by instruction, as a guest kernel that its
// user has taken over could.
func (g *Guest) HostCall(nr uint64, args ...uint64) *Guest {
	g.SetReg(RAX, nr)
	for i, r := range []Reg{RDI, RSI, RDX} {
		if i < len(args) {
			g.SetReg(r, args[i])
		}
	}
	return g.Raw(0x0f, 0x05) // syscall
}
