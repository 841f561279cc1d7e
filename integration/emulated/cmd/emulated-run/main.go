// SPDX-License-Identifier: Apache-2.0

// Emulated-run runs a command in an emulated machine with protection keys.
//
//	emulated-run [--file host:guest]... [--module name]... -- command [args]
//
// It prints what the command prints and exits with its status; 125 says that
// the machine itself failed.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/paracell/paracell/integration/emulated"
)

func main() { os.Exit(run()) }

func run() int {
	m := emulated.Machine{Files: map[string]string{}, Output: os.Stdout}
	flag.Func("file", "`host:guest` file or folder to copy; repeatable; the guest path defaults to the host path", func(s string) error {
		host, guest, ok := strings.Cut(s, ":")
		if !ok {
			guest = host
		}
		m.Files[guest] = host
		return nil
	})
	flag.Func("module", "kernel module to load, with what it depends on; repeatable", func(s string) error {
		m.Modules = append(m.Modules, s)
		return nil
	})
	flag.Func("env", "`name=value` for the command; repeatable", func(s string) error {
		m.Env = append(m.Env, s)
		return nil
	})
	flag.IntVar(&m.Memory, "memory", emulated.DefaultMemory, "memory in `MiB`")
	flag.IntVar(&m.CPUs, "cpus", emulated.DefaultCPUs, "virtual CPUs")
	flag.DurationVar(&m.Timeout, "timeout", emulated.DefaultTimeout, "deadline of the whole run")
	flag.StringVar(&m.KernelArgs, "append", "", "additional kernel command line")
	verbose := flag.Bool("v", false, "say how long boot and command took")
	flag.Parse()
	m.Command = flag.Args()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	res, err := emulated.Run(ctx, m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "emulated-run:", err)
		return 125
	}
	if *verbose {
		fmt.Fprintf(os.Stderr, "emulated-run: boot %v, command %v\n", res.Boot.Round(time.Millisecond), (res.Total - res.Boot).Round(time.Millisecond))
	}
	return res.ExitCode
}
