// SPDX-License-Identifier: Apache-2.0

// Package config describes a cell as users ask for it, with the defaults.
package config

import (
	"errors"
	"fmt"
	"math"
	"path"
	"strconv"
	"strings"
)

// Defaults.
const (
	DefaultMemory    = 512 << 20
	DefaultOverhead  = 64 << 20
	DefaultIsolation = "auto"
	DefaultPager     = "calm"
	DefaultCwd       = "/"
	defaultPath      = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// Cell is one cell with one command.
type Cell struct {
	// Name appears in messages and in /proc/PID/maps.
	Name string
	// Memory is guest memory in bytes.
	Memory uint64
	// Vcpus is the number of vCPUs.
	Vcpus int
	// Platform: auto, or the name of one.
	Platform string
	// Isolation between the cell's user and its kernel: auto, mpk, pagetable, none.
	Isolation string
	// Kernel is the path of the guest kernel; empty means the one beside the
	// program.
	Kernel string
	// KernelArgs are added to the kernel command line.
	KernelArgs []string
	// Verbose puts the kernel log on the console.
	Verbose bool
	// Pager is the policy by which memory follows its demand.
	Pager string
	// ColdCache lets an idle cell give page cache back. It needs a pager.
	ColdCache bool
	// PagerLimit is the host memory in bytes that the pager keeps to; 0 is all
	// of the cell's.
	PagerLimit uint64
	// Overhead is what a cell may have bound, in bytes, beyond what its
	// containers may use.
	Overhead uint64
	// PagerVerify lets the guest check what the pager promises. For tests.
	PagerVerify bool
	// Rewriting turns system-call instructions into jumps to the gate.
	Rewriting bool
	// HostProcesses bounds the processes of the host that the cell's address
	// spaces take: see Processes. 0 is the default for its memory.
	HostProcesses int

	// Rootfs is a directory that becomes the root file system, or Initramfs
	// an archive that brings its own /init. Exactly one of them is set.
	Rootfs, Initramfs string
	// CopyRootfs gives the cell a copy of Rootfs in its memory instead of the
	// directory itself.
	CopyRootfs bool
	// ReadOnly mounts Rootfs read-only.
	ReadOnly bool

	// Agent runs the agent as the cell's PID 1, which makes containers as it
	// is told over a socket, instead of one command. Its root is its own.
	Agent bool

	// Args is the command, with Rootfs only.
	Args []string
	// Env is added to the default environment; KEY=VALUE.
	Env []string
	// Cwd is the working directory of the command.
	Cwd string
	// Hostname of the guest.
	Hostname string
	// Interactive connects the input of the command.
	Interactive bool
	// Terminal runs the command on a terminal.
	Terminal bool
}

// Default is a cell with all defaults and neither a root nor a command.
func Default() Cell {
	return Cell{
		Name: "cell", Memory: DefaultMemory, Vcpus: 1, Platform: "auto", Isolation: DefaultIsolation, Pager: DefaultPager, Rewriting: true,
		Cwd: DefaultCwd, Hostname: "cell",
	}
}

// Validate says what is missing or contradictory.
func (c *Cell) Validate() error {
	if err := checkProcesses(c.HostProcesses); err != nil {
		return fmt.Errorf("--host-processes: %w", err)
	}
	if c.Agent {
		return c.validateAgent()
	}
	switch {
	case c.Rootfs == "" && c.Initramfs == "":
		return errors.New("a root is needed: --rootfs DIR or --initramfs FILE")
	case c.Rootfs != "" && c.Initramfs != "":
		return errors.New("--rootfs and --initramfs exclude each other")
	case c.Rootfs == "" && (c.CopyRootfs || c.ReadOnly):
		return errors.New("--copy-rootfs and --read-only need --rootfs")
	case c.CopyRootfs && c.ReadOnly:
		return errors.New("--copy-rootfs and --read-only exclude each other: a copy is the cell's own")
	case c.Rootfs != "" && len(c.Args) == 0:
		return errors.New("a command is needed after --")
	case c.Initramfs != "" && len(c.Args) != 0:
		return errors.New("--initramfs runs the archive's own /init: a command can only be given with --rootfs")
	case c.Initramfs != "" && (c.Interactive || c.Terminal):
		return errors.New("--interactive and --tty need --rootfs")
	case !path.IsAbs(c.Cwd):
		return fmt.Errorf("--workdir %q: an absolute path is needed", c.Cwd)
	}
	if err := vcpuError(c.Vcpus); err != nil {
		return fmt.Errorf("--cpus %w", err)
	}
	for _, e := range c.Env {
		if k, _, ok := strings.Cut(e, "="); !ok || k == "" {
			return fmt.Errorf("--env %q: KEY=VALUE is needed", e)
		}
	}
	return nil
}

// validateAgent is Validate for a cell with an agent.
func (c *Cell) validateAgent() error {
	if c.Rootfs != "" || c.Initramfs != "" || len(c.Args) != 0 || c.Interactive || c.Terminal {
		return errors.New("a cell with an agent has neither a root nor a command of its own")
	}
	return nil
}

// Environment is the command's: the defaults overridden by Env.
func (c *Cell) Environment() []string {
	env := []string{defaultPath, "HOME=/root", "TERM=linux"}
	for _, e := range c.Env {
		key, _, _ := strings.Cut(e, "=")
		env = append(without(env, key), e)
	}
	return env
}

func without(env []string, key string) []string {
	out := env[:0:0]
	for _, e := range env {
		if !strings.HasPrefix(e, key+"=") {
			out = append(out, e)
		}
	}
	return out
}

// ParseSize reads a number of bytes with an optional binary suffix K, M, G or T.
func ParseSize(s string) (uint64, error) {
	digits := strings.TrimRight(s, "KMGTkmgtiBb")
	var shift uint
	switch strings.ToUpper(strings.TrimSuffix(strings.TrimSuffix(strings.ToUpper(s[len(digits):]), "B"), "I")) {
	case "":
	case "K":
		shift = 10
	case "M":
		shift = 20
	case "G":
		shift = 30
	case "T":
		shift = 40
	default:
		return 0, fmt.Errorf("size %q: suffixes are K, M, G and T", s)
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("size %q: a number with an optional suffix K, M, G or T is needed", s)
	}
	if n > math.MaxUint64>>shift {
		return 0, fmt.Errorf("size %q is too large", s)
	}
	return n << shift, nil
}

// FormatSize is a size that ParseSize reads.
func FormatSize(n uint64) string {
	for _, u := range []struct {
		shift  uint
		suffix string
	}{{30, "G"}, {20, "M"}, {10, "K"}} {
		if n != 0 && n%(1<<u.shift) == 0 {
			return strconv.FormatUint(n>>u.shift, 10) + u.suffix
		}
	}
	return strconv.FormatUint(n, 10)
}
