// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/paracell/paracell/runtime/cell"
	"github.com/paracell/paracell/runtime/config"
)

const runHelp = `paracell run - boot a cell, run one command in it, return its exit status

Usage:
  paracell run [flags] --rootfs DIR -- CMD [ARGS...]
  paracell run [flags] --initramfs FILE

The cell has a Linux kernel of its own. The command writes to the standard output
and error of paracell. The cell ends when the command ends, and with paracell
itself.

Root file system (one of them):
  --rootfs DIR        DIR is the root file system of the cell, which may change
                      it. Nobody else may change DIR while the cell runs.
    --read-only       mount it read-only
    --copy-rootfs     copy DIR into the cell's memory first; changes are gone
                      when the cell ends. Mounts inside DIR and extended
                      attributes are not copied.
  --initramfs FILE    a cpio archive, compressed or not, whose /init becomes PID 1

Flags:
  --memory SIZE       memory of the cell, with suffix K, M or G      (512M)
  --cpus N            virtual processors; more than 1 are refused    (1)
  --platform NAME     what runs the cell: auto, process, kvm         (auto)
  --isolation MODE    between the cell's user and its own kernel     (auto)
                        auto  the first of mpk on kvm, mpk on process and
                              pagetable on kvm that the host has
                        mpk   protection keys
                        pagetable  two page tables; slower. Platform kvm only
                        none  nothing: a process in the cell can take over the
                              cell's kernel. The boundary between the cell and
                              the host is the same in all modes.
  --pager POLICY      how host memory follows the cell's demand     (calm)
                        off       what was used once stays
                        page      bound ahead of use, free frames go back
                        calm      the same, but free frames of a cell that works
                                  go back after a second only
                        huge      the same in blocks of 2 MiB
                        report, report4k  free page reporting, in blocks of 2 MiB
                                  and in frames
                        none      nothing goes back, but figures are kept
  --cold-cache        an idle cell gives page cache back; needs a pager
  --pager-limit SIZE  host memory that the pager keeps to    (all of the cell's)
  --pager-verify      the guest checks every frame that the pager says is zero
  --host-processes N  processes of the host that address spaces of the cell may
                      take, 16 to 8191         (one for each 512K of its memory)
  -i, --interactive   the command reads the standard input of paracell
  -t, --tty           the command runs on a terminal: the one of paracell
  --env KEY=VALUE     add to the command's environment; may be repeated
  --workdir DIR       working directory of the command               (/)
  --hostname NAME     host name in the cell                          (cell)
  --name NAME         name of the cell in messages and /proc         (cell)
  --kernel FILE       guest kernel    (paracell-kernel beside this program)
  --kernel-arg ARG    add to the kernel command line; may be repeated
  -v                  show the kernel's log and, at the end, figures on standard error

Example:
  paracell run --memory 1G --rootfs ./debian -- /bin/sh -c 'uname -a'

Exit status:
  that of the command; 128+N if signal N killed it, 126 or 127 if it could not
  be executed or was not found; 125 if the cell could not be run or did not end
  by itself; 2 for a usage error.
`

// stringList is a flag that may be repeated.
type stringList []string

func (l *stringList) String() string     { return fmt.Sprint([]string(*l)) }
func (l *stringList) Set(s string) error { *l = append(*l, s); return nil }

// sizeFlag is a number of bytes with a suffix.
type sizeFlag uint64

func (f *sizeFlag) String() string { return fmt.Sprint(uint64(*f)) }
func (f *sizeFlag) Set(s string) error {
	n, err := config.ParseSize(s)
	if err != nil {
		return err
	}
	*f = sizeFlag(n)
	return nil
}

// parseRun reads the command line of run.
func parseRun(args []string) (config.Cell, error) {
	c := config.Default()
	fs := newFlags("run")
	fs.StringVar(&c.Rootfs, "rootfs", "", "")
	fs.StringVar(&c.Initramfs, "initramfs", "", "")
	fs.BoolVar(&c.CopyRootfs, "copy-rootfs", c.CopyRootfs, "")
	fs.BoolVar(&c.ReadOnly, "read-only", false, "")
	fs.BoolVar(&c.Interactive, "i", false, "")
	fs.BoolVar(&c.Interactive, "interactive", false, "")
	fs.BoolVar(&c.Terminal, "t", false, "")
	fs.BoolVar(&c.Terminal, "tty", false, "")
	fs.Var((*sizeFlag)(&c.Memory), "memory", "")
	fs.IntVar(&c.Vcpus, "cpus", c.Vcpus, "")
	fs.StringVar(&c.Platform, "platform", c.Platform, "")
	fs.StringVar(&c.Isolation, "isolation", c.Isolation, "")
	fs.StringVar(&c.Pager, "pager", c.Pager, "")
	fs.IntVar(&c.HostProcesses, "host-processes", 0, "")
	fs.BoolVar(&c.ColdCache, "cold-cache", false, "")
	fs.Var((*sizeFlag)(&c.PagerLimit), "pager-limit", "")
	fs.BoolVar(&c.PagerVerify, "pager-verify", false, "")
	fs.Var((*stringList)(&c.Env), "env", "")
	fs.StringVar(&c.Cwd, "workdir", c.Cwd, "")
	fs.StringVar(&c.Hostname, "hostname", c.Hostname, "")
	fs.StringVar(&c.Name, "name", c.Name, "")
	fs.StringVar(&c.Kernel, "kernel", "", "")
	fs.Var((*stringList)(&c.KernelArgs), "kernel-arg", "")
	fs.BoolVar(&c.Verbose, "v", false, "")
	if err := parseFlags(fs, args); err != nil {
		return c, err
	}
	c.Args = fs.Args()
	if err := c.Validate(); err != nil {
		return c, usageError{err}
	}
	return c, nil
}

func runCell(args []string, stdout, stderr io.Writer) (int, error) {
	spec, err := parseRun(args)
	if err != nil {
		return statusFailed, err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	stdio := cell.IO{Stdout: stdout, Stderr: stderr, Log: stderr}
	if spec.Initramfs != "" {
		stdio.Log = stdout // it has nothing else
	}
	if spec.Interactive || spec.Terminal {
		stdio.Stdin = os.Stdin
	}
	if spec.Terminal {
		cols, rows, restore, err := rawTerminal(os.Stdin)
		if err != nil {
			return statusFailed, usageError{err}
		}
		defer restore()
		stdio.Cols, stdio.Rows = cols, rows
	}
	begin := time.Now()
	c, err := cell.Create(ctx, spec, stdio)
	if err != nil {
		return statusFailed, err
	}
	defer c.Close()
	if spec.Terminal {
		defer followSize(os.Stdin, c.Resize)()
	}
	created := time.Now()
	if err := c.Start(ctx); err != nil {
		return statusFailed, err
	}
	exit, err := c.Wait(ctx)
	if err != nil {
		return statusFailed, interrupted(ctx, err)
	}
	if spec.Verbose {
		s := c.Stats()
		fmt.Fprintf(stderr, "paracell: %v; loaded in %v, ran for %v; %d MiB resident, %d host processes\n",
			exit, created.Sub(begin).Round(time.Millisecond/10), time.Since(created).Round(time.Millisecond/10),
			s.Resident>>20, s.Contexts)
		fmt.Fprintf(stderr, "paracell: system calls %d gate, %d raw; %d faults; host calls %d, %d of them mapping; %d hand-overs\n",
			s.GateCalls, s.RawCalls, s.Faults, s.HostCalls, s.MapCalls, s.Handovers)
	}
	if spec.Verbose {
		printPager(stderr, c)
	}
	if !exit.OK() {
		return statusFailed, errors.New(exit.Message)
	}
	return exit.Code, nil
}

// printPager writes the figures of the cell's pager, if it has one.
func printPager(w io.Writer, c *cell.Cell) {
	s, ok := c.Pager()
	if !ok {
		return
	}
	g := s.Guest
	fmt.Fprintf(w, "paracell: pager %s: %d frames bound ahead in %d calls, %d of them huge pages, %v each, %d not used; %d taken back in %d calls, %v each\n",
		s.Policy, s.Bound, s.BindCalls, s.Huge, per(s.BindNs, s.Bound), s.Unused, s.Unbound, s.UnbindCalls, per(s.UnbindNs, s.Unbound))
	fmt.Fprintf(w, "paracell: pager: %d frames taken, %d of them unbound, %d being bound, %d bound ahead; %d need no zeroing; %d waits, longest %d cycles; %d notifications, %d scans\n",
		g.Taken, g.TakenUnbound, g.TakenBinding, g.TakenAhead, g.ZeroSkipped, g.Waits, g.WaitMaxCycles, g.Kicks, s.Scans)
}

// per is the time per piece.
func per(ns, n uint64) time.Duration { return time.Duration(ns / max(n, 1)) }

// interrupted names the signal as the cause, where it was one.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return fmt.Errorf("%w: the cell was killed", context.Cause(ctx))
	}
	return err
}
