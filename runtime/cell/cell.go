// SPDX-License-Identifier: Apache-2.0

// Package cell is the composition root of one cell: it turns a description
// (runtime/config) into a machine on a platform, with its root file system and
// its first process. It is the only package above vmm that names a platform.
package cell

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/paracell/paracell/pager"
	agent "github.com/paracell/paracell/protos/agent/v1"
	"github.com/paracell/paracell/protos/boot"
	"github.com/paracell/paracell/runtime/assets"
	"github.com/paracell/paracell/runtime/config"
	"github.com/paracell/paracell/runtime/figures"
	"github.com/paracell/paracell/runtime/initramfs"
	"github.com/paracell/paracell/vmm/platform"
	"github.com/paracell/paracell/vmm/virtiofs/passthrough"
	"github.com/paracell/paracell/vmm/virtionet"
)

// Cell is a created cell. Close must be called; the other methods follow
// platform.Machine.
type Cell struct {
	machine platform.Machine
	devices *devices
	pager   *pager.Pager // nil without one
	choice  Choice
	name    string
	figures *figures.Server // nil if it could not be made

	figuresMu sync.RWMutex // held while memory is looked at that Close takes away
	closing   bool
}

// Choice is what runs the cell.
func (c *Cell) Choice() Choice { return c.choice }

// IO is what a cell is connected to.
type IO struct {
	// Stdin is the input of the command; nil is none.
	Stdin io.Reader
	// Stdout and Stderr get the output of the command; a terminal has only
	// Stdout. They may be the same.
	Stdout, Stderr io.Writer
	// Log gets what the kernel and PID 1 say.
	Log io.Writer
	// Cols and Rows are the size of the terminal, 0 if unknown.
	Cols, Rows uint16
}

// Create builds the cell and loads it into memory.
func Create(ctx context.Context, spec config.Cell, stdio IO) (_ *Cell, err error) {
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	choice, err := Choose(spec.Platform, spec.Isolation)
	if err != nil {
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
	var magic [4]byte
	if _, err := kernel.ReadAt(magic[:], 0); err != nil || string(magic[:]) != elf.ELFMAG {
		return nil, fmt.Errorf("guest kernel %s is no ELF file: the kernel of a cell is the %s of the same build", kernelPath, assets.Kernel)
	}
	root, err := rootImage(spec)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	devices, err := newDevices(spec, stdio)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			devices.close()
		}
	}()
	var running atomic.Pointer[pager.Pager]
	m, err := choice.Platform.Create(ctx, platform.Config{
		Name:      spec.Name,
		MemSize:   spec.Memory,
		HugePages: hasPager(spec),
		Vcpus:     spec.Vcpus,
		MaxSpaces: spec.Processes(),
		Isolation: choice.Isolation,
		Kernel:    kernel,
		Initrd:    root,
		Cmdline:   kernelCmdline(spec),
		Devices:   devices.count(),
		Console:   stdio.Log,
		Notify: func() {
			devices.scan()
			if p := running.Load(); p != nil {
				p.Kick()
			}
		},
	})
	if errors.Is(err, platform.ErrBuild) {
		return nil, fmt.Errorf("guest kernel %s: %w", kernelPath, err)
	}
	if err != nil {
		return nil, err
	}
	if err := devices.attach(m); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	p, err := newPager(spec, m, devices.fail)
	if err != nil {
		return nil, errors.Join(err, devices.close(), m.Close())
	}
	running.Store(p)
	c := &Cell{machine: m, devices: devices, pager: p, choice: choice, name: spec.Name}
	// A cell that "paracell top" does not see runs as well as any.
	c.figures, _ = figures.Serve(figures.Dir, spec.Name, figures.Control{Take: c.sample, SetPager: c.SetPager})
	return c, nil
}

// Start lets the guest run.
func (c *Cell) Start(ctx context.Context) error { return c.machine.Start(ctx) }

// Wait waits for the end of the guest and until its output has been written.
func (c *Cell) Wait(ctx context.Context) (platform.Exit, error) {
	ctx, stop := c.devices.watch(ctx)
	defer stop()
	exit, err := c.machine.Wait(ctx)
	if broken := context.Cause(c.devices.broken); broken != nil {
		return exit, broken
	}
	if err != nil {
		return exit, err
	}
	return exit, c.devices.drain(ctx)
}

// Listen waits for connections that the guest makes to a port of the host's
// side. The listener fails when the cell ends.
func (c *Cell) Listen(port uint32) (net.Listener, error) { return c.devices.sockets.Listen(port) }

// AddRoot and AddVolume add a directory of the host, under a name that is not in
// use, to the file systems agent.TagRoots and agent.TagVolumes of a cell with an
// agent. While the cell runs nobody else may change what is in a root.
func (c *Cell) AddRoot(name, dir string) error {
	return c.devices.roots.AddShare(name, passthrough.Share{Dir: dir})
}

// AddVolume: see AddRoot.
func (c *Cell) AddVolume(name, dir string, readOnly bool) error {
	return c.devices.volumes.AddShare(name, passthrough.Share{Dir: dir, ReadOnly: readOnly})
}

// AddFile is AddVolume for a directory that is there for the files in it: the guest
// cannot make others, which would be on whatever the directory is on.
func (c *Cell) AddFile(name, dir string, readOnly bool) error {
	return c.devices.volumes.AddShare(name, passthrough.Share{Dir: dir, ReadOnly: readOnly, Fixed: true})
}

// RemoveRoot takes away what AddRoot has added; the guest gets ESTALE for it.
func (c *Cell) RemoveRoot(name string) error { return c.devices.roots.RemoveShare(name) }

// RemoveVolume takes away what AddVolume or AddFile has added.
func (c *Cell) RemoveVolume(name string) error { return c.devices.volumes.RemoveShare(name) }

// AddNIC gives a running cell a network interface whose packets go to a tap, and
// then has to be told to look for it. It takes the tap, also with an error.
func (c *Cell) AddNIC(tap *os.File, mac net.HardwareAddr, mtu int) error {
	device, err := virtionet.New(virtionet.Tap{File: tap}, virtionet.Options{MAC: mac, MTU: mtu})
	if err != nil {
		return err
	}
	return c.devices.add("net", device)
}

// Resize tells the cell the size of its terminal.
func (c *Cell) Resize(cols, rows uint16) { c.devices.resize(cols, rows) }

// Pid is the host process that stands for the cell: see platform.Machine.
func (c *Cell) Pid() int { return c.machine.Pid() }

// Stats are the machine's counters.
func (c *Cell) Stats() platform.Stats { return c.machine.Stats() }

// Close ends the cell and releases everything.
func (c *Cell) Close() error {
	c.figuresMu.Lock()
	c.closing = true
	c.figuresMu.Unlock()
	// Devices first: they must not touch memory that the machine gives back.
	if c.figures != nil {
		_ = c.figures.Close()
	}
	err := c.devices.close()
	if c.pager != nil {
		c.pager.Close()
	}
	return errors.Join(err, c.machine.Close())
}

// kernelCmdline is the command line of the guest kernel.
func kernelCmdline(spec config.Cell) string {
	args := []string{
		"dummy.numdummies=0",                   // a new network has no interface but lo
		"sysctl.vm.compaction_proactiveness=0", // an idle cell has nothing to wake for
	}
	switch {
	case spec.Agent:
		args = append(args, "paracell.programs="+agent.TagRoots,
			"rdinit=/"+path.Join(boot.HostDir, agent.Programs, agent.AgentProgram))
	case spec.Initramfs == "":
		args = append(args, "rdinit=/"+boot.InitPath)
	}
	if !spec.Rewriting {
		args = append(args, "paracell.rewrite=off")
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
	switch {
	case spec.Agent:
		return packConsole()
	case spec.Initramfs != "":
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

// packRoot packs PID 1, its spec, a console node and, when it is to be copied,
// the root directory.
func packRoot(spec config.Cell) (_ image, err error) {
	initPath, err := assets.Find(assets.Init, "")
	if err != nil {
		return nil, err
	}
	bootSpec := boot.Spec{
		Args: spec.Args, Env: spec.Environment(), Cwd: spec.Cwd, Hostname: spec.Hostname,
	}
	if spec.Terminal {
		bootSpec.Terminal = terminalName
	} else {
		bootSpec.Streams, bootSpec.Stdin = true, spec.Interactive
	}
	if !spec.CopyRootfs {
		bootSpec.RootTag, bootSpec.RootReadOnly = rootTag, spec.ReadOnly
	}
	encoded, err := bootSpec.Encode()
	if err != nil {
		return nil, err
	}
	a := &initramfs.Archive{}
	if spec.CopyRootfs {
		err = a.AddTree(spec.Rootfs)
	}
	err = errors.Join(
		err,
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

// packConsole packs what the first process needs before it has mounted anything.
func packConsole() (image, error) {
	a := &initramfs.Archive{}
	if err := a.AddCharDevice("dev/console", 0o600, 5, 1); err != nil {
		return nil, err
	}
	return a, nil
}

// programs is the directory with the agent and what it makes containers with.
func programs() (passthrough.Share, error) {
	path, err := assets.Find(assets.Agent, "")
	if err != nil {
		return passthrough.Share{}, err
	}
	if _, err := assets.Find(assets.Crun, ""); err != nil {
		return passthrough.Share{}, err
	}
	return passthrough.Share{Dir: filepath.Dir(path), ReadOnly: true, Keep: true}, nil
}
