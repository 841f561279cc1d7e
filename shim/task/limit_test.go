// SPDX-License-Identifier: Apache-2.0

package task

import (
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/paracell/paracell/runtime/config"
)

const mib = 1 << 20

func memory(mebibytes int64) *specs.LinuxResources {
	limit := mebibytes * mib
	return &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}}
}

func specOf(r *specs.LinuxResources) *specs.Spec {
	return &specs.Spec{Linux: &specs.Linux{Resources: r}}
}

// TestCellLimit: what a cell may have bound follows the limits of its containers.
func TestCellLimit(t *testing.T) {
	cell := config.Cell{Memory: 1 << 30, Overhead: 64 * mib}
	var l cellLimit
	if _, ok := l.update("none", memory(5)); ok {
		t.Error("a limit without a cell")
	}
	l.boot(cell, 560*mib, false)
	l.add("a", specOf(memory(560)))
	check := func(what, id string, r *specs.LinuxResources, want uint64, ok bool) {
		t.Helper()
		if got, changed := l.update(id, r); got != want || changed != ok {
			t.Errorf("%s: %d MiB, %t", what, got/mib, changed)
		}
	}
	check("less", "a", memory(280), (280+64+5)*mib, true)
	check("nothing of memory", "a", &specs.LinuxResources{}, 0, false)
	check("of another", "b", memory(1), 0, false)
	check("no limit", "a", memory(-1), 0, true)
	check("more than the cell has", "a", memory(2048), 1<<30, true)

	l.boot(cell, 560*mib, true)
	l.add("a", specOf(memory(280)))
	l.add("b", &specs.Spec{})
	check("one of a pod", "a", memory(168), (448+64+8)*mib, true)
	check("one of a pod that had none", "b", memory(168), 0, false)
	l.remove("a")
	check("one that is gone", "a", memory(168), 0, false)
}
