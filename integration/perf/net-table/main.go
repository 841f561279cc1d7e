// SPDX-License-Identifier: Apache-2.0

// Net-table measures the network between a container and its host's side, with
// cells beside other runtimes in the same arrangement (a veth pair on a bridge,
// in network namespaces of its own), and prints a Markdown table. It needs a
// built tree, root, and runs from the top:
//
//	go run ./integration/perf/net-table [-rounds 5] [-seconds 1] [-runtimes runc,cell]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
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
	"github.com/paracell/paracell/integration/network/testnet"
	"github.com/paracell/paracell/integration/tools"
	"github.com/paracell/paracell/vmm/platform"
	"github.com/paracell/paracell/vmm/process"
)

// runtimes are what can be measured: containerd's name and the programs.
var runtimes = map[string]struct {
	name     string
	programs []string
}{
	"cell":   {instance.Runtime, nil},
	"runc":   {"io.containerd.runc.v2", []string{"containerd-shim-runc-v2", "runc"}},
	"gvisor": {"io.containerd.runsc.v1", []string{"containerd-shim-runsc-v1", "runsc"}},
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "net-table:", err)
		os.Exit(1)
	}
}

// side is a running container.
type side struct {
	label   string
	host    *testnet.Host
	samples map[string][]float64
}

func run() (err error) {
	rounds := flag.Int("rounds", 5, "rounds; the runtimes take turns in each")
	seconds := flag.Float64("seconds", 1, "length of a measurement")
	list := flag.String("runtimes", "runc,cell", "runtimes: runc, gvisor, cell")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	top, err := os.Getwd()
	if err != nil {
		return err
	}
	path := []string{filepath.Join(top, "bin")}
	labels := strings.Split(*list, ",")
	for _, l := range labels {
		r, ok := runtimes[l]
		if !ok {
			return fmt.Errorf("runtime %q is not known", l)
		}
		for _, p := range r.programs {
			built, err := tools.Build(ctx, os.Stderr, p)
			if err != nil {
				return err
			}
			path = append(path, filepath.Dir(built))
		}
	}
	dir, err := os.MkdirTemp("", "net-table-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	server := filepath.Join(dir, "netload")
	build := exec.CommandContext(ctx, "go", "build", "-o", server, "./integration/perf/netload")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the server: %w\n%s", err, out)
	}
	set, err := images.Build(ctx, os.Stderr, "busybox")
	if err != nil {
		return err
	}
	isolation := platform.IsolationNone
	if process.New().Probe().Err(platform.IsolationMPK) == nil {
		isolation = platform.IsolationMPK
	}
	d, err := instance.Start(ctx, instance.Options{Log: os.Stderr, Path: path, Cells: fmt.Sprintf("isolation = %q\n", isolation)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := d.Import(ctx, set.Write); err != nil {
		return err
	}
	tb := &cleaner{}
	defer func() {
		if p := recover(); p != nil {
			err = errors.Join(err, fmt.Errorf("%v", p))
		}
		err = errors.Join(err, tb.clean())
	}()
	network := testnet.New(tb, 1500)
	var sides []*side
	for _, l := range labels {
		h := network.Host()
		if _, err := d.Do(ctx, "run", "-d", "--runtime", runtimes[l].name, "--with-ns", "network:"+h.Path,
			"--mount", "type=bind,src="+server+",dst=/netload,options=bind:ro", images.Ref("busybox"), l, "/netload", ":5000"); err != nil {
			return err
		}
		defer func() {
			_, e := d.Do(context.WithoutCancel(ctx), "task", "rm", "-f", l)
			err = errors.Join(err, e)
		}()
		sides = append(sides, &side{label: l, host: h, samples: map[string][]float64{}})
	}
	for range *rounds {
		for _, s := range sides {
			if err := s.measure(ctx, network, time.Duration(*seconds*float64(time.Second))); err != nil {
				return fmt.Errorf("%s: %w", s.label, err)
			}
		}
	}
	table(sides)
	return nil
}

// table prints medians.
func table(sides []*side) {
	fmt.Print("| |")
	for _, s := range sides {
		fmt.Printf(" %s |", s.label)
	}
	fmt.Print("\n|---|" + strings.Repeat("---|", len(sides)) + "\n")
	for _, b := range benchmarks {
		fmt.Printf("| %s, %s |", b.name, b.unit)
		for _, s := range sides {
			v := s.samples[b.name]
			slices.Sort(v)
			fmt.Printf(" %.3g |", v[len(v)/2])
		}
		fmt.Println()
	}
}
