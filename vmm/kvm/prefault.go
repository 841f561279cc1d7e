// SPDX-License-Identifier: Apache-2.0

package kvm

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/paracell/paracell/vmm/platform"
	"github.com/paracell/paracell/xgate/abi"
)

var _ platform.Prefaulter = (*machine)(nil)

// prefaulter fills the host's nested page table ahead of the guest
// (KVM_PRE_FAULT_MEMORY, Linux 6.11). The call belongs to a vCPU, and would wait
// until that leaves the guest; so it is made on one that never runs. Both share
// the table, since they have the same CPUID.
type prefaulter struct {
	mu   sync.Mutex
	vcpu *os.File // nil before the first use
	err  error    // why it is not used any more
}

var errNoPrefault = errors.New("KVM has no KVM_PRE_FAULT_MEMORY")

// Prefault implements platform.Prefaulter. It never returns an error: the guest's
// own faults fill what this does not.
func (m *machine) Prefault(gpa, n uint64) error {
	_ = m.Whole(func(*abi.Control) error {
		if size := m.Memory().Size(); n <= size && gpa <= size-n {
			m.prefault.fill(m.vm, gpa, n)
		}
		return nil
	})
	return nil
}

func (p *prefaulter) fill(v *vm, gpa, n uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = p.open(v)
	}
	if p.err == nil {
		p.err = prefault(func(r *kvmPreFaultMemory) error {
			_, err := callPtr(p.vcpu, kvmPreFault, r, "KVM_PRE_FAULT_MEMORY")
			return err
		}, gpa, n)
	}
}

// open makes the vCPU, or finds that KVM has no such call: kernels before 6.11,
// and processors without nested page tables.
func (p *prefaulter) open(v *vm) error {
	if p.vcpu != nil {
		return nil
	}
	kvm, err := openKVM()
	if err != nil {
		return err
	}
	defer kvm.Close()
	if has, err := call(kvm, kvmCheckExtension, capPreFaultMemory, "KVM_CHECK_EXTENSION"); err != nil || has == 0 {
		return errors.Join(errNoPrefault, err)
	}
	have, err := supportedCPUID(kvm)
	if err != nil {
		return err
	}
	fd, err := call(v.vm, kvmCreateVcpu, 1, "KVM_CREATE_VCPU")
	if err != nil {
		return err
	}
	p.vcpu = os.NewFile(uintptr(fd), "kvm-prefault")
	shown, _ := shape(have)
	_, err = callPtr(p.vcpu, kvmSetCPUID2, shown, "KVM_SET_CPUID2")
	return err
}

func (p *prefaulter) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.vcpu == nil {
		return nil
	}
	return p.vcpu.Close()
}

// prefault repeats the call, which says how far it has come, to the end of the
// range.
func prefault(call func(*kvmPreFaultMemory) error, gpa, n uint64) error {
	r := kvmPreFaultMemory{gpa: gpa, size: n}
	for r.size != 0 {
		before := r.size
		err := call(&r)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
		case err != nil:
			return fmt.Errorf("%d bytes at %#x: %w", r.size, r.gpa, err)
		case r.size >= before:
			return fmt.Errorf("KVM_PRE_FAULT_MEMORY of %d bytes at %#x does nothing", r.size, r.gpa)
		}
	}
	return nil
}
