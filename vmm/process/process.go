// SPDX-License-Identifier: Apache-2.0

// Package process runs a cell as a few host processes under seccomp, one per
// guest address space. It needs no hardware virtualisation.
//
// The code below the guest kernel is the monitor (xgate/monitor/process); the
// protocol between it and this package is in docs/xgate.md, the jail that it
// runs in is in docs/jail.md. This package loads the guest, starts the first
// host process, moves console bytes, notifications and interrupts, and says how
// the guest ended.
package process

//go:generate go run ./gen

import (
	"context"
	"fmt"

	"github.com/paracell/paracell/vmm/boot"
	"github.com/paracell/paracell/vmm/platform"
	"github.com/paracell/paracell/xgate/abi"
	monitor "github.com/paracell/paracell/xgate/monitor/process"
)

// Platform implements platform.Platform.
type Platform struct {
	// monitor returns the path of the monitor, rules is the allow-list; tests
	// put their own here.
	monitor func() (string, error)
	rules   []rule
}

var _ platform.Platform = (*Platform)(nil)

// embeddedMonitor is shared by all platforms of this host process.
var embeddedMonitor monitorFile

// New returns the platform. It does not probe the host.
func New() *Platform {
	boot.BeginClock()
	return &Platform{
		monitor: func() (string, error) { return embeddedMonitor.open(monitor.Image) },
		rules:   allowList,
	}
}

// Name implements platform.Platform.
func (p *Platform) Name() string { return "process" }

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
	return newMachine(cfg, isolation, p)
}

// chooseIsolation turns the mode that was asked for into the monitor's, if the
// host has it. Without protection keys auto is refused: a weaker boundary is
// never chosen silently.
func chooseIsolation(want platform.Isolation, probe func() platform.Report) (uint32, error) {
	switch want {
	case platform.IsolationAuto, platform.IsolationMPK, "":
		err := probe().Err(platform.IsolationMPK)
		if err == nil {
			return abi.IsolationMPK, nil
		}
		if probe().Err(platform.IsolationNone) != nil {
			return 0, err
		}
		return 0, fmt.Errorf("%w\nwithout it, --isolation none runs the cell all the same: "+
			"a process in the cell can then take over the cell's own kernel; the boundary between cell and host stays as it is", err)
	case platform.IsolationNone:
		return abi.IsolationNone, probe().Err(platform.IsolationNone)
	default:
		return 0, fmt.Errorf("%w: isolation %q; platform process has auto, mpk and none", platform.ErrConfig, want)
	}
}
