// SPDX-License-Identifier: Apache-2.0

// Peer-table measures, side by side through one private containerd, what a
// container costs in a cell, with runc and with gVisor: the time of
// "ctr run --rm" of busybox's true, and the memory of everything that serves an
// idle container. It prints a table and writes a plot. As root; runc needs
// Debian's libseccomp-dev to be built.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/paracell/paracell/integration/containerd/instance"
	"github.com/paracell/paracell/integration/images"
	"github.com/paracell/paracell/integration/tools"
	"github.com/paracell/paracell/runtime/config"
	"github.com/paracell/paracell/vmm/platform"
	"github.com/paracell/paracell/vmm/process"
)

// peer is a runtime that is measured.
type peer struct {
	name, runtime string
	programs      []string
	// options of ctr run.
	options []string
	// times of a run, sorted in the end.
	times []time.Duration
	// failed is the number of runs that had another status than true's, or no end.
	failed, runs int
	// memory per idle container, in bytes, by the number of them.
	memory map[int][]int64
}

func main() {
	rounds := flag.Int("rounds", 15, "rounds of timed runs; one more comes before them")
	memoryRounds := flag.Int("memory-rounds", 3, "rounds of measuring idle containers")
	svg := flag.String("svg", "", "write the plot to this file")
	pagers := flag.String("pagers", "", "compare cells with these policies of the pager, such as off,page,page+cold, instead of other runtimes")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *rounds, *memoryRounds, *svg, *pagers); err != nil {
		fmt.Fprintln(os.Stderr, "peer-table:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, rounds, memoryRounds int, svg, pagers string) (err error) {
	isolation := platform.IsolationMPK
	if process.New().Probe().Err(isolation) != nil {
		isolation = platform.IsolationNone
	}
	bin, err := filepath.Abs("bin")
	if err != nil {
		return err
	}
	peers := []*peer{
		{name: "ParaCell, isolation " + string(isolation), runtime: instance.Runtime},
		{name: "runc", runtime: "io.containerd.runc.v2", programs: []string{"runc", "containerd-shim-runc-v2"}},
		{name: "gVisor, systrap", runtime: "io.containerd.runsc.v1", programs: []string{"runsc", "containerd-shim-runsc-v1"},
			// Its shim takes any other container for one that is added to a sandbox,
			// and waits for ever.
			options: []string{"--annotation", "io.kubernetes.cri.container-type=sandbox"}},
	}
	if pagers != "" {
		peers = nil
		for name := range strings.SplitSeq(pagers, ",") {
			policy, cold := strings.CutSuffix(name, "+cold")
			peers = append(peers, &peer{name: "pager " + name, runtime: instance.Runtime, options: []string{
				"--annotation", config.AnnotationPrefix + "pager=" + policy, "--annotation", fmt.Sprintf("%scold_cache=%t", config.AnnotationPrefix, cold),
			}})
		}
	}
	path := []string{bin}
	for _, p := range peers {
		p.memory = map[int][]int64{}
		for _, name := range p.programs {
			program, err := tools.Build(ctx, os.Stderr, name)
			if err != nil {
				return err
			}
			path = append(path, filepath.Dir(program))
		}
	}
	set, err := images.Build(ctx, os.Stderr, "busybox")
	if err != nil {
		return err
	}
	d, err := instance.Start(ctx, instance.Options{
		Log: os.Stderr, Path: path, Cells: fmt.Sprintf("platform = \"process\"\nisolation = %q\n", isolation),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := d.Import(ctx, set.Write); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%d rounds of %d runs\n", rounds, len(peers))
	for round := range rounds + 1 {
		for n := range peers {
			p := peers[(n+round)%len(peers)]
			id := fmt.Sprint("run", round, "-", n)
			p.runs++
			begin := time.Now()
			err := once(ctx, d, p, id)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				// Not a reason to have no figures: it is told with them.
				fmt.Fprintf(os.Stderr, "%s: %v\n", p.name, err)
				p.failed++
			}
			// containerd's word for a status that the shim has not told; the container
			// has run all the same.
			var exit *exec.ExitError
			if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 128) {
				continue
			}
			if round > 0 { // the first fills caches
				p.times = append(p.times, time.Since(begin))
			}
		}
	}
	fmt.Fprintf(os.Stderr, "memory of 1 and of 5 idle containers, %d rounds\n", memoryRounds)
	for round := range memoryRounds {
		for n := range peers {
			for _, count := range []int{1, 5} {
				if err := idle(ctx, d, peers[(n+round)%len(peers)], count); err != nil {
					return err
				}
			}
		}
	}
	for _, p := range peers {
		if len(p.times) == 0 {
			return fmt.Errorf("%s: every run failed", p.name)
		}
		slices.Sort(p.times)
		for _, m := range p.memory {
			slices.Sort(m)
		}
	}
	table(os.Stdout, peers)
	if svg == "" {
		return nil
	}
	var b bytes.Buffer
	plot(&b, peers)
	return os.WriteFile(svg, b.Bytes(), 0o644)
}

// command is one of ctr that runs a container of busybox.
func (p *peer) command(id, option string, command ...string) []string {
	args := append([]string{"run", option, "--runtime", p.runtime}, p.options...)
	return append(append(args, images.Ref("busybox"), id), command...)
}

// patience is for one run.
const patience = 20 * time.Second

// once runs a container that does nothing.
func once(ctx context.Context, d *instance.Instance, p *peer, id string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err := d.Do(ctx, p.command(id, "--rm", "/bin/true")...)
	if err != nil {
		remove(d, id)
	}
	return err
}

// remove ends a container that may be there.
func remove(d *instance.Instance, id string) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, _ = d.Do(ctx, "task", "rm", "-f", id)
	_, _ = d.Do(ctx, "container", "rm", id)
}

// settle is how long containers idle before they are measured.
const settle = 10 * time.Second

// idle measures containers that sleep.
func idle(ctx context.Context, d *instance.Instance, p *peer, count int) error {
	var ids []string
	defer func() {
		for _, id := range ids {
			remove(d, id)
		}
	}()
	for n := range count {
		id := fmt.Sprint("idle", n)
		ids = append(ids, id)
		if _, err := d.Do(ctx, p.command(id, "-d", "/bin/sleep", "1000")...); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(settle):
	}
	pids, err := serving(d.Dir)
	if err != nil {
		return err
	}
	if len(pids) < count {
		return fmt.Errorf("%s: %d processes serve %d containers", p.name, len(pids), count)
	}
	sum, err := memory(pids)
	if err != nil {
		return err
	}
	p.memory[count] = append(p.memory[count], sum/int64(count))
	return nil
}

func median[T any](sorted []T) T { return sorted[len(sorted)/2] }

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1000 }

func megabytes(n int64) float64 { return float64(n) / 1e6 }

func table(w io.Writer, peers []*peer) {
	row := func(name string, cell func(p *peer) string) {
		fmt.Fprintf(w, "| %s |", name)
		for _, p := range peers {
			fmt.Fprintf(w, " %s |", cell(p))
		}
		fmt.Fprintln(w)
	}
	row("", func(p *peer) string { return p.name })
	fmt.Fprintln(w, "|---"+strings.Repeat("|---", len(peers))+"|")
	row("`ctr run --rm` of busybox `true`, ms (quartiles)", func(p *peer) string {
		n := len(p.times)
		return fmt.Sprintf("%.0f (%.0f-%.0f)", milliseconds(median(p.times)), milliseconds(p.times[n/4]), milliseconds(p.times[n*3/4]))
	})
	row("of these runs gave a wrong status or never ended", func(p *peer) string {
		return fmt.Sprintf("%d of %d", p.failed, p.runs)
	})
	row("idle container, memory of everything serving it, MB", func(p *peer) string {
		return fmt.Sprintf("%.1f", megabytes(median(p.memory[1])))
	})
	row("each of 5 idle containers, MB", func(p *peer) string {
		return fmt.Sprintf("%.1f", megabytes(median(p.memory[5])))
	})
}
