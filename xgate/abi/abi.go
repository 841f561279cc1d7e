// SPDX-License-Identifier: Apache-2.0

// Package abi is the only definition of what the guest kernel, the monitor
// below it and the host side in Go share: the address-space layout, the
// monitor calls, the structs in the control area and their numbers.
//
// C sees the same things through the generated header paracell_abi.h
// (see Header), which repeats every size and offset as a static assertion.
// The mechanisms are described in docs/xgate.md.
//
// The ABI is written for N vCPUs and M address spaces. A host execution
// context of the process platform ("slot") belongs to exactly one pair of
// address space and vCPU, so private memory at a fixed address is both
// per-vCPU and per-address-space.
package abi

//go:generate go run ./gen

// Version is checked by the monitor and by the guest kernel at start; a
// mismatch ends the cell before its first instruction of guest code.
const Version = 1

// Address-space layout, identical in every host process of a cell and in the
// page tables of the kvm platform. The guest's user owns everything below
// WindowBase; the window above it belongs to the guest kernel and the monitor.
const (
	PageSize = 4096

	// UserMin is the lowest user address that can be mapped (the host's
	// vm.mmap_min_addr); UserMax is the exclusive end (guest TASK_SIZE).
	UserMin = 0x10000
	UserMax = WindowBase - PageSize

	WindowBase = 0x7f00_0000_0000
	WindowEnd  = 0x7fff_ffff_f000

	// PhysBase is where guest physical address 0 appears: GPA g is at
	// PhysBase+g and at offset g of the cell's memfd.
	PhysBase    = WindowBase
	PhysMaxSize = 0x40_0000_0000 // 256 GiB

	// KernelGPA is where the kernel image starts; it is linked at
	// PhysBase+KernelGPA.
	KernelGPA = 0x20_0000

	// VmallocBase..VmallocEnd is the guest kernel's vmalloc area. Its host
	// mappings are a cache: see CallKunmap.
	VmallocBase = 0x7f40_0000_0000
	VmallocEnd  = 0x7f7f_0000_0000

	// ControlBase is where the control area (struct Control and what
	// follows it) appears. It is the tail of the memfd, at offset
	// BootParams.MemSize, and is not guest physical memory.
	ControlBase = 0x7f80_0000_0000
	ControlSize = 0x100_0000 // 16 MiB

	// MonitorBase is where the monitor image is linked.
	MonitorBase = 0x7f90_0000_0000
)

// Entry points, at fixed offsets from MonitorBase. All but EntryGate are
// called by the guest kernel with the System V calling convention.
const (
	// EntryCall: long call(long nr, long a0, long a1, long a2, long a3).
	EntryCall = 0x000
	// EntryEnter: long enter(struct paracell_regs *regs): hand the vCPU to
	// the user context in regs, in address space Vcpu.AS; returns an Exit*.
	EntryEnter = 0x040
	// EntryFPSave: void fp_save(void *area): XSAVE of the live user state
	// (XStateMask, standard format) to a 64-byte aligned area.
	EntryFPSave = 0x080
	// EntryFPRestore: long fp_restore(const void *area): XRSTOR, 0 or
	// -EFAULT when the processor refuses the image.
	EntryFPRestore = 0x0c0
	// EntryGate is the system-call gate for user code: rax = number,
	// rdi rsi rdx r10 r8 r9 = arguments, rcx = return address. On return rax
	// = result, r11 = flags, rcx = return address, all else preserved.
	// The user's stack is not touched.
	EntryGate = 0x1000
)

// Protection keys, in the order in which a process without keys of its own is
// given them by pkey_alloc.
const (
	KeyUser    = 0 // user memory
	KeyKernel  = 1 // K: guest memory, kernel image, control area, monitor data
	KeyRead    = 2 // R: the gate page: readable, not writable, by user code
	KeyScratch = 3 // S: the scratch page: readable and writable by user code

	// UserPKRU: K no access, R no write. KernelPKRU: key 0 no access, so
	// that the kernel cannot use a user address by accident.
	UserPKRU   = 0x2c
	KernelPKRU = 0x01
)

// XStateMask is what fp_save and fp_restore move: x87, SSE, AVX, AVX-512.
// Never PKRU (bit 9) and never AMX (bits 17, 18).
const (
	XStateMask = 0xe7
	XStateSize = 2688
)

// Monitor calls (EntryCall). Negative results are Linux errno values.
const (
	// CallConsole(ptr, len): write bytes to the cell's early console.
	CallConsole = 0
	// CallExit(code, reason): end the cell. Does not return.
	CallExit = 1
	// CallVectors(trap): trap is void (*)(struct paracell_kframe *), called
	// for exceptions and interrupts in kernel mode.
	CallVectors = 2
	// CallASCreate() returns the id of a new, empty address space.
	CallASCreate = 3
	// CallASDestroy(as): all mappings go, the id may be reused.
	CallASDestroy = 4
	// CallKmap(va, gpa, len, prot): map guest memory in the vmalloc area of
	// the running address space. Others get it on fault.
	CallKmap = 5
	// CallKunmap(va, len): no address space maps it when the call returns
	// or, for those not running, when they run next.
	CallKunmap = 6
	// CallTimer(tsc): raise IRQTimer when the TSC reaches tsc; ^0 disarms.
	CallTimer = 7
	// CallIdle(): wait until Vcpu.Pending is not zero (or the timer fires).
	CallIdle = 8
	// CallNotify(device, queue): tell the host side that a queue has work.
	CallNotify = 9
	// CallASFlush(as): drop all user mappings of as, keep the id.
	CallASFlush = 10
)

// Results of EntryEnter.
const (
	ExitGate    = 0 // system call through the gate; regs are complete
	ExitSyscall = 1 // system call by instruction, caught by the monitor
	ExitFault   = 2 // exception: Regs.TrapNo, ErrorCode, CR2
	ExitIRQ     = 3 // interrupt; regs unchanged or complete, Vcpu.Pending rarely zero
	ExitFlushed = 4 // the host ran out of mappings and all were dropped: sync again
	ExitAttack  = 5 // user code jumped into the monitor; it must not continue, its mappings may be gone
	ExitError   = 6 // a map operation failed: Vcpu.Error holds -errno
)

// Bits of Vcpu.Pending. Bit IRQDevice0+n belongs to device n. All bits are in
// the low half of Pending, which is the futex word that an idle vCPU waits on.
const (
	IRQTimer    = 0
	IRQConsole  = 1
	IRQPower    = 2 // the host asks for an orderly shutdown
	IRQDevice0  = 8
	MaxDevices  = 24
	MaxVcpus    = 16
	MaxSlots    = 8192
	MaxMapOps   = 256
	CmdlineSize = 4096
	ExitMsgSize = 232
)

// Virtio transport (docs/virtio.md).
const (
	// NotifyStatus as the queue of CallNotify: DriverStatus or ResetSeq of
	// the device has changed.
	NotifyStatus = 0xffff_ffff

	MaxQueues  = 8
	ConfigSize = 256

	// Bits of VirtioDevice.ISR.
	ISRUsed   = 1
	ISRConfig = 2
)

// Map operations, executed by EntryEnter in the target address space before
// the user runs.
const (
	OpMap     = 1
	OpUnmap   = 2
	OpProtect = 3

	ProtRead  = 1
	ProtWrite = 2
	ProtExec  = 4
)

// Vcpu.State.
const (
	VcpuRunning = 0
	VcpuIdle    = 1
	VcpuParked  = 2
	VcpuUser    = 3 // runs user code, or is about to
)

// Slot.State.
const (
	SlotUnused   = 0 // no host process
	SlotStarting = 1 // forked, not yet parked
	SlotFree     = 2 // in stock
	SlotTaken    = 3 // belongs to an address space
	SlotVacated  = 4 // its address space is gone, but the vCPU is still in it
	SlotDying    = 5 // told to exit, or about to
)

// Reasons in Control.ExitReason.
const (
	ReasonNone      = 0
	ReasonPowerOff  = 1 // guest power-off; ExitCode is the guest's
	ReasonReboot    = 2
	ReasonPanic     = 3
	ReasonDenied    = 4 // host system call outside the allow-list; ExitDetail = number
	ReasonChildDied = 5 // a host process of the cell was killed; ExitDetail = wait status
	ReasonMonitor   = 6 // the monitor found its own state broken; ExitDetail = line
	ReasonABI       = 7 // version mismatch
	ReasonHostCall  = 8 // a host call failed; ExitDetail = errno
)

// Isolation modes (BootParams.Isolation).
const (
	// IsolationNone: no protection keys. The guest's user can take over the
	// guest kernel; the boundary between cell and host is unchanged.
	IsolationNone = 0
	// IsolationMPK: protection keys between guest user and guest kernel.
	IsolationMPK = 1
)
