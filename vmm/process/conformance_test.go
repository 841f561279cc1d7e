// SPDX-License-Identifier: Apache-2.0

package process_test

import (
	"testing"

	"github.com/paracell/paracell/internal/testenv"
	"github.com/paracell/paracell/vmm/platform"
	"github.com/paracell/paracell/vmm/platform/platformtest"
)

func TestConformance(t *testing.T) {
	for _, mode := range []platform.Isolation{platform.IsolationMPK, platform.IsolationNone} {
		t.Run(string(mode), func(t *testing.T) {
			platformtest.Run(t, testenv.ProcessPlatform(t, mode), mode)
		})
	}
}
