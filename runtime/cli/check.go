// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"io"

	"github.com/paracell/paracell/runtime/cell"
	"github.com/paracell/paracell/vmm/platform"
)

const checkHelp = `paracell check - say what this host can do, what is missing and how to get it

Usage:
  paracell check

Prints one line per requirement of each platform and the isolation modes that
follow from them, and what is taken when nothing is asked for. Changes nothing.

Exit status:
  0 if cells can be run with the default isolation, 1 if only with
  --isolation none or not at all.
`

func runCheck(args []string, stdout, _ io.Writer) (int, error) {
	fs := newFlags("check")
	if err := parseFlags(fs, args); err != nil {
		return statusUsage, err
	}
	if fs.NArg() != 0 {
		return statusUsage, usageError{fmt.Errorf("unexpected argument %q", fs.Arg(0))}
	}
	for _, p := range cell.Platforms() {
		printReport(stdout, p.Probe())
	}
	choice, err := cell.Choose("auto", "auto")
	if err != nil {
		fmt.Fprintln(stdout, "auto: nothing; only --isolation none can run here, if anything")
		return 1, nil
	}
	fmt.Fprintf(stdout, "auto: %v\n", choice)
	return 0, nil
}

func printReport(w io.Writer, r platform.Report) {
	fmt.Fprintf(w, "platform %s\n", r.Platform)
	for _, c := range r.Checks {
		switch {
		case c.Err != nil:
			fmt.Fprintf(w, "  no   %s: %v\n", c.Name, c.Err)
		case c.Detail != "":
			fmt.Fprintf(w, "  yes  %s: %s\n", c.Name, c.Detail)
		default:
			fmt.Fprintf(w, "  yes  %s\n", c.Name)
		}
	}
	for _, mode := range []platform.Isolation{platform.IsolationMPK, platform.IsolationPageTable, platform.IsolationNone} {
		if mode == platform.IsolationPageTable && r.Platform == "process" {
			continue // it has one page table per host process
		}
		can := "yes"
		if r.Err(mode) != nil {
			can = "no "
		}
		fmt.Fprintf(w, "  %s  isolation %s: %s\n", can, mode, isolationText[mode])
	}
}

var isolationText = map[platform.Isolation]string{
	platform.IsolationMPK:       "protection keys between the cell's user and its kernel",
	platform.IsolationPageTable: "two page tables between the cell's user and its kernel",
	platform.IsolationNone:      "the cell's user can take over the cell's kernel; the host stays protected",
}
