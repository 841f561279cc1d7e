// SPDX-License-Identifier: Apache-2.0

// Perf-table measures what a cell costs, side by side with the host, and
// prints a Markdown table. It needs a built tree and runs from its top:
//
//	go run ./integration/perf/perf-table [-rounds 9] [-isolation auto] [-filter fork]
//
// It exits with 1 when a target of SPECIFICATION.md is missed.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "perf-table:", err)
		os.Exit(1)
	}
}

func run() error {
	rounds := flag.Int("rounds", 9, "rounds; each boots a cell")
	isolation := flag.String("isolation", "auto", "isolation of the cell")
	filter := flag.String("filter", "", "run benchmarks whose name contains this")
	scale := flag.Int("scale", 100, "iterations, in `percent`")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	if out, err := exec.CommandContext(ctx, "make", "-s", "-C", "integration/perf").CombinedOutput(); err != nil {
		return fmt.Errorf("build the benchmarks: %w\n%s", err, out)
	}
	root, err := os.MkdirTemp("", "perf-root-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(root)
	if err := makeRoot(root, map[string]string{"bin/micro": "bin/perf/micro"}); err != nil {
		return err
	}
	sides := []side{
		{Name: "host", Command: []string{"bin/perf/micro"}},
		{Name: "cell", Command: []string{"bin/paracell", "run", "--isolation", *isolation, "--rootfs", root, "--", "/bin/micro"}},
	}
	rows, err := compare(ctx, *rounds, sides, "-f", *filter, "-s", fmt.Sprint(*scale))
	if err != nil {
		return err
	}
	if missed := table(os.Stdout, rows, sides); len(missed) > 0 {
		return fmt.Errorf("missed targets: %s", strings.Join(missed, ", "))
	}
	return nil
}
