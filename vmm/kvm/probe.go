// SPDX-License-Identifier: Apache-2.0

package kvm

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/paracell/paracell/vmm/boot"
	"github.com/paracell/paracell/vmm/platform"
	"github.com/paracell/paracell/xgate/abi"
)

// probed is the host's report; hosts do not change while we run.
var probed = sync.OnceValue(probe)

// Probe implements platform.Platform.
func (p *Platform) Probe() platform.Report { return probed() }

// probe runs the monitor's self-test in virtual machines of its own: what
// CPUID offers and what a host enforces are two things.
func probe() platform.Report {
	r := platform.Report{Platform: "kvm"}
	f, err := openKVM()
	if err == nil {
		f.Close()
	}
	r.Checks = append(r.Checks, platform.Check{Name: "/dev/kvm", Err: err})
	if err != nil {
		return r
	}
	detail, err := selfTest(isolationPageTable)
	r.Checks = append(r.Checks,
		platform.Check{Name: "virtual machine", Detail: detail, Err: err},
		platform.Check{Name: "protection keys in virtual machines", For: []platform.Isolation{platform.IsolationMPK}, Err: checkKeys()},
	)
	return r
}

// checkKeys asks KVM, and believes only a no: whether keys that are offered work
// is seen by trying.
func checkKeys() error {
	f, err := openKVM()
	if err != nil {
		return err
	}
	defer f.Close()
	have, err := supportedCPUID(f)
	if err != nil {
		return err
	}
	if !offersKeys(have) {
		return errors.New("KVM does not offer them: a processor with PKU is needed, and where this machine is itself virtual, a hypervisor that passes PKU on")
	}
	_, err = selfTest(abi.IsolationMPK)
	return err
}

// probeTime is the longest time that a self-test may take.
const probeTime = 10 * time.Second

// Quirk is the detail of a check of hosts whose KVM does not deliver the syscall
// instruction to ring 0 as the processor does. The monitor takes the page fault
// that comes instead; such hosts are known to emulate ring 0.
const Quirk = "syscall comes as a page fault: ring 0 is emulated here, which is slow"

// selfTest returns what is unusual about the host.
func selfTest(isolation uint32) (detail string, err error) {
	const size = 4 << 20
	cfg := platform.Config{Name: "probe", MemSize: size, Vcpus: 1}
	mem, control, err := boot.Blank(cfg.Name, size, false)
	if err != nil {
		return "", err
	}
	b := &control.Boot
	b.Version, b.Identity, b.MemSize, b.MaxSlots = abi.Version, abi.Identity, size, abi.MaxSlots-1
	b.KernelTextStart, b.KernelTextEnd, b.KernelRodataEnd = abi.KernelGPA, abi.KernelGPA, abi.KernelGPA
	g, err := newGuest(cfg.Name, b, isolation, true)
	if err != nil {
		return "", errors.Join(err, mem.Close())
	}
	m := makeMachine(cfg, isolation, mem, control, g)
	defer m.Close()
	ctx, cancel := context.WithTimeout(context.Background(), probeTime)
	defer cancel()
	if err := m.Start(ctx); err != nil {
		return "", err
	}
	x, err := m.Wait(ctx)
	if err != nil {
		return "", fmt.Errorf("self-test of the monitor: %w", err)
	}
	if !x.OK() {
		return "", fmt.Errorf("self-test of the monitor: %s", x.Message)
	}
	if x.Code != 0 {
		detail = Quirk
	}
	return detail, nil
}
