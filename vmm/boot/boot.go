// SPDX-License-Identifier: Apache-2.0

// Package boot makes the memory of a cell and loads the guest into it, and
// reads how the guest says that it has ended: what is the same on all platforms.
package boot

import (
	"crypto/rand"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/paracell/paracell/vmm/memory"
	"github.com/paracell/paracell/vmm/platform"
	"github.com/paracell/paracell/xgate/abi"
)

// Load allocates guest memory, loads kernel and initrd and fills in the boot
// parameters but for the clock, see SetClock. The configuration is valid;
// isolation is an abi.Isolation*. The caller closes the memory, in which the
// control area is.
func Load(cfg *platform.Config, isolation uint32) (*memory.Memory, *abi.Control, error) {
	return load(cfg, isolation, &Image{})
}

// LoadShared is Load, but leaves in the kernel's file what cells can share. The
// caller closes the image.
func LoadShared(cfg *platform.Config, isolation uint32) (*memory.Memory, *abi.Control, *Image, error) {
	image, err := openImage(cfg.Kernel)
	if err != nil {
		return nil, nil, nil, err
	}
	mem, control, err := load(cfg, isolation, image)
	if err != nil {
		return nil, nil, nil, errors.Join(err, image.Close())
	}
	return mem, control, image, nil
}

func load(cfg *platform.Config, isolation uint32, image *Image) (_ *memory.Memory, _ *abi.Control, err error) {
	mem, control, err := Blank(cfg.Name, cfg.MemSize, cfg.HugePages)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			mem.Close()
		}
	}()
	kernel, err := loadKernel(mem, cfg.Kernel, image)
	if err != nil {
		return nil, nil, fmt.Errorf("load kernel: %w", err)
	}
	initrd, initrdSize, err := loadInitrd(mem, kernel.end, cfg.Initrd)
	if err != nil {
		return nil, nil, err
	}
	b := &control.Boot
	b.Version, b.Identity = abi.Version, abi.Identity
	b.MaxSlots = uint32(cfg.MaxSpaces)
	if b.MaxSlots == 0 {
		b.MaxSlots = abi.MaxSlots - 1
	}
	b.Isolation = isolation
	b.NumVcpus = uint32(cfg.Vcpus)
	b.MemSize = cfg.MemSize
	b.KernelEntry = kernel.entry
	b.KernelTextStart, b.KernelTextEnd = kernel.textStart, kernel.textEnd
	b.KernelRodataEnd = kernel.rodataEnd
	b.KernelEnd = kernel.end
	b.InitrdGPA, b.InitrdSize = initrd, initrdSize
	b.NumDevices = uint64(cfg.Devices)
	copy(b.Cmdline[:], cfg.Cmdline)
	if _, err := rand.Read(b.RNGSeed[:]); err != nil {
		return nil, nil, fmt.Errorf("random seed for the guest: %w", err)
	}
	return mem, control, nil
}

// Blank allocates guest memory of size bytes with nothing in it, if wanted such
// that it can be had in huge pages.
func Blank(name string, size uint64, huge bool) (*memory.Memory, *abi.Control, error) {
	hostTSC.begin()
	allocate := memory.New
	if huge {
		allocate = memory.NewHuge
	}
	mem, err := allocate("paracell:"+name, size, abi.ControlSize)
	if err != nil {
		return nil, nil, err
	}
	control, err := controlOf(mem)
	if err != nil {
		return nil, nil, errors.Join(err, mem.Close())
	}
	return mem, control, nil
}

// SetClock tells the guest the time, right before it starts. It may sleep for
// a few milliseconds to measure the time stamp counter.
func SetClock(b *abi.BootParams) error {
	kHz, err := hostTSC.rate()
	if err != nil {
		return err
	}
	b.TSCKHz = kHz
	b.BootTSC = ReadTSC()
	b.BootRealNs = clockNs(unix.CLOCK_REALTIME)
	b.BootMonoNs = clockNs(unix.CLOCK_MONOTONIC)
	return nil
}
