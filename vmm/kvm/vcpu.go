// SPDX-License-Identifier: Apache-2.0

package kvm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/paracell/paracell/vmm/memory"
	"github.com/paracell/paracell/vmm/platform"
	"github.com/paracell/paracell/xgate/abi"
)

// kickSignal interrupts a vCPU thread in KVM_RUN, and only there: outside it is
// blocked, so that one which comes right before KVM_RUN is not lost. It is one
// that nothing else in a Go program uses.
const kickSignal = unix.Signal(40)

// vm is a virtual machine with one vCPU.
type vm struct {
	vm, vcpu *os.File
	area     runArea
	guest    *guest
}

// openKVM opens the device and checks that it is one that this package knows.
func openKVM() (*os.File, error) {
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: load the modules kvm-intel or kvm-amd, or enable nested virtualisation around this machine", err)
	}
	v, err := call(f, kvmGetAPIVersion, 0, "KVM_GET_API_VERSION")
	if err == nil && v != kvmAPIVersion {
		err = fmt.Errorf("API version %d; %d is needed", v, kvmAPIVersion)
	}
	for _, c := range []struct {
		nr   uintptr
		name string
	}{{capIoeventfd, "ioeventfd"}, {capXcrs, "XCRs"}, {capImmediateExit, "immediate_exit"}} {
		if err != nil {
			break
		}
		if v, err = call(f, kvmCheckExtension, c.nr, "KVM_CHECK_EXTENSION"); err == nil && v == 0 {
			err = fmt.Errorf("KVM has no %s: a newer kernel is needed", c.name)
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// newVM makes a virtual machine that has the guest's memory and whose vCPU
// stands at the monitor's first instruction. The memory is the caller's and has
// to live longer than the machine.
func newVM(mem *memory.Memory, g *guest, notify *os.File) (_ *vm, err error) {
	kvm, err := openKVM()
	if err != nil {
		return nil, err
	}
	defer kvm.Close()
	v := &vm{guest: g}
	defer func() {
		if err != nil {
			v.close()
		}
	}()
	fd, err := call(kvm, kvmCreateVM, 0, "KVM_CREATE_VM")
	if err != nil {
		return nil, err
	}
	v.vm = os.NewFile(uintptr(fd), "kvm-vm")
	all, err := mem.Slice(0, mem.Size())
	if err != nil {
		return nil, err
	}
	own, err := g.mem.Slice(0, g.mem.Size())
	if err != nil {
		return nil, err
	}
	if err := errors.Join(
		setMemory(v.vm, 0, 0, all),
		setMemory(v.vm, 1, controlGPA, mem.Tail()),
		setMemory(v.vm, 2, monitorGPA, own),
	); err != nil {
		return nil, err
	}
	if notify != nil {
		bell := kvmIoeventfd{addr: doorbellGPA + 8*bellNotify, len: 8, fd: int32(notify.Fd())}
		if _, err := callPtr(v.vm, kvmIoeventfdCall, &bell, "KVM_IOEVENTFD"); err != nil {
			return nil, err
		}
	}
	fd, err = call(v.vm, kvmCreateVcpu, 0, "KVM_CREATE_VCPU")
	if err != nil {
		return nil, err
	}
	v.vcpu = os.NewFile(uintptr(fd), "kvm-vcpu")
	if v.area, err = mapRun(kvm, v.vcpu); err != nil {
		return nil, err
	}
	if err := v.setUp(kvm); err != nil {
		return nil, err
	}
	return v, nil
}

func (v *vm) close() error {
	var err error
	if v.area.b != nil {
		err = v.area.close()
	}
	for _, f := range []*os.File{v.vcpu, v.vm} {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	return err
}

// Bits of control registers and EFER; model-specific registers.
const (
	cr0 = 1<<31 | 1<<18 | 1<<16 | 1<<5 | 1<<4 | 1<<1 | 1<<0 // PG AM WP NE ET MP PE

	cr4PAE, cr4OSFXSR, cr4OSXMMEXCPT        = 1 << 5, 1 << 9, 1 << 10
	cr4FSGSBASE, cr4OSXSAVE, cr4PKE         = 1 << 16, 1 << 18, 1 << 22
	cr4Always                        uint64 = cr4PAE | cr4OSFXSR | cr4OSXMMEXCPT | cr4FSGSBASE | cr4OSXSAVE

	efer = 1<<11 | 1<<10 | 1<<8 | 1<<0 // NXE LMA LME SCE

	msrSTAR, msrLSTAR, msrCSTAR, msrFMASK = 0xc000_0081, 0xc000_0082, 0xc000_0083, 0xc000_0084

	// Flags that the syscall instruction clears: AC NT IOPL DF IF TF.
	syscallMask = 0x4_7700

	xcr0Needed, xcr0Allowed = 0x7, 0xe7
)

// setUp puts the vCPU at the monitor's first instruction, in ring 3.
func (v *vm) setUp(kvm *os.File) error {
	have, err := supportedCPUID(kvm)
	if err != nil {
		return err
	}
	shown, xcr0 := shape(have)
	if xcr0&xcr0Needed != xcr0Needed {
		return fmt.Errorf("KVM offers XCR0 %#x; AVX is needed", xcr0)
	}
	keys := v.guest.isolation == abi.IsolationMPK
	first, cr4 := shown, cr4Always
	if keys {
		first, cr4 = withKeys(shown), cr4|cr4PKE
	}
	if _, err := callPtr(v.vcpu, kvmSetCPUID2, first, "KVM_SET_CPUID2"); err != nil {
		return err
	}
	if err := v.setSregs(cr4); err != nil {
		if keys {
			err = fmt.Errorf("%w: KVM of this host may not offer protection keys to guests", err)
		}
		return err
	}
	if keys {
		if _, err := callPtr(v.vcpu, kvmSetCPUID2, shown, "KVM_SET_CPUID2 without protection keys"); err != nil {
			return err
		}
	}
	xcrs := kvmXcrs{count: 1}
	xcrs.xcrs[0].value = xcr0 & xcr0Allowed
	if _, err := callPtr(v.vcpu, kvmSetXcrs, &xcrs, "KVM_SET_XCRS"); err != nil {
		return err
	}
	msrs := kvmMsrs{count: 4, msrs: [8]kvmMsr{
		{index: msrSTAR, data: 0x23<<48 | ring0CS<<32}, {index: msrLSTAR, data: v.guest.syscallEntry()},
		{index: msrCSTAR, data: v.guest.syscallEntry32()}, {index: msrFMASK, data: syscallMask},
	}}
	if n, err := callPtr(v.vcpu, kvmSetMsrs, &msrs, "KVM_SET_MSRS"); err != nil {
		return err
	} else if n != int(msrs.count) {
		return fmt.Errorf("KVM_SET_MSRS: KVM refuses register %#x", msrs.msrs[n].index)
	}
	if err := setTSCOffset(v.vcpu, 0); err != nil {
		return err
	}
	regs := kvmRegs{rip: v.guest.va("monitor_start"), rflags: 0x202}
	_, err = callPtr(v.vcpu, kvmSetRegs, &regs, "KVM_SET_REGS")
	return err
}

func (v *vm) setSregs(cr4 uint64) error {
	var s kvmSregs
	if _, err := callPtr(v.vcpu, kvmGetSregs, &s, "KVM_GET_SREGS"); err != nil {
		return err
	}
	g := v.guest
	const max = 0xffff_ffff
	code := kvmSegment{limit: max, selector: userCS, typ: 11, present: 1, dpl: 3, s: 1, l: 1, g: 1}
	data := kvmSegment{limit: max, selector: userSS, typ: 3, present: 1, dpl: 3, db: 1, s: 1, g: 1}
	s.cs, s.ss, s.ds, s.es, s.fs, s.gs = code, data, data, data, data, data
	s.tr = kvmSegment{base: g.va("ring0_tss"), limit: 0x67, selector: tssSel, typ: 11, present: 1}
	s.ldt = kvmSegment{unusable: 1}
	s.gdt = kvmTable{base: g.va("ring0_gdt"), limit: uint16(g.symbols["ring0_gdt_end"] - g.symbols["ring0_gdt"] - 1)}
	s.idt = kvmTable{base: g.va("__idt"), limit: 16*numVectors - 1}
	s.cr0, s.cr3, s.cr4, s.efer = cr0, g.kernelTable, cr4, efer
	_, err := callPtr(v.vcpu, kvmSetSregs, &s, "KVM_SET_SREGS")
	return err
}

// Exit reasons of KVM_RUN (linux/kvm.h).
const (
	exitIO            = 2
	exitHLT           = 5
	exitMMIO          = 6
	exitIRQWindow     = 7
	exitShutdown      = 8
	exitFailEntry     = 9
	exitIntr          = 10
	exitInternalError = 17
)

// mmio is the exit of a read or write where there is no memory.
func (v *vm) mmio() (gpa, value uint64, size uint32, write bool) {
	u := v.area.exit[:]
	return binary.LittleEndian.Uint64(u), binary.LittleEndian.Uint64(u[8:]), binary.LittleEndian.Uint32(u[16:]), u[20] != 0
}

// unexpected says in words why the vCPU cannot go on.
func (v *vm) unexpected() string {
	where := ""
	var regs kvmRegs
	if _, err := callPtr(v.vcpu, kvmGetRegs, &regs, "KVM_GET_REGS"); err == nil {
		where = fmt.Sprintf(" at %#x", regs.rip)
	}
	u := v.area.exit[:]
	switch reason := v.area.exitReason; reason {
	case exitIO:
		return fmt.Sprintf("guest used I/O port %#x%s", binary.LittleEndian.Uint16(u[2:]), where)
	case exitHLT:
		return "guest halted the vCPU" + where
	case exitMMIO:
		gpa, _, size, write := v.mmio()
		verb := "read"
		if write {
			verb = "wrote"
		}
		return fmt.Sprintf("guest %s %d bytes at %#x, where there is no memory%s", verb, size, gpa, where)
	case exitShutdown:
		return "triple fault" + where
	case exitFailEntry:
		return fmt.Sprintf("KVM cannot enter the guest, hardware reason %#x%s", binary.LittleEndian.Uint64(u), where)
	case exitInternalError:
		return fmt.Sprintf("KVM internal error %d%s", binary.LittleEndian.Uint32(u), where)
	default:
		return fmt.Sprintf("KVM exit %d%s", reason, where)
	}
}

// runner is the loop around KVM_RUN, on a thread of its own.
type runner struct {
	*vm
	vcpu  *abi.Vcpu
	timer *threadTimer
	armed uint64 // TSC deadline of the timer, or never
	kHz   uint64

	stop  *atomic.Bool
	kick  *atomic.Bool // somebody has set a pending bit, or wants a look at it
	exits *atomic.Uint64
	// console gets what the monitor has copied to its buffer.
	console func([]byte)
	tsc     func() uint64

	window    bool // waiting until the guest accepts interrupts
	signalled bool // a signal has come since the timer was armed
}

const never = ^uint64(0)

// ended is how the vCPU stopped: by CallExit (text empty), or as text says.
type ended struct{ text string }

// errStopped: the loop was told to stop.
var errStopped = errors.New("stopped")

// loop runs the vCPU to its end.
func (r *runner) loop() (ended, error) {
	fd := r.vm.vcpu.Fd()
	r.armed = never
	for {
		// Cleared before the flags are read: who sets one afterwards sets
		// it again.
		r.area.setImmediateExit(0)
		if r.stop.Load() {
			return ended{}, errStopped
		}
		if err := r.checkTimer(); err != nil {
			return ended{}, err
		}
		if r.kick.Swap(false) || r.window {
			if err := r.inject(); err != nil {
				return ended{}, err
			}
		}
		r.exits.Add(1)
		switch errno := run(fd); errno {
		case 0:
		case unix.EINTR, unix.EAGAIN:
			takeSignal()
			r.signalled = true
			continue
		default:
			return ended{text: fmt.Sprintf("KVM_RUN: %v: %s", error(errno), r.unexpected())}, nil
		}
		switch r.area.exitReason {
		case exitIntr, exitIRQWindow:
		case exitMMIO:
			end, err := r.doorbell()
			if err != nil {
				return ended{}, err
			}
			if end != nil {
				return *end, nil
			}
		default:
			return ended{text: r.unexpected()}, nil
		}
	}
}

// inject interrupts the guest, if it has to be: while the user runs, or the
// kernel with interrupts on. In all other cases the guest looks at its pending
// bits itself before it lets the user run or accepts interrupts.
func (r *runner) inject() error {
	r.window = false
	r.area.requestInterruptWindow = 0
	if atomic.LoadUint64(&r.vcpu.Pending) == 0 {
		return nil
	}
	if r.area.ifFlag == 0 || r.area.readyForInjection == 0 {
		// In ring 0, for a few instructions, or not yet run at all.
		r.window = true
		r.area.requestInterruptWindow = 1
		return nil
	}
	if atomic.LoadUint32(&r.vcpu.State) != abi.VcpuUser && atomic.LoadUint32(&r.vcpu.IRQEnabled) == 0 {
		return nil
	}
	var regs kvmRegs
	if _, err := callPtr(r.vm.vcpu, kvmGetRegs, &regs, "KVM_GET_REGS"); err != nil {
		return err
	}
	if regs.rip >= r.guest.windowStart && regs.rip < r.guest.windowEnd {
		return nil // the trap frame is in use
	}
	_, err := callPtr(r.vm.vcpu, kvmInterruptCall, &kvmInterrupt{vector: irqVector}, "KVM_INTERRUPT")
	return err
}

// checkTimer raises the timer interrupt when it is due.
func (r *runner) checkTimer() error {
	if r.armed == never {
		return nil
	}
	now := r.tsc()
	if now >= r.armed {
		return r.deadline(now)
	}
	if r.signalled {
		// It may have been the timer, a little early: the two clocks are
		// not quite the same.
		r.signalled = false
		return r.timer.arm(r.nanoseconds(r.armed - now))
	}
	return nil
}

// deadline raises the timer interrupt if the guest's deadline has come,
// otherwise it arms the timer for it. The guest is told what is armed: it rings
// for an earlier deadline only.
func (r *runner) deadline(now uint64) error {
	d := atomic.LoadUint64(&r.vcpu.Deadline)
	if d <= now {
		r.fire()
		d = never
	}
	r.armed = d
	atomicWord(r.guest.timerArmed).Store(d)
	if d == never {
		return nil
	}
	r.signalled = false
	return r.timer.arm(r.nanoseconds(d - now))
}

// fire raises the timer interrupt.
func (r *runner) fire() {
	atomic.StoreUint64(&r.vcpu.Deadline, never)
	atomic.OrUint64(&r.vcpu.Pending, 1<<abi.IRQTimer)
	r.kick.Store(true)
}

// nanoseconds converts a TSC difference, rounding up, at most 1,000 seconds: a
// timer that fires too early is armed again.
func (r *runner) nanoseconds(ticks uint64) int64 {
	const most = 1000
	if ticks/1000/r.kHz >= most {
		return most * 1e9
	}
	return int64(ticks/r.kHz*1e6 + (ticks%r.kHz*1e6+r.kHz-1)/r.kHz)
}

// doorbell handles a write to the doorbell page.
func (r *runner) doorbell() (*ended, error) {
	gpa, value, size, write := r.mmio()
	if !write || size != 8 || gpa < doorbellGPA || gpa >= doorbellGPA+abi.PageSize || gpa%8 != 0 {
		return &ended{text: r.unexpected()}, nil
	}
	switch (gpa - doorbellGPA) / 8 {
	case bellTimer:
		return nil, r.deadline(r.tsc())
	case bellIdle:
		r.idle()
	case bellExit:
		return &ended{}, nil
	case bellConsole:
		r.console(r.guest.console[:min(value, consoleSize)])
	default:
		return &ended{text: r.unexpected()}, nil
	}
	return nil, nil
}

// idle waits until an interrupt is pending.
func (r *runner) idle() {
	for atomic.LoadUint64(&r.vcpu.Pending) == 0 && !r.stop.Load() {
		var timeout *unix.Timespec
		if d := atomic.LoadUint64(&r.vcpu.Deadline); d != never {
			now := r.tsc()
			if d <= now {
				r.fire()
				return
			}
			ts := unix.NsecToTimespec(r.nanoseconds(d - now))
			timeout = &ts
		}
		futexWait(&r.vcpu.Pending, timeout)
	}
}

// exitOf is how a guest ended that did not say so itself.
func exitOf(e ended) platform.Exit {
	return platform.Exit{Reason: abi.ReasonMonitor, Message: "cell ended: " + e.text}
}
