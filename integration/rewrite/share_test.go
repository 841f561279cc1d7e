// SPDX-License-Identifier: Apache-2.0

package rewrite

import (
	"fmt"
	"strings"
	"testing"

	"github.com/paracell/paracell/integration/sidebyside"
	"github.com/paracell/paracell/internal/testenv"
)

// share is the smallest part of a program's system calls that may go by the
// gate, in percent.
const share = 95

// TestShare counts the calls of unmodified programs of the host in a cell.
func TestShare(t *testing.T) {
	for _, tt := range []struct{ name, needs, debian, run string }{
		{"shell", "bash", "bash", `for i in $(seq 2000); do echo $i >f; read x <f; done`},
		{"git", "git", "git", `git init -q . && seq 500 | while read n; do echo $n >f$n; done; git add .
			git -c user.name=a -c user.email=a@b commit -qm a; git status; git status; git status; git gc -q`},
		{"python", "python3", "python3", `$(command -v /usr/bin/python3 || echo python3) -c 'import os
for i in range(5000):
    os.stat("/"); open("/dev/null").close()'`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			testenv.Program(t, tt.needs, tt.debian)
			const calls = "\ngrep -E '^(gate|trap) ' /proc/paracell/calls"
			res := sidebyside.Cell(t, t.TempDir(), calls+"\n( "+tt.run+" ) >/dev/null || echo failed"+calls, patience())
			var n [4]float64
			if _, err := fmt.Sscanf(strings.Join(strings.Fields(res.Output), " "), "gate %g trap %g gate %g trap %g", &n[0], &n[1], &n[2], &n[3]); err != nil || res.Status != 0 {
				t.Fatalf("status %d, %v:\n%s", res.Status, err, res.Output)
			}
			gate, trap := n[2]-n[0], n[3]-n[1]
			t.Logf("%.0f calls by the gate, %.0f by trap: %.2f %%", gate, trap, 100*gate/(gate+trap))
			if gate+trap < 2000 || 100*gate < share*(gate+trap) {
				t.Errorf("%.0f calls by the gate, %.0f by trap", gate, trap)
			}
		})
	}
}
