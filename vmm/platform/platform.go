// SPDX-License-Identifier: Apache-2.0

// Package platform is the contract between a cell and what runs its vCPUs.
// Every platform passes the suite in platformtest.
//
// # Order of calls
//
//	Probe   at any time, any number of times
//	Create  -> Machine, in state created
//	Start   once; from here on the guest runs
//	Wait    any number of times, by any number of goroutines; returns when the
//	        guest has ended
//	Close   once, always, in every state; further calls do nothing
//
// Between Create and Start the caller sets up devices (Devices) and may read
// and write guest memory; the platform has loaded the kernel, initrd and boot
// parameters by then.
//
// # Who closes what
//
// A Machine owns its guest memory, its host processes or vCPU threads, and
// every file it made. Close ends the guest if it still runs, waits until all
// host processes and goroutines of the machine are gone and releases
// everything; after Close guest memory must not be touched. Readers and writers
// in Config stay the caller's; the platform does not use them after Close has
// returned.
//
// # Concurrency
//
// All methods of Machine may be called at the same time from many goroutines.
// Kick, RaiseIRQ and Stats are for hot paths: they take no lock that is held
// over a host call that can wait. After the end of the guest Kick and RaiseIRQ
// return ErrEnded; before Start they return ErrState.
//
// # Hostile guests
//
// Everything in guest memory and in the control area can be written by a guest
// kernel that its user has taken over. A platform never trusts it: the worst a
// guest can do is end its own machine.
package platform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/paracell/paracell/vmm/memory"
	"github.com/paracell/paracell/xgate/abi"
)

// Errors of Machine and Platform, wrapped with the details.
var (
	// ErrUnsupported: this host cannot do what was asked for. The text names
	// the requirement and the remedy.
	ErrUnsupported = errors.New("not supported on this host")
	// ErrConfig: the configuration is not valid.
	ErrConfig = errors.New("invalid machine configuration")
	// ErrBuild: the kernel and this program are not of one build. The text
	// names both and the remedy.
	ErrBuild = errors.New("kernel and program are of different builds")
	// ErrState: a call out of order.
	ErrState = errors.New("machine is not in the right state")
	// ErrEnded: the guest has ended.
	ErrEnded = errors.New("guest has ended")
	// ErrClosed: the machine was closed.
	ErrClosed = errors.New("machine is closed")
)

// Platform makes machines.
type Platform interface {
	// Name is what users call the platform: "process", "kvm".
	Name() string

	// Probe finds out what this host can do. It has no lasting effect.
	Probe() Report

	// Create allocates guest memory and loads the guest into it. Errors:
	// ErrUnsupported, ErrConfig, or what reading the images said.
	Create(ctx context.Context, cfg Config) (Machine, error)
}

// Machine is one guest.
type Machine interface {
	// Memory is guest memory, valid until Close.
	Memory() *memory.Memory

	// Devices are the register blocks of the virtio transport, valid until
	// Close. The guest writes to them too.
	Devices() []abi.VirtioDevice

	// Start lets the guest run. It returns when the jail around the guest is
	// complete, or with the reason why it is not. The context bounds only
	// Start itself. After an error the machine can only be closed.
	Start(ctx context.Context) error

	// Wait returns how the guest ended, or the error of the context. It
	// returns ErrState before Start and ErrClosed if the machine was closed
	// before the guest ended.
	Wait(ctx context.Context) (Exit, error)

	// Kick makes a vCPU leave guest code for an instant, so that it looks at
	// its pending bits again.
	Kick(vcpu int) error

	// RaiseIRQ sets a pending bit (abi.IRQ*, below MaxInterrupts) of vCPU 0 and makes sure that
	// the guest notices. Raising a bit that is still pending costs nothing.
	RaiseIRQ(bit uint) error

	// Pid is the host process that stands for the machine: the guest ends
	// with it. 0 before Start, and where a machine has no process of its own.
	Pid() int

	// Stats are counters since Start. They are the guest's own word where
	// the field says so.
	Stats() Stats

	// Close: see the package comment.
	Close() error
}

// Prefaulter is a Machine with tables of its own for guest memory, which it can
// fill before the guest touches it (KVM_PRE_FAULT_MEMORY).
type Prefaulter interface {
	// Prefault is called when host memory has been provided for [gpa, gpa+n),
	// multiples of 4096, from any goroutine until Close. It is a hint: where
	// the host cannot do it, it returns nil and the guest's touch does the work.
	Prefault(gpa, n uint64) error
}

// Isolation is what separates the guest's user from the guest's kernel. The
// boundary between the guest and the host never depends on it.
type Isolation string

// Isolation modes.
const (
	// IsolationAuto: the strongest that the host has; never IsolationNone.
	IsolationAuto Isolation = "auto"
	// IsolationMPK: memory protection keys.
	IsolationMPK Isolation = "mpk"
	// IsolationPageTable: two page tables (kvm platform only).
	IsolationPageTable Isolation = "pagetable"
	// IsolationNone: nothing. The guest's user can take over its kernel.
	IsolationNone Isolation = "none"
)

// Config describes a machine.
type Config struct {
	// Name appears in /proc/PID/maps and error texts.
	Name string
	// MemSize is guest physical memory in bytes, a multiple of 4096.
	MemSize uint64
	// HugePages makes memory that can be had in huge pages; see memory.NewHuge.
	// Where the host has none it is as without.
	HugePages bool
	// Vcpus is the number of vCPUs, 1 to abi.MaxVcpus.
	Vcpus int
	// MaxSpaces is how many address spaces the guest may have at a time, 0 to
	// abi.MaxSlots-1; 0 is the most that there can be. On platform process
	// each is a process of the host.
	MaxSpaces int
	// Isolation: see its constants. Create returns ErrUnsupported when the
	// host does not have it.
	Isolation Isolation
	// Kernel is the ELF image of the guest kernel.
	Kernel io.ReaderAt
	// Initrd is put at the end of guest memory; may be nil.
	Initrd Image
	// Cmdline is the kernel command line.
	Cmdline string
	// Devices is the number of virtio devices, 0 to MaxDevices.
	Devices int

	// Console gets the bytes of the guest's console, from one goroutine. A
	// slow writer slows the guest down; after a write error the rest is
	// thrown away.
	Console io.Writer
	// Notify is called, from one goroutine, when device registers
	// (VirtioDevice.NotifyQueues, DriverStatus, ResetSeq) of any device may
	// have changed. Calls may be merged and may be spurious. It must not
	// block for long and must not call Close. May be nil.
	Notify func()
}

// Image is something to be copied into guest memory.
type Image interface {
	io.WriterTo
	// Size is the number of bytes that WriteTo writes.
	Size() int64
}

// Validate checks what is the same for all platforms.
func (c *Config) Validate() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{ErrConfig}, args...)...)
	}
	switch {
	case c.MemSize == 0 || c.MemSize%abi.PageSize != 0:
		return bad("memory of %d bytes is not a multiple of %d", c.MemSize, abi.PageSize)
	case c.MemSize > abi.PhysMaxSize:
		return bad("memory of %d MiB is more than the limit of %d MiB", c.MemSize>>20, uint64(abi.PhysMaxSize)>>20)
	case c.MemSize < MinMemory:
		return bad("memory of %d MiB is less than the minimum of %d MiB", c.MemSize>>20, MinMemory>>20)
	case c.Vcpus < 1 || c.Vcpus > abi.MaxVcpus:
		return bad("%d vCPUs; 1 to %d are possible", c.Vcpus, abi.MaxVcpus)
	case c.MaxSpaces < 0 || c.MaxSpaces >= abi.MaxSlots:
		return bad("%d address spaces; at most %d are possible", c.MaxSpaces, abi.MaxSlots-1)
	case c.Devices < 0 || c.Devices > MaxDevices:
		return bad("%d devices; at most %d are possible", c.Devices, MaxDevices)
	case c.Kernel == nil:
		return bad("no kernel image")
	case len(c.Cmdline) >= abi.CmdlineSize:
		return bad("command line of %d bytes; at most %d fit", len(c.Cmdline), abi.CmdlineSize-1)
	}
	for i := 0; i < len(c.Cmdline); i++ {
		if c.Cmdline[i] == 0 {
			return bad("command line has a NUL byte")
		}
	}
	return nil
}

// MaxInterrupts is the number of pending bits that can be raised: an idle vCPU
// sleeps on the first half of its pending word. MaxDevices follows from it.
const (
	MaxInterrupts = 32
	MaxDevices    = min(abi.MaxDevices, MaxInterrupts-abi.IRQDevice0)
)

// MinMemory is the smallest guest memory in bytes: kernel image, its page array
// and a few processes.
const MinMemory = 32 << 20

// Exit says how a guest ended.
type Exit struct {
	// Reason is one of abi.Reason*.
	Reason uint32
	// Code is the guest's exit status, 0 to 255, for ReasonPowerOff.
	Code int
	// Message says it in words, for logs and users; one line of printable
	// text. Parts of it may come from the guest.
	Message string
}

// OK says whether the guest ended by its own will.
func (e Exit) OK() bool { return e.Reason == abi.ReasonPowerOff }

func (e Exit) String() string { return e.Message }

// Stats are counters of a machine.
type Stats struct {
	// Resident is host memory bound to the guest, in bytes.
	Resident uint64
	// ConsoleBytes were read from the guest's console.
	ConsoleBytes uint64
	// Notifications were received from the guest; Interrupts is the number
	// of pending bits raised by RaiseIRQ, Kicks the number of vCPU
	// interruptions that it took.
	Notifications, Interrupts, Kicks uint64
	// The guest's own word, summed over vCPUs.
	GateCalls, RawCalls, Faults, HostCalls, MapCalls, Handovers uint64
	// Contexts is the number of host execution contexts (guest's word).
	Contexts uint64
	// Idle says that all vCPUs sleep until an interrupt comes.
	Idle bool
}

// Check is the result of one probe.
type Check struct {
	// Name is the requirement, e.g. "protection keys".
	Name string
	// Err is nil when it is met; its text names the remedy.
	Err error
	// Detail is what was found, e.g. "6.18.44".
	Detail string
	// For lists what needs it: nil means everything on the platform,
	// otherwise the isolation modes.
	For []Isolation
}

// Report is what a host can do.
type Report struct {
	Platform string
	Checks   []Check
}

// Err is nil when the host can run cells with the isolation mode, otherwise
// ErrUnsupported with every unmet requirement.
func (r Report) Err(mode Isolation) error {
	var missing []error
	for _, c := range r.Checks {
		if c.Err != nil && c.needed(mode) {
			missing = append(missing, fmt.Errorf("%s: %w", c.Name, c.Err))
		}
	}
	if missing == nil {
		return nil
	}
	return fmt.Errorf("platform %s with isolation %s: %w: %w", r.Platform, mode, ErrUnsupported, errors.Join(missing...))
}

// Missing names the requirements of an isolation mode that are not met.
func (r Report) Missing(mode Isolation) string {
	var names []string
	for _, c := range r.Checks {
		if c.Err != nil && c.needed(mode) {
			names = append(names, c.Name)
		}
	}
	return strings.Join(names, ", ")
}

func (c Check) needed(mode Isolation) bool {
	if c.For == nil {
		return true
	}
	for _, m := range c.For {
		if m == mode {
			return true
		}
	}
	return false
}
