// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/paracell/paracell/runtime/figures"
)

const pagerHelp = `paracell pager - change how host memory follows the demand of a running cell

Usage:
  paracell pager set [--dir DIR] CELL POLICY

CELL is the name of a cell or the process that serves it, as "paracell top" shows
them; for a container it is the container's or the sandbox's. POLICY is one of
page, calm, huge, report, report4k and none: "paracell help run" describes them. It
is in force at once, for as long as the cell lives; what is free already goes back
by it.

A cell that was started with policy off has no pager that could be told anything,
and a pager that runs cannot be taken out: none leaves memory where it is.

Flags:
  --dir DIR         where the sockets of the cells are      (` + figures.Dir + `)
`

func runPager(args []string, _, _ io.Writer) (int, error) {
	fs := newFlags("pager")
	dir := fs.String("dir", figures.Dir, "")
	set := len(args) > 0 && args[0] == "set"
	if set {
		args = args[1:]
	}
	if err := fs.Parse(args); err != nil {
		return statusUsage, flagError(err)
	}
	if !set || fs.NArg() != 2 {
		return statusUsage, usageError{errors.New("set, a cell and a policy are needed")}
	}
	w := figures.Watch(*dir)
	defer w.Close()
	samples, err := w.Samples()
	if err != nil {
		return 1, err
	}
	cell, err := findCell(samples, fs.Arg(0))
	if err != nil {
		return 1, err
	}
	if err := w.SetPager(cell, fs.Arg(1)); err != nil {
		return 1, err
	}
	return 0, nil
}

// findCell takes the name of a cell or the process that serves it.
func findCell(samples []figures.Sample, which string) (*figures.Sample, error) {
	var found []*figures.Sample
	for i := range samples {
		if s := &samples[i]; s.Cell == which || strconv.Itoa(s.Pid) == which {
			found = append(found, s)
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("no cell %q answers; \"paracell top\" shows those that do", which)
	case 1:
		return found[0], nil
	}
	return nil, fmt.Errorf("%d cells are called %q: name one by its process, for instance %d", len(found), which, found[0].Pid)
}
