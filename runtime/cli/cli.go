// SPDX-License-Identifier: Apache-2.0

// Package cli is the command line of paracell.
package cli

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
)

// Exit statuses of our own; everything else is the guest command's.
const (
	// statusFailed: the cell could not be run, or did not end by itself.
	statusFailed = 125
	// statusUsage: the command line was wrong.
	statusUsage = 2
)

const usage = `paracell - run programs in cells: sandboxes with a Linux kernel of their own

Usage:
  paracell run [flags] --rootfs DIR -- CMD [ARGS...]
  paracell run [flags] --initramfs FILE
  paracell top
  paracell plot FILE
  paracell pager set CELL POLICY
  paracell check
  paracell config [flags]
  paracell help [COMMAND]

Commands:
  run     boot a cell, run one command in it and return its exit status
  top     show what the cells of this host use, live or as a time series
  plot    draw a time series of top
  pager   change how memory follows the demand of a running cell
  check   say what this host can do, what is missing and how to get it
  config  print the settings that containers in cells get
  help    describe a command

Exit status:
  that of the guest's command for run; 128+N if signal N killed it,
  126 or 127 if it could not be executed or was not found;
  125 if the cell could not be run or did not end by itself; 2 for a usage error.
`

// command is one subcommand.
type command struct {
	name string
	help string
	run  func(args []string, stdout, stderr io.Writer) (int, error)
}

func commands() []command {
	return []command{
		{"run", runHelp, runCell},
		{"check", checkHelp, runCheck},
		{"top", topHelp, runTop},
		{"plot", plotHelp, runPlot},
		{"pager", pagerHelp, runPager},
		{"config", configHelp, runConfig},
	}
}

// usageError is an error in the command line.
type usageError struct{ error }

// Main runs the program and returns its exit status.
func Main(args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return statusUsage
	}
	name, rest := args[0], args[1:]
	switch name {
	case "help", "-h", "-help", "--help":
		return help(rest, stdout, stderr)
	}
	for _, c := range commands() {
		if c.name == name {
			return execute(c, rest, stdout, stderr)
		}
	}
	fmt.Fprintf(stderr, "paracell: no command %q; there are: %s\n", name, commandNames())
	return statusUsage
}

func execute(c command, args []string, stdout, stderr io.Writer) int {
	status, err := c.run(args, stdout, stderr)
	var wrong usageError
	switch {
	case err == nil:
		return status
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, c.help)
		return 0
	case errors.As(err, &wrong):
		fmt.Fprintf(stderr, "paracell %s: %v\nTry: paracell help %s\n", c.name, err, c.name)
		return statusUsage
	default:
		fmt.Fprintf(stderr, "paracell %s: %v\n", c.name, err)
		return status
	}
}

func help(args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(stdout, usage)
		return 0
	}
	for _, c := range commands() {
		if c.name == args[0] {
			fmt.Fprint(stdout, c.help)
			return 0
		}
	}
	fmt.Fprintf(stderr, "paracell: no command %q; there are: %s\n", args[0], commandNames())
	return statusUsage
}

func commandNames() string {
	var names []string
	for _, c := range commands() {
		names = append(names, c.name)
	}
	return strings.Join(append(names, "help"), ", ")
}

// parseFlags is fs.Parse whose errors are usage errors.
func parseFlags(fs *flag.FlagSet, args []string) error {
	err := fs.Parse(args)
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return err
	}
	return usageError{err}
}

// newFlags is a flag set that leaves error texts and help to execute.
func newFlags(name string) *flag.FlagSet {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	return fs
}
