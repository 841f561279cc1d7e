// SPDX-License-Identifier: Apache-2.0

package cell

import (
	"context"
	"errors"
	"math"
	"sync/atomic"
	"time"

	agent "github.com/paracell/paracell/protos/agent/v1"
	"github.com/paracell/paracell/runtime/config"
	"github.com/paracell/paracell/vmm/platform"
	"github.com/paracell/paracell/vmm/virtio"
	"github.com/paracell/paracell/vmm/virtio/transport"
	"github.com/paracell/paracell/vmm/virtioconsole"
	"github.com/paracell/paracell/vmm/virtiofs"
	"github.com/paracell/paracell/vmm/virtiofs/passthrough"
	"github.com/paracell/paracell/vmm/virtiorng"
	"github.com/paracell/paracell/vmm/virtiovsock"
)

const (
	// rootTag is how the guest mounts its root file system.
	rootTag = "root"
	// terminalName is the virtio console in the guest's /dev. hvc0 is the
	// kernel's own console.
	terminalName = "hvc1"
	// volumeTimeout is how long the guest relies on names and attributes of
	// files that others can change.
	volumeTimeout = time.Second
	// fileMemory is what a guest's kernel needs at least for each file that it knows,
	// in bytes: what a file server remembers is bounded by the guest's memory.
	fileMemory = 512
	// maxNICs bounds the network interfaces of a cell with an agent.
	maxNICs = 8
)

// devices are the virtio devices of a cell.
type devices struct {
	list    []namedDevice
	console *virtioconsole.Device // of a command with a terminal
	streams *streams              // of one without
	sockets *virtiovsock.Device

	// Of a cell with an agent.
	roots, volumes *passthrough.FS
	spare          int // devices that can be added while it runs

	// transport is nil until attach: the guest does not run before.
	transport atomic.Pointer[transport.Transport]
	// broken is ended with the first error of a device.
	broken context.Context
	fail   context.CancelCauseFunc
}

type namedDevice struct {
	name  string
	model virtio.Device
}

// newDevices makes the devices of a cell before there is a machine.
func newDevices(spec config.Cell, stdio IO) (*devices, error) {
	d := &devices{sockets: virtiovsock.New()}
	d.broken, d.fail = context.WithCancelCause(context.Background())
	d.list = []namedDevice{{"rng", virtiorng.New()}, {"vsock", d.sockets}}
	switch {
	case spec.Terminal:
		d.console = virtioconsole.New(virtioconsole.Options{
			In: stdio.Stdin, Out: stdio.Stdout, Cols: stdio.Cols, Rows: stdio.Rows,
		})
		d.list = append(d.list, namedDevice{"console", d.console})
	case spec.Rootfs != "":
		var err error
		if d.streams, err = newStreams(d.sockets, stdio); err != nil {
			d.close()
			return nil, err
		}
	}
	var err error
	maxNodes := int(min(spec.Memory/fileMemory, math.MaxInt32))
	switch {
	case spec.Agent:
		d.spare = maxNICs
		d.roots = passthrough.NewShares(passthrough.Options{Exclusive: true, MaxNodes: maxNodes})
		d.volumes = passthrough.NewShares(passthrough.Options{Timeout: volumeTimeout, MaxNodes: maxNodes})
		var share passthrough.Share
		if share, err = programs(); err == nil {
			err = d.roots.AddShare(agent.Programs, share)
		}
		err = errors.Join(err, d.addFS(agent.TagRoots, d.roots), d.addFS(agent.TagVolumes, d.volumes))
	case spec.Rootfs != "" && !spec.CopyRootfs:
		var fs *passthrough.FS
		fs, err = passthrough.New(
			passthrough.Share{Dir: spec.Rootfs, ReadOnly: spec.ReadOnly},
			passthrough.Options{Exclusive: true, MaxNodes: maxNodes},
		)
		if err == nil {
			err = d.addFS(rootTag, fs)
		}
	}
	if err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

// addFS adds a device for a file system, which it closes.
func (d *devices) addFS(tag string, fs *passthrough.FS) error {
	device, err := virtiofs.New(tag, fs)
	if err != nil {
		return err
	}
	d.list = append(d.list, namedDevice{tag, device})
	return nil
}

func (d *devices) count() int { return len(d.list) + d.spare }

// attach publishes the devices to a machine that has not been started. After an
// error they are closed.
func (d *devices) attach(m platform.Machine) error {
	t := transport.New(transport.Options{
		Registers: m.Devices(),
		Memory:    m.Memory(),
		RaiseIRQ:  m.RaiseIRQ,
		Fail:      d.fail,
	})
	for len(d.list) > 0 {
		next := d.list[0]
		d.list = d.list[1:] // the transport closes it, whatever happens
		if _, err := t.Add(next.name, next.model); err != nil {
			t.Close()
			return err
		}
	}
	d.transport.Store(t)
	return nil
}

// add adds a device to a cell that runs, and closes it after an error.
func (d *devices) add(name string, model virtio.Device) error {
	t := d.transport.Load()
	if t == nil {
		return errors.Join(errors.New("the cell has no devices yet"), model.Close())
	}
	_, err := t.Add(name, model)
	return err
}

// scan is called by the platform after a notification of the guest.
func (d *devices) scan() {
	if t := d.transport.Load(); t != nil {
		t.Scan()
	}
}

// watch returns a context that also ends when a device breaks, with its error
// as the cause.
func (d *devices) watch(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(d.broken, func() { cancel(context.Cause(d.broken)) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// drain waits until the output of an ended guest has been written, and closes
// the devices.
func (d *devices) drain(ctx context.Context) error {
	var err error
	if d.console != nil {
		err = d.console.Drain(ctx)
	}
	err = errors.Join(err, d.close())
	if d.streams != nil {
		err = errors.Join(err, d.streams.drain(ctx))
	}
	return err
}

// resize tells the guest the size of its terminal.
func (d *devices) resize(cols, rows uint16) {
	if d.console != nil {
		d.console.Resize(cols, rows)
	}
}

func (d *devices) close() error {
	if t := d.transport.Load(); t != nil {
		return t.Close()
	}
	var err error
	for _, n := range d.list {
		err = errors.Join(err, n.model.Close())
	}
	d.list = nil
	return err
}
