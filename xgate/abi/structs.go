// SPDX-License-Identifier: Apache-2.0

package abi

// Register numbers in Regs.GP, the order of Linux's struct user_regs_struct.
const (
	RegR15 = iota
	RegR14
	RegR13
	RegR12
	RegBP
	RegBX
	RegR11
	RegR10
	RegR9
	RegR8
	RegAX
	RegCX
	RegDX
	RegSI
	RegDI
	RegOrigAX
	RegIP
	RegCS
	RegFlags
	RegSP
	RegSS
	RegFSBase
	RegGSBase
	RegDS
	RegES
	RegFS
	RegGS
	NumRegs
)

// Regs is a user context. The kernel owns it; the monitor fills it when the
// user stops and loads it when the user goes on.
type Regs struct {
	GP        [NumRegs]uint64
	TrapNo    uint64 // x86 exception vector (ExitFault)
	ErrorCode uint64 // x86 error code (ExitFault)
	CR2       uint64 // faulting address (vector 14)
}

// KFrame is what the kernel's trap vector gets: the interrupted kernel
// context. Changes to GP take effect when the vector returns.
type KFrame struct {
	GP        [NumRegs]uint64
	TrapNo    uint64 // x86 vector, or KFrameIRQ
	ErrorCode uint64
	CR2       uint64
}

// KFrameIRQ in KFrame.TrapNo says that Vcpu.Pending is not zero.
const KFrameIRQ = 256

// MapOp is one change to the user half of an address space.
type MapOp struct {
	Op   uint32 // OpMap, OpUnmap, OpProtect
	Prot uint32 // ProtRead | ProtWrite | ProtExec
	VA   uint64 // page aligned, below UserMax
	Len  uint64 // bytes, a multiple of PageSize
	GPA  uint64 // OpMap: offset in the memfd, below BootParams.MemSize
}

// BootParams is written by the host side before the cell starts.
type BootParams struct {
	Version     uint32
	Isolation   uint32 // IsolationNone, IsolationMPK
	NumVcpus    uint32
	MaxSlots    uint32 // address spaces that the cell may have at a time, at most MaxSlots-1
	MemSize     uint64 // bytes of guest physical memory
	KernelEntry uint64 // virtual address of the kernel's first instruction
	KernelEnd   uint64 // GPA of the first byte after image and bss
	InitrdGPA   uint64
	InitrdSize  uint64
	TSCKHz      uint64
	BootTSC     uint64 // TSC at the moment of the two clocks below
	BootRealNs  uint64 // CLOCK_REALTIME
	BootMonoNs  uint64 // CLOCK_MONOTONIC
	NumDevices  uint64 // virtio devices at Control.Devices
	// GPAs of the parts of the kernel image, page aligned: text (read and
	// execute), then read-only data up to KernelRodataEnd. All other
	// guest memory is mapped read and write, never executable.
	KernelTextStart uint64
	KernelTextEnd   uint64
	KernelRodataEnd uint64
	RNGSeed         [64]uint8 // for the guest's random pool; the guest clears it
	Cmdline         [CmdlineSize]uint8
	Identity        uint64     // Identity of who wrote this
	_               [40]uint64 // room for more, to a multiple of 64 bytes
}

// Vcpu is the state of one vCPU. Line by line: the host's, the monitor's, the
// kernel's; each line has one writer, but for Pending.
type Vcpu struct {
	Pending uint64 // IRQ bits: set by host and monitor, cleared by the kernel; all atomic
	_       [7]uint64

	State      uint32 // Vcpu*: monitor
	ActiveSlot uint32 // slot that runs this vCPU: monitor
	KSP        uint64 // kernel stack pointer across EntryEnter: monitor
	CurRegs    uint64 // VA of the Regs in use: monitor
	Deadline   uint64 // TSC, ^0 when disarmed: monitor
	Error      int64  // for ExitError: monitor
	GateCalls  uint64 // counters, for metrics only: monitor
	RawCalls   uint64
	Faults     uint64

	IRQEnabled uint32 // 1: the kernel accepts interrupts: kernel, and monitor around the vector
	AS         uint32 // address space for the next EntryEnter: kernel
	Live       uint32 // 1: user FP and FS/GS bases are in the registers: kernel and monitor
	NumOps     uint32 // valid entries of Ops: kernel; zeroed by the monitor
	FPArea     uint64 // VA of the XSAVE image to load when Live is 0: kernel
	_          [5]uint64

	HostCalls uint64 // host system calls made on behalf of this vCPU, for metrics
	MapCalls  uint64 // of those: mmap, munmap, mprotect
	Handovers uint64 // hand-overs between host processes
	_         [5]uint64

	Ops [MaxMapOps]MapOp
}

// Slot is one host process of the process platform.
type Slot struct {
	Cmd   uint32 // futex word: what the process shall do
	State uint32
	PID   int32 // in the cell's PID namespace
	Next  uint32
}

// VirtioDevice is the register block of one device of the paravirtual
// transport (docs/virtio.md). The guest writes the driver half, the host the
// device half.
type VirtioDevice struct {
	// Device half, written by the host.
	DeviceID       uint32
	NumQueues      uint32
	DeviceFeatures uint64
	DeviceStatus   uint32 // acknowledged status, and NeedsReset
	ConfigGen      uint32
	ISR            uint32 // bit 0 used buffers, bit 1 config change; host sets, guest clears, atomic
	ConfigSize     uint32
	ResetAck       uint32 // last ResetSeq that the device has carried out
	_              uint32
	_              [3]uint64

	// Driver half, written by the guest.
	DriverFeatures uint64
	DriverStatus   uint32
	ResetSeq       uint32 // bumped by the driver for each reset it wants
	NotifyQueues   uint64 // bitmap of queues with new buffers; guest sets, host clears, atomic
	_              [5]uint64

	Queues [MaxQueues]VirtioQueue
	Config [ConfigSize]uint8 // device configuration space
}

// VirtioQueue is one split virtqueue; written by the guest before it sets
// Ready, constant after that.
type VirtioQueue struct {
	Size    uint32 // entries; a power of two, at most SizeMax
	SizeMax uint32 // host
	Ready   uint32
	_       uint32
	Desc    uint64 // GPA
	Driver  uint64 // GPA (available ring)
	Device  uint64 // GPA (used ring)
	_       [3]uint64
}

// Control is the head of the control area.
type Control struct {
	Boot BootParams

	// Ending of the cell: monitor. Who finds ExitClaim 0 writes the rest and
	// ExitReason last: with it the cell is at its end.
	ExitReason uint32
	ExitCode   int32
	ExitDetail int64
	ExitMsg    [ExitMsgSize]uint8
	ExitClaim  uint32
	_          uint32

	// Mailbox of the warden (the first process of the cell).
	WardenWord uint32 // futex word: changes when there is work
	SpawnWant  uint32 // slots that should be made ready
	KickMask   uint64 // bitmap of vCPUs to interrupt; set by host, cleared by warden; atomic
	FreeHead   uint32 // free list of ready slots (index+1), 0 when empty
	FreeCount  uint32
	NumSlots   uint32
	KernelGen  uint32 // generation of the vmalloc area: bumped by CallKunmap
	Lock       uint32 // protects the free list; held for a few instructions
	SpawnSeq   uint32 // futex word: changes when a slot gets free or cannot be made
	SpawnError int32  // errno of the last attempt to make a slot, 0 when it worked
	FreeOps    uint32 // counts changes of the free list
	WardenIdle uint32 // 1: the warden sleeps without a timeout
	_          uint32
	Vector     uint64 // of CallVectors: monitor
	_          [16]uint32

	Slots   [MaxSlots]Slot
	Vcpus   [MaxVcpus]Vcpu
	Devices [MaxDevices]VirtioDevice

	// Spill carries live user FP state (XSAVE, standard format, 64-byte
	// aligned) over a hand-over between slots: monitor.
	Spill [MaxVcpus][XStateSize]uint8
}
