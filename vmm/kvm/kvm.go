// SPDX-License-Identifier: Apache-2.0

// Package kvm runs a cell in a virtual machine of KVM, from this process. The
// guest kernel is the one of the process platform and runs in ring 3 as there;
// below it, in the same virtual machine, is the monitor (xgate/monitor/kvm). This
// package loads both, runs the vCPU and says how the guest ended. docs/kvm.md
// describes how they fit together.
//
// There is no emulated hardware: a guest leaves the virtual machine only by a
// write to the doorbell page. Every other exit ends the cell.
package kvm

import (
	"context"
	"fmt"

	"github.com/paracell/paracell/vmm/boot"
	"github.com/paracell/paracell/vmm/platform"
	"github.com/paracell/paracell/xgate/abi"
)

// Platform implements platform.Platform.
type Platform struct{}

var _ platform.Platform = (*Platform)(nil)

// New returns the platform. It does not probe the host.
func New() *Platform {
	boot.BeginClock()
	return &Platform{}
}

// Name implements platform.Platform.
func (p *Platform) Name() string { return "kvm" }

// Create implements platform.Platform.
func (p *Platform) Create(ctx context.Context, cfg platform.Config) (platform.Machine, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	isolation, err := chooseIsolation(cfg.Isolation, p.Probe)
	if err != nil {
		return nil, err
	}
	m, err := newMachine(cfg, isolation)
	if err != nil {
		return nil, err
	}
	return m, nil
}

// chooseIsolation turns the mode that was asked for into the monitor's, if the
// host has it.
func chooseIsolation(want platform.Isolation, probe func() platform.Report) (uint32, error) {
	switch want {
	case platform.IsolationAuto, "":
		if probe().Err(platform.IsolationMPK) == nil {
			return abi.IsolationMPK, nil
		}
		return isolationPageTable, probe().Err(platform.IsolationPageTable)
	case platform.IsolationMPK:
		return abi.IsolationMPK, probe().Err(want)
	case platform.IsolationPageTable:
		return isolationPageTable, probe().Err(want)
	case platform.IsolationNone:
		return abi.IsolationNone, probe().Err(want)
	default:
		return 0, fmt.Errorf("%w: isolation %q; platform kvm has auto, mpk, pagetable and none", platform.ErrConfig, want)
	}
}
