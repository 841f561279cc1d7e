// SPDX-License-Identifier: Apache-2.0

package kvm

import (
	"errors"
	"fmt"
	"os"
	"structs"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Structs of linux/kvm.h for x86, as far as they are used. Their sizes are part
// of the numbers of the calls, so a wrong one fails at once; they are asserted
// all the same.

type memoryRegion struct {
	_     structs.HostLayout
	slot  uint32
	flags uint32
	gpa   uint64
	size  uint64
	addr  uint64
}

type kvmRegs struct {
	_                                                                                         structs.HostLayout
	rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8, r9, r10, r11, r12, r13, r14, r15, rip, rflags uint64
}

type kvmSegment struct {
	_                                   structs.HostLayout
	base                                uint64
	limit                               uint32
	selector                            uint16
	typ, present, dpl, db, s, l, g, avl uint8
	unusable, padding                   uint8
}

type kvmTable struct {
	_       structs.HostLayout
	base    uint64
	limit   uint16
	padding [3]uint16
}

type kvmSregs struct {
	_                               structs.HostLayout
	cs, ds, es, fs, gs, ss, tr, ldt kvmSegment
	gdt, idt                        kvmTable
	cr0, cr2, cr3, cr4, cr8         uint64
	efer, apicBase                  uint64
	interrupts                      [4]uint64
}

type kvmMsr struct {
	_        structs.HostLayout
	index    uint32
	reserved uint32
	data     uint64
}

type kvmMsrs struct {
	_     structs.HostLayout
	count uint32
	pad   uint32
	msrs  [8]kvmMsr
}

type kvmXcrs struct {
	_     structs.HostLayout
	count uint32
	flags uint32
	xcrs  [16]struct {
		_             structs.HostLayout
		xcr, reserved uint32
		value         uint64
	}
	padding [16]uint64
}

type cpuidEntry struct {
	_                      structs.HostLayout
	function, index, flags uint32
	eax, ebx, ecx, edx     uint32
	padding                [3]uint32
}

const maxCPUID = 256

type kvmCPUID struct {
	_       structs.HostLayout
	count   uint32
	padding uint32
	entries [maxCPUID]cpuidEntry
}

type kvmInterrupt struct {
	_      structs.HostLayout
	vector uint32
}

type kvmIoeventfd struct {
	_         structs.HostLayout
	datamatch uint64
	addr      uint64
	len       uint32
	fd        int32
	flags     uint32
	pad       [36]uint8
}

type kvmDeviceAttr struct {
	_     structs.HostLayout
	flags uint32
	group uint32
	attr  uint64
	addr  uint64
}

type kvmPreFaultMemory struct {
	_       structs.HostLayout
	gpa     uint64
	size    uint64
	flags   uint64
	padding [5]uint64
}

// kvmRun is the head of the area that a vCPU shares with us; KVM writes it.
type kvmRun struct {
	_                      structs.HostLayout
	requestInterruptWindow uint8
	immediateExit          uint8
	_                      [6]uint8
	exitReason             uint32
	readyForInjection      uint8
	ifFlag                 uint8
	flags                  uint16
	cr8                    uint64
	apicBase               uint64
	exit                   [256]uint8 // a union
}

const (
	_ = -(unsafe.Sizeof(memoryRegion{}) ^ 32)
	_ = -(unsafe.Sizeof(kvmRegs{}) ^ 144)
	_ = -(unsafe.Sizeof(kvmSegment{}) ^ 24)
	_ = -(unsafe.Sizeof(kvmTable{}) ^ 16)
	_ = -(unsafe.Sizeof(kvmSregs{}) ^ 312)
	_ = -(unsafe.Sizeof(kvmMsr{}) ^ 16)
	_ = -(unsafe.Offsetof(kvmMsrs{}.msrs) ^ 8)
	_ = -(unsafe.Sizeof(kvmXcrs{}) ^ 392)
	_ = -(unsafe.Sizeof(cpuidEntry{}) ^ 40)
	_ = -(unsafe.Offsetof(kvmCPUID{}.entries) ^ 8)
	_ = -(unsafe.Sizeof(kvmInterrupt{}) ^ 4)
	_ = -(unsafe.Sizeof(kvmIoeventfd{}) ^ 64)
	_ = -(unsafe.Sizeof(kvmDeviceAttr{}) ^ 24)
	_ = -(unsafe.Sizeof(kvmPreFaultMemory{}) ^ 64)
	_ = -(unsafe.Offsetof(kvmRun{}.exitReason) ^ 8)
	_ = -(unsafe.Offsetof(kvmRun{}.exit) ^ 32)
)

// Numbers of the calls: direction, size of the argument, type 0xAE, number.
const (
	ioNone  = 0
	ioWrite = 1 << 30
	ioRead  = 2 << 30

	kvmGetAPIVersion   = 0xae00
	kvmCreateVM        = 0xae01
	kvmCheckExtension  = 0xae03
	kvmGetVcpuMmapSize = 0xae04
	kvmCreateVcpu      = 0xae41
	kvmRunCall         = 0xae80
	kvmGetSupportedCPU = ioRead | ioWrite | 8<<16 | 0xae05
	kvmSetMemoryRegion = ioWrite | 32<<16 | 0xae46
	kvmIoeventfdCall   = ioWrite | 64<<16 | 0xae79
	kvmGetRegs         = ioRead | 144<<16 | 0xae81
	kvmSetRegs         = ioWrite | 144<<16 | 0xae82
	kvmGetSregs        = ioRead | 312<<16 | 0xae83
	kvmSetSregs        = ioWrite | 312<<16 | 0xae84
	kvmInterruptCall   = ioWrite | 4<<16 | 0xae86
	kvmSetSignalMask   = ioWrite | 4<<16 | 0xae8b
	kvmSetMsrs         = ioWrite | 8<<16 | 0xae89
	kvmSetCPUID2       = ioWrite | 8<<16 | 0xae90
	kvmSetXcrs         = ioWrite | 392<<16 | 0xaea7
	kvmSetDeviceAttr   = ioWrite | 24<<16 | 0xaee1
	kvmPreFault        = ioRead | ioWrite | 64<<16 | 0xaed5
	kvmAPIVersion      = 12
	capIoeventfd       = 36
	capXcrs            = 56
	capImmediateExit   = 136
	capPreFaultMemory  = 236
	vcpuTSCCtrl        = 0
	vcpuTSCOffset      = 0
)

// call is an ioctl with a number as its argument. One that a signal interrupts,
// such as those of Go's scheduler, has done nothing: KVM_CREATE_VM may be.
func call(f *os.File, nr, arg uintptr, what string) (int, error) {
	for {
		switch r, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), nr, arg); errno {
		case 0:
			return int(r), nil
		case unix.EINTR:
		default:
			return 0, fmt.Errorf("%s: %w", what, errno)
		}
	}
}

// callPtr is an ioctl with a struct as its argument.
func callPtr[T any](f *os.File, nr uintptr, arg *T, what string) (int, error) {
	r, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), nr, uintptr(unsafe.Pointer(arg)))
	if errno != 0 {
		return 0, fmt.Errorf("%s: %w", what, errno)
	}
	return int(r), nil
}

// run lets a vCPU run until an exit. It returns EINTR when it was interrupted.
func run(fd uintptr) unix.Errno {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, kvmRunCall, 0)
	return errno
}

// setMemory gives a VM the memory b at gpa.
func setMemory(vm *os.File, slot uint32, gpa uint64, b []byte) error {
	r := memoryRegion{slot: slot, gpa: gpa, size: uint64(len(b)), addr: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b))))}
	_, err := callPtr(vm, kvmSetMemoryRegion, &r, "KVM_SET_USER_MEMORY_REGION")
	return err
}

// setTSCOffset makes the guest's time stamp counter that of the host.
func setTSCOffset(vcpu *os.File, offset uint64) error {
	a := kvmDeviceAttr{group: vcpuTSCCtrl, attr: vcpuTSCOffset, addr: uint64(uintptr(unsafe.Pointer(&offset)))}
	_, err := callPtr(vcpu, kvmSetDeviceAttr, &a, "KVM_SET_DEVICE_ATTR(TSC offset)")
	return err
}

// runArea is the mapped kvmRun of a vCPU.
type runArea struct {
	b []byte
	*kvmRun
}

func mapRun(kvm, vcpu *os.File) (runArea, error) {
	size, err := call(kvm, kvmGetVcpuMmapSize, 0, "KVM_GET_VCPU_MMAP_SIZE")
	if err != nil {
		return runArea{}, err
	}
	if size < int(unsafe.Sizeof(kvmRun{})) {
		return runArea{}, errors.New("KVM_GET_VCPU_MMAP_SIZE: area too small")
	}
	b, err := unix.Mmap(int(vcpu.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return runArea{}, fmt.Errorf("map the run area of a vCPU: %w", err)
	}
	return runArea{b, (*kvmRun)(unsafe.Pointer(unsafe.SliceData(b)))}, nil
}

func (r *runArea) close() error { return unix.Munmap(r.b) }

// setImmediateExit makes the next, or the present, KVM_RUN return at once. Any
// thread may call it; the bytes around it belong to the vCPU thread, hence no
// wider access.
func (r *runArea) setImmediateExit(v uint8) {
	// A store of one byte is atomic on this machine; the race detector does
	// not know this memory.
	*(*uint8)(unsafe.Pointer(&r.immediateExit)) = v
}

// atomicWord is an aligned 64-bit word of memory that is shared with a guest.
func atomicWord(b []byte) *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Pointer(unsafe.SliceData(b)))
}

// futexWait sleeps while the low half of a shared word is 0, at most for the
// timeout; nil is for ever. It returns early for any signal.
func futexWait(p *uint64, timeout *unix.Timespec) {
	_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(p)), 0 /* FUTEX_WAIT */, 0, uintptr(unsafe.Pointer(timeout)), 0, 0)
}

// onlyInRun makes kickSignal reach the calling thread in KVM_RUN of the vCPU
// only.
func (v *vm) onlyInRun() error {
	kick := uint64(1) << (kickSignal - 1)
	var old unix.Sigset_t
	set := unix.Sigset_t{}
	set.Val[0] = kick
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &set, &old); err != nil {
		return fmt.Errorf("block the signal of vCPUs: %w", err)
	}
	mask := struct {
		_   structs.HostLayout
		len uint32
		set [2]uint32
	}{len: 8}
	open := old.Val[0] &^ kick
	mask.set = [2]uint32{uint32(open), uint32(open >> 32)}
	_, err := callPtr(v.vcpu, kvmSetSignalMask, &mask, "KVM_SET_SIGNAL_MASK")
	return err
}

// takeSignal takes kickSignal off the calling thread, where it is blocked.
func takeSignal() {
	set := uint64(1) << (kickSignal - 1)
	var now unix.Timespec
	_, _, _ = unix.Syscall6(unix.SYS_RT_SIGTIMEDWAIT, uintptr(unsafe.Pointer(&set)), 0, uintptr(unsafe.Pointer(&now)), 8, 0, 0)
}

// threadTimer is a timer that sends kickSignal to one thread.
type threadTimer struct{ id int32 }

// newThreadTimer makes one for the calling thread.
func newThreadTimer() (*threadTimer, error) {
	event := struct {
		_      structs.HostLayout
		value  uint64
		signo  int32
		notify int32
		tid    int32
		pad    [44]uint8
	}{signo: int32(kickSignal), notify: 4 /* SIGEV_THREAD_ID */, tid: int32(unix.Gettid())}
	t := &threadTimer{}
	_, _, errno := unix.Syscall(unix.SYS_TIMER_CREATE, unix.CLOCK_MONOTONIC, uintptr(unsafe.Pointer(&event)), uintptr(unsafe.Pointer(&t.id)))
	if errno != 0 {
		return nil, fmt.Errorf("timer_create: %w", errno)
	}
	return t, nil
}

// arm sets it to fire once after ns nanoseconds; 0 disarms.
func (t *threadTimer) arm(ns int64) error {
	spec := struct {
		_               structs.HostLayout
		interval, value unix.Timespec
	}{value: unix.NsecToTimespec(ns)}
	_, _, errno := unix.Syscall6(unix.SYS_TIMER_SETTIME, uintptr(t.id), 0, uintptr(unsafe.Pointer(&spec)), 0, 0, 0)
	if errno != 0 {
		return fmt.Errorf("timer_settime: %w", errno)
	}
	return nil
}

func (t *threadTimer) close() {
	_, _, _ = unix.Syscall(unix.SYS_TIMER_DELETE, uintptr(t.id), 0, 0)
}
