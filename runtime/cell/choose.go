// SPDX-License-Identifier: Apache-2.0

package cell

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/paracell/paracell/runtime/config"
	"github.com/paracell/paracell/vmm/kvm"
	"github.com/paracell/paracell/vmm/platform"
	"github.com/paracell/paracell/vmm/process"
)

// Platforms are all platforms.
func Platforms() []platform.Platform { return []platform.Platform{process.New(), kvm.New()} }

// Choice is what runs a cell.
type Choice struct {
	Platform  platform.Platform
	Isolation platform.Isolation
	// Reason is one line that says why it is this one.
	Reason string
}

func (c Choice) String() string {
	return fmt.Sprintf("platform %s with isolation %s: %s", c.Platform.Name(), c.Isolation, c.Reason)
}

// candidate is one combination that auto may take.
type candidate struct {
	platform  string
	isolation platform.Isolation
}

// preferred is the order in which auto tries. Two page tables come last: they
// keep the same guarantee, and every entry into the guest's kernel pays for it.
// Nothing is weaker than that without being asked for by name; then the
// platform that needs less of the host comes first.
var preferred = []candidate{
	{"kvm", platform.IsolationMPK},
	{"process", platform.IsolationMPK},
	{"kvm", platform.IsolationPageTable},
	{"process", platform.IsolationNone},
	{"kvm", platform.IsolationNone},
}

// Choose finds the platform and isolation for a cell. Each may be "auto"; what
// is named is taken or refused with what the host lacks for it.
func Choose(name, isolation string) (Choice, error) {
	return choose(Platforms(), name, platform.Isolation(isolation))
}

func choose(platforms []platform.Platform, name string, isolation platform.Isolation) (Choice, error) {
	auto := func(s string) bool { return s == "" || s == "auto" }
	var failed []error
	var passed []string
	for _, c := range preferred {
		if !auto(name) && name != c.platform {
			continue
		}
		if auto(string(isolation)) && c.isolation == platform.IsolationNone || !auto(string(isolation)) && isolation != c.isolation {
			continue
		}
		p := find(platforms, c.platform)
		if p == nil {
			continue
		}
		report := p.Probe()
		if err := report.Err(c.isolation); err != nil {
			failed = append(failed, err)
			passed = append(passed, fmt.Sprintf("no %s on %s (%s)", c.isolation, c.platform, report.Missing(c.isolation)))
			continue
		}
		return Choice{Platform: p, Isolation: c.isolation, Reason: reason(name, isolation, passed)}, nil
	}
	switch {
	case failed == nil:
		return Choice{}, fmt.Errorf("%w: platform %q with isolation %q: no such combination; kvm has mpk, pagetable and none, process has mpk and none",
			platform.ErrConfig, name, isolation)
	case isolation != platform.IsolationNone && slices.ContainsFunc(platforms, func(p platform.Platform) bool {
		return (auto(name) || p.Name() == name) && p.Probe().Err(platform.IsolationNone) == nil
	}):
		failed = append(failed, fmt.Errorf("without them, isolation none runs a cell all the same (isolation = \"none\" in %s, paracell run --isolation none): "+
			"a process in the cell can then take over the cell's own kernel; the boundary between cell and host stays as it is", config.FilePath))
	}
	return Choice{}, errors.Join(failed...)
}

func reason(name string, isolation platform.Isolation, passed []string) string {
	switch {
	case len(passed) != 0:
		return strings.Join(passed, ", ")
	case name != "auto" && name != "" && isolation != "auto" && isolation != "":
		return "both were asked for"
	default:
		return "the first choice, and the host has what it needs"
	}
}

func find(platforms []platform.Platform, name string) platform.Platform {
	for _, p := range platforms {
		if p.Name() == name {
			return p
		}
	}
	return nil
}
