// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/paracell/paracell/runtime/figures"
)

const topHelp = `paracell top - show what the cells of this host use

Usage:
  paracell top [flags]

Flags:
  --interval TIME   between two looks                                (1s)
  --once            look twice, print once and end
  --csv FILE        write every look into FILE as well; "paracell plot" draws it
  --dir DIR         where the sockets of the cells are      (` + figures.Dir + `)

Columns: host memory bound to the cell; what its guest has in use; waste, which
is (bound - used) / used; system calls through the gate and by instruction;
faults; frames of 4 KiB bound ahead of use and taken back. Memory in use is known
of cells with a pager only.
`

func runTop(args []string, stdout, _ io.Writer) (int, error) {
	fs := newFlags("top")
	interval := fs.Duration("interval", time.Second, "")
	once := fs.Bool("once", false, "")
	csvPath := fs.String("csv", "", "")
	dir := fs.String("dir", figures.Dir, "")
	if err := fs.Parse(args); err != nil {
		return statusUsage, flagError(err)
	}
	if fs.NArg() != 0 {
		return statusUsage, usageError{fmt.Errorf("unexpected argument %q", fs.Arg(0))}
	}
	if *interval <= 0 {
		return statusUsage, usageError{fmt.Errorf("--interval %v: a time above 0 is needed", *interval)}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	var series *figures.CSV
	if *csvPath != "" {
		f, err := os.Create(*csvPath)
		if err != nil {
			return 1, err
		}
		defer f.Close()
		series = figures.NewCSV(f)
	}
	w := figures.Watch(*dir)
	defer w.Close()
	if err := watch(ctx, w, stdout, series, *interval, *once); err != nil {
		return 1, err
	}
	return 0, nil
}

// flagError makes an error of the flags one of usage, but for a wish for help.
func flagError(err error) error {
	if errors.Is(err, flag.ErrHelp) {
		return err
	}
	return usageError{err}
}

// watch prints and writes until ctx ends.
func watch(ctx context.Context, w *figures.Watcher, out io.Writer, series *figures.CSV, interval time.Duration, once bool) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	last := map[string]figures.Sample{}
	for first := true; ; first = false {
		samples, err := w.Samples()
		if err != nil {
			return err
		}
		if series != nil {
			if err := series.Write(samples...); err != nil {
				return err
			}
		}
		if !once {
			fmt.Fprint(out, "\x1b[H\x1b[2J")
		}
		if !once || !first {
			printTop(out, samples, last)
		}
		if once && !first {
			return nil
		}
		clear(last)
		for _, s := range samples {
			last[key(&s)] = s
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func key(s *figures.Sample) string { return fmt.Sprintf("%s/%d", s.Cell, s.Pid) }

// printTop writes the table; rates are against the samples before.
func printTop(out io.Writer, samples []figures.Sample, last map[string]figures.Sample) {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, strings.Join([]string{"CELL", "PID", "PAGER", "BOUND", "USED", "WASTE", "GATE/S", "RAW/S", "FAULTS/S", "BIND/S", "UNBIND/S", ""}, "\t"))
	for _, s := range samples {
		used, waste := "-", "-"
		if s.Used > 0 {
			used, waste = mib(s.Used), fmt.Sprintf("%.1f%%", 100*s.Waste())
		}
		before, ok := last[key(&s)]
		rate := func(now, then uint64) string {
			seconds := s.Time.Sub(before.Time).Seconds()
			if !ok || seconds <= 0 || now < then {
				return "-"
			}
			return fmt.Sprintf("%.0f", float64(now-then)/seconds)
		}
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", printable(s.Cell), s.Pid, printable(s.Policy), mib(s.Resident), used, waste,
			rate(s.GateCalls, before.GateCalls), rate(s.RawCalls, before.RawCalls), rate(s.Faults, before.Faults),
			rate(s.Bound, before.Bound), rate(s.Unbound, before.Unbound))
	}
	t.Flush()
}

func mib(bytes uint64) string { return fmt.Sprintf("%.1fM", float64(bytes)/(1<<20)) }

// printable leaves out what would disturb a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, s)
}

const plotHelp = `paracell plot - draw a time series that "paracell top --csv" has written

Usage:
  paracell plot [-o FILE.svg] FILE.csv

The drawing goes to standard output without -o. It shows bound and used memory of
every cell over time.
`

func runPlot(args []string, stdout, _ io.Writer) (int, error) {
	fs := newFlags("plot")
	path := fs.String("o", "", "")
	if err := fs.Parse(args); err != nil {
		return statusUsage, flagError(err)
	}
	if fs.NArg() != 1 {
		return statusUsage, usageError{errors.New("the name of one file is needed")}
	}
	in, err := os.Open(fs.Arg(0))
	if err != nil {
		return 1, err
	}
	defer in.Close()
	samples, err := figures.ReadCSV(in)
	if err != nil {
		return 1, fmt.Errorf("%s: %w", fs.Arg(0), err)
	}
	plot := figures.Memory(samples)
	if *path == "" {
		err = plot.WriteSVG(stdout)
	} else {
		var b strings.Builder
		if err = plot.WriteSVG(&b); err == nil {
			err = os.WriteFile(*path, []byte(b.String()), 0o644)
		}
	}
	if err != nil {
		return 1, err
	}
	return 0, nil
}
