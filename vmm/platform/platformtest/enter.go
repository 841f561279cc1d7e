// SPDX-License-Identifier: Apache-2.0

package platformtest

import "github.com/paracell/paracell/xgate/abi"

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
