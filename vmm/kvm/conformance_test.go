// SPDX-License-Identifier: Apache-2.0

package kvm_test

import (
	"testing"

	"github.com/paracell/paracell/internal/leakcheck"
	"github.com/paracell/paracell/internal/testenv"
	"github.com/paracell/paracell/vmm/platform"
	"github.com/paracell/paracell/vmm/platform/platformtest"
)

func TestMain(m *testing.M) { leakcheck.Main(m) }

func TestConformance(t *testing.T) {
	for _, mode := range []platform.Isolation{platform.IsolationMPK, platform.IsolationPageTable, platform.IsolationNone} {
		if mode != platform.IsolationMPK && testenv.Emulated() {
			continue // the host runs it, and the machine is slow
		}
		t.Run(string(mode), func(t *testing.T) {
			platformtest.Run(t, testenv.KVMPlatform(t, mode), mode)
		})
	}
}
