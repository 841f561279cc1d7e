// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// side is one way to run the benchmark program: a command line to which the
// program's own arguments are appended.
type side struct {
	Name    string
	Command []string
}

// target is the largest ratio to the host that a cell may show.
type target struct {
	Name string
	// Base names the host's benchmark to compare with, if it is another one.
	Base  string
	Ratio float64
}

// targets are the promises of SPECIFICATION.md about single operations.
var targets = []target{
	{Name: "getpid_gate", Base: "getpid_raw", Ratio: 0.7},
	{Name: "getpid_raw", Ratio: 8},
	{Name: "fork_exec", Ratio: 2},
	{Name: "anon_first_touch_4k", Ratio: 2},
	{Name: "pread_4k_gate", Base: "pread_4k", Ratio: 1.3},
	{Name: "file_first_touch_4k", Ratio: 2},
	{Name: "thread_create_join", Ratio: 1},
}

// gateSuffix marks benchmarks that only a cell has; the host's plain one is
// what they are compared with.
const gateSuffix = "_gate"

// row is one benchmark: medians in nanoseconds, by side.
type row struct {
	Name   string
	Median map[string]float64
}

// compare runs every side once per round, in turns, and returns the medians
// over the rounds in the order of the program.
func compare(ctx context.Context, rounds int, sides []side, args ...string) ([]row, error) {
	var order []string
	samples := map[string]map[string][]float64{} // benchmark, side
	for range rounds {
		for _, s := range sides {
			results, err := runOnce(ctx, s, args)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s.Name, err)
			}
			for _, r := range results {
				if samples[r.Name] == nil {
					samples[r.Name] = map[string][]float64{}
					order = append(order, r.Name)
				}
				samples[r.Name][s.Name] = append(samples[r.Name][s.Name], r.Median)
			}
		}
	}
	var rows []row
	for _, name := range order {
		r := row{name, map[string]float64{}}
		for s, values := range samples[name] {
			slices.Sort(values)
			r.Median[s] = values[len(values)/2]
		}
		rows = append(rows, r)
	}
	return rows, nil
}

type result struct {
	Name   string
	Median float64
}

func runOnce(ctx context.Context, s side, args []string) ([]result, error) {
	line := slices.Concat(s.Command, []string{"-r", "1"}, args)
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s%s", strings.Join(line, " "), err, out, stderr.Bytes())
	}
	// A cell's console may say more than the program.
	_, text, ok := bytes.Cut(out, []byte(`{"rounds"`))
	if !ok {
		return nil, fmt.Errorf("no results in the output: %q", out)
	}
	var report struct{ Results []result }
	if err := json.NewDecoder(io.MultiReader(strings.NewReader(`{"rounds"`), bytes.NewReader(text))).Decode(&report); err != nil {
		return nil, fmt.Errorf("results: %w: %q", err, out)
	}
	return report.Results, nil
}

// table writes the rows as a Markdown table with ratios to the first side, and
// returns the names of the benchmarks that miss their target on another side.
func table(w io.Writer, rows []row, sides []side) (missed []string) {
	host := sides[0].Name
	base := map[string]float64{}
	for _, r := range rows {
		base[r.Name] = r.Median[host]
	}
	promises := map[string]target{}
	for _, t := range targets {
		promises[t.Name] = t
	}
	fmt.Fprintf(w, "| |")
	for _, s := range sides {
		fmt.Fprintf(w, " %s |", s.Name)
	}
	fmt.Fprintf(w, " ratio | target |\n|---|%s---|---|\n", strings.Repeat("---|", len(sides)))
	for _, r := range rows {
		promise, promised := promises[r.Name]
		reference := base[cmp.Or(promise.Base, strings.TrimSuffix(r.Name, gateSuffix))]
		var ratios []string
		fmt.Fprintf(w, "| %s |", strings.ReplaceAll(r.Name, "_", " "))
		for i, s := range sides {
			ns, ok := r.Median[s.Name]
			if !ok {
				fmt.Fprint(w, " |")
				continue
			}
			fmt.Fprintf(w, " %s |", duration(ns))
			if i == 0 || reference == 0 {
				continue
			}
			ratio := ns / reference
			ratios = append(ratios, fmt.Sprintf("%.2f", ratio))
			if promised && ratio > promise.Ratio && !slices.Contains(missed, r.Name) {
				missed = append(missed, r.Name)
			}
		}
		limit := ""
		if promised {
			limit = fmt.Sprintf("%.1f", promise.Ratio)
			if slices.Contains(missed, r.Name) {
				limit += " missed"
			}
		}
		fmt.Fprintf(w, " %s | %s |\n", strings.Join(ratios, " / "), limit)
	}
	return missed
}

// duration prints nanoseconds with three digits.
func duration(ns float64) string {
	switch {
	case ns < 1000:
		return fmt.Sprintf("%.0f ns", ns)
	case ns < 100_000:
		return fmt.Sprintf("%.2f us", ns/1e3)
	default:
		return fmt.Sprintf("%.0f us", ns/1e3)
	}
}

// makeRoot fills dir with a root file system that holds the named programs of
// the host, by guest path, and the mount points a cell needs.
func makeRoot(dir string, programs map[string]string) error {
	for _, d := range []string{"bin", "dev", "proc", "sys", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	for _, guest := range slices.Sorted(maps.Keys(programs)) {
		image, err := os.ReadFile(programs[guest])
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, guest), image, 0o755); err != nil {
			return err
		}
	}
	return nil
}
