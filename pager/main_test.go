// SPDX-License-Identifier: Apache-2.0

package pager

import (
	"os"
	"testing"

	"github.com/paracell/paracell/internal/leakcheck"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(stressRole); role != "" {
		os.Exit(stressGuest(role))
	}
	leakcheck.Main(m)
}
