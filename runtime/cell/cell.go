// SPDX-License-Identifier: Apache-2.0

// Package cell is the composition root of one cell: it turns a description
// (runtime/config) into a machine on a platform, with its root file system and
// its first process. It is the only package above vmm that names a platform.
package cell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/paracell/paracell/protos/boot"
	"github.com/paracell/paracell/runtime/assets"
	"github.com/paracell/paracell/runtime/config"
	"github.com/paracell/paracell/runtime/initramfs"
	"github.com/paracell/paracell/vmm/platform"
	"github.com/paracell/paracell/vmm/process"
)

// Platforms are all platforms, the preferred one first.
func Platforms() []platform.Platform { return []platform.Platform{process.New()} }

// Cell is a created cell. Close must be called; the other methods follow
// platform.Machine.
type Cell struct {
	machine platform.Machine
}

// Create builds the cell and loads it into memory. The console gets the
// guest's output.
func Create(ctx context.Context, spec config.Cell, console io.Writer) (*Cell, error) {
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	kernelPath, err := assets.Find(assets.Kernel, spec.Kernel)
	if err != nil {
		return nil, err
	}
	kernel, err := os.Open(kernelPath)
	if err != nil {
		return nil, fmt.Errorf("guest kernel: %w", err)
	}
	defer kernel.Close()
	root, err := rootImage(spec)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	m, err := Platforms()[0].Create(ctx, platform.Config{
		Name:      spec.Name,
		MemSize:   spec.Memory,
		Vcpus:     spec.Vcpus,
		Isolation: platform.Isolation(spec.Isolation),
		Kernel:    kernel,
		Initrd:    root,
		Cmdline:   kernelCmdline(spec),
		Console:   console,
	})
	if err != nil {
		return nil, err
	}
	return &Cell{machine: m}, nil
}

// Start lets the guest run.
func (c *Cell) Start(ctx context.Context) error { return c.machine.Start(ctx) }

// Wait waits for the end of the guest.
func (c *Cell) Wait(ctx context.Context) (platform.Exit, error) { return c.machine.Wait(ctx) }

// Stats are the machine's counters.
func (c *Cell) Stats() platform.Stats { return c.machine.Stats() }

// Close ends the cell and releases everything.
func (c *Cell) Close() error { return c.machine.Close() }

// kernelCmdline is the command line of the guest kernel.
func kernelCmdline(spec config.Cell) string {
	var args []string
	if spec.Rootfs != "" {
		args = append(args, "rdinit=/"+boot.InitPath)
	}
	if !spec.Verbose {
		args = append(args, "quiet", "loglevel=0")
	}
	return strings.Join(append(args, spec.KernelArgs...), " ")
}

// image is an initramfs that has to be closed.
type image interface {
	platform.Image
	io.Closer
}

func rootImage(spec config.Cell) (image, error) {
	if spec.Initramfs != "" {
		return openImage(spec.Initramfs)
	}
	return packRoot(spec)
}

// fileImage is an archive that exists as a file.
type fileImage struct {
	*os.File
	size int64
}

func (f fileImage) Size() int64 { return f.size }

func openImage(path string) (image, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("initramfs: %w", err)
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("initramfs: %w", err)
	}
	return fileImage{f, fi.Size()}, nil
}

// packRoot packs the root directory with PID 1, its spec and a console node.
func packRoot(spec config.Cell) (_ image, err error) {
	initPath, err := assets.Find(assets.Init, "")
	if err != nil {
		return nil, err
	}
	bootSpec := boot.Spec{Args: spec.Args, Env: spec.Environment(), Cwd: spec.Cwd, Hostname: spec.Hostname}
	encoded, err := bootSpec.Encode()
	if err != nil {
		return nil, err
	}
	a := &initramfs.Archive{}
	err = errors.Join(
		a.AddTree(spec.Rootfs),
		a.AddHostFile(boot.InitPath, 0o755, initPath),
		a.AddFile(boot.SpecPath, 0o600, encoded),
		a.AddCharDevice("dev/console", 0o600, 5, 1),
	)
	if err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}
