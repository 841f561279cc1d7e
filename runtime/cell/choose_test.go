// SPDX-License-Identifier: Apache-2.0

package cell

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/paracell/paracell/vmm/platform"
)

// host is a platform of a host that has some isolation modes.
type host struct {
	name string
	has  []platform.Isolation
}

func (h host) Name() string { return h.name }

func (h host) Probe() platform.Report {
	r := platform.Report{Platform: h.name}
next:
	for _, mode := range []platform.Isolation{platform.IsolationMPK, platform.IsolationPageTable, platform.IsolationNone} {
		for _, have := range h.has {
			if have == mode {
				continue next
			}
		}
		r.Checks = append(r.Checks, platform.Check{
			Name: "all for " + string(mode), For: []platform.Isolation{mode}, Err: errors.New("is missing"),
		})
	}
	return r
}

func (h host) Create(context.Context, platform.Config) (platform.Machine, error) {
	return nil, errors.New("not to be created")
}

func TestChoose(t *testing.T) {
	const mpk, table, none = platform.IsolationMPK, platform.IsolationPageTable, platform.IsolationNone
	type modes = []platform.Isolation
	for _, c := range []struct {
		process, kvm    modes
		name, isolation string
		want            string // platform and isolation, or part of the error
	}{
		{modes{mpk, none}, modes{mpk, table, none}, "auto", "auto", "kvm mpk"},
		{modes{mpk, none}, modes{table, none}, "auto", "auto", "process mpk"},
		{modes{none}, modes{table, none}, "auto", "auto", "kvm pagetable"},
		{modes{none}, modes{table, none}, "", "", "kvm pagetable"},
		{modes{none}, nil, "auto", "auto", "isolation none runs a cell all the same"},
		{modes{mpk, none}, nil, "auto", "mpk", "process mpk"},
		{modes{none}, modes{table, none}, "auto", "mpk", "all for mpk: is missing"},
		{modes{mpk, none}, modes{mpk, table, none}, "auto", "pagetable", "kvm pagetable"},
		{modes{mpk, none}, modes{mpk, table, none}, "auto", "none", "process none"},
		{nil, modes{table, none}, "auto", "none", "kvm none"},
		{modes{mpk, none}, modes{mpk, table, none}, "process", "auto", "process mpk"},
		{modes{none}, modes{mpk, table, none}, "process", "auto", "all for mpk: is missing"},
		{modes{mpk, none}, modes{table, none}, "kvm", "auto", "kvm pagetable"},
		{modes{mpk, none}, modes{table, none}, "kvm", "mpk", "all for mpk: is missing"},
		{modes{mpk, none}, modes{mpk, table, none}, "process", "pagetable", "no such combination"},
		{modes{mpk, none}, modes{mpk, table, none}, "xen", "auto", "no such combination"},
	} {
		got, err := choose([]platform.Platform{host{"process", c.process}, host{"kvm", c.kvm}}, c.name, platform.Isolation(c.isolation))
		switch {
		case err != nil && !strings.Contains(err.Error(), c.want):
			t.Errorf("%+v: %v", c, err)
		case err == nil && got.Platform.Name()+" "+string(got.Isolation) != c.want:
			t.Errorf("%+v: %v", c, got)
		case err == nil && (got.Reason == "" || strings.Contains(got.Reason, "\n")):
			t.Errorf("%+v: reason %q", c, got.Reason)
		}
	}
}
