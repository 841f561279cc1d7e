// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/paracell/paracell/runtime/assets"
	"github.com/paracell/paracell/runtime/cell"
	"github.com/paracell/paracell/runtime/config"
	"github.com/paracell/paracell/vmm/platform"
)

const checkHelp = `paracell check - say what this host can do, what is missing and how to get it

Usage:
  paracell check

Prints one line per requirement of each platform and the isolation modes that
follow from them, and what is taken when nothing is asked for; then the files of
this installation and whether containers can be run with the configuration of
this host. Changes nothing.

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
	status := 0
	if choice, err := cell.Choose("auto", "auto"); err != nil {
		fmt.Fprintln(stdout, "auto: nothing; only --isolation none can run here, if anything")
		status = 1
	} else {
		fmt.Fprintf(stdout, "auto: %v\n", choice)
	}
	printFiles(stdout)
	printConfiguration(stdout)
	return status, nil
}

// printFiles says which files of the installation there are.
func printFiles(w io.Writer) {
	fmt.Fprintln(w, "files")
	for _, f := range []struct{ name, what string }{
		{assets.Kernel, "guest kernel"}, {assets.Init, "first process of paracell run"},
		{assets.Agent, "first process of cells with containers"}, {assets.Crun, "makes containers in them"},
		{assets.Shim, "what containerd starts; has to be on its PATH"},
	} {
		path, err := assets.Find(f.name, "")
		if err != nil {
			fmt.Fprintf(w, "  no   %s: %v\n", f.what, err)
			continue
		}
		fmt.Fprintf(w, "  yes  %s: %s\n", f.what, path)
	}
}

// printConfiguration says what containers would get.
func printConfiguration(w io.Writer) {
	path, named := config.Path("")
	if _, err := os.Stat(path); err != nil && !named {
		path = "defaults, as there is no " + path
	}
	fmt.Fprintf(w, "containers (%s)\n", path)
	s, err := config.LoadFile("")
	if err == nil {
		_, err = assets.Find(assets.Kernel, s.Kernel)
	}
	if err == nil {
		var choice cell.Choice
		if choice, err = cell.Choose(s.Platform, s.Isolation); err == nil {
			fmt.Fprintf(w, "  yes  %v\n", choice)
			return
		}
	}
	fmt.Fprintf(w, "  no   %s\n", strings.ReplaceAll(err.Error(), "\n", "\n       "))
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
