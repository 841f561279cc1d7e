// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/paracell/paracell/integration/guestprog"
	"github.com/paracell/paracell/internal/testenv"
)

// needHardware lists the programs that may find nothing to test, because the
// processor has not what they are about. Any other skip in a cell is a failure.
var needHardware = []string{"zmm_signal"}

func patience() time.Duration {
	if testenv.Emulated() {
		return 15 * time.Minute
	}
	return 10 * time.Minute
}

// quirks returns the programs of integration/quirks, built.
func quirks(t *testing.T) []string { return guestprog.Build(t, "integration/quirks", "quirks") }

// TestQuirksOnHost proves the programs themselves: what they demand of a cell
// has to be what Linux on this processor does.
func TestQuirksOnHost(t *testing.T) {
	for _, program := range quirks(t) {
		t.Run(filepath.Base(program), func(t *testing.T) {
			switch out, status := guestprog.Run(t, patience(), program); status {
			case 0:
			case guestprog.NotApplicable:
				t.Skip(out)
			default:
				t.Errorf("status %d: %s", status, out)
			}
		})
	}
}

// TestQuirksInCell runs each program in a cell of its own.
func TestQuirksInCell(t *testing.T) {
	for _, program := range quirks(t) {
		name := filepath.Base(program)
		t.Run(name, func(t *testing.T) {
			out, status := guestprog.Cell(t, patience(), program, nil)
			switch {
			case status == 0:
			case status == guestprog.NotApplicable && slices.Contains(needHardware, name):
				t.Skip(out)
			default:
				t.Errorf("status %d: %s", status, out)
			}
		})
	}
}

// TestManyProcessesInCell runs many more processes than the host gives the cell.
func TestManyProcessesInCell(t *testing.T) {
	list := quirks(t)
	i := slices.IndexFunc(list, func(p string) bool { return filepath.Base(p) == "many_processes" })
	if out, status := guestprog.Cell(t, patience(), list[i], []string{"--host-processes", "32"}); status != 0 {
		t.Errorf("status %d: %s", status, out)
	}
}
