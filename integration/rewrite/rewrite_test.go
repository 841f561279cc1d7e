// SPDX-License-Identifier: Apache-2.0

package rewrite

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/paracell/paracell/integration/guestprog"
	"github.com/paracell/paracell/internal/testenv"
)

func patience() time.Duration {
	if testenv.Emulated() {
		return 10 * time.Minute
	}
	return 2 * time.Minute
}

// programs returns the programs of this folder, built.
func programs(t *testing.T) []string {
	return guestprog.Build(t, "integration/rewrite/programs", "rewrite")
}

// TestOnHost proves the programs themselves: what they demand of a cell has to
// be what Linux on this processor does.
func TestOnHost(t *testing.T) {
	if testenv.Emulated() {
		t.Skip("the emulated processor is not the model")
	}
	for _, program := range programs(t) {
		t.Run(filepath.Base(program), func(t *testing.T) {
			if out, status := guestprog.Run(t, patience(), program); status == guestprog.NotApplicable {
				t.Skip(out)
			} else if status != 0 {
				t.Errorf("status %d: %s", status, out)
			}
		})
	}
}

func inCell(t *testing.T, arg string, flags ...string) {
	for _, program := range programs(t) {
		t.Run(filepath.Base(program), func(t *testing.T) {
			if out, status := guestprog.Cell(t, patience(), program, flags, arg); status != 0 {
				t.Errorf("status %d: %s", status, out)
			}
		})
	}
}

// TestInCell runs each program in a cell, and expects that its calls go by the
// gate.
func TestInCell(t *testing.T) {
	inCell(t, "rewritten")
}

// TestSwitchedOff runs them where the kernel does not rewrite.
func TestSwitchedOff(t *testing.T) {
	inCell(t, "plain", "--kernel-arg", "paracell.rewrite=off")
}
