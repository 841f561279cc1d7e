// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/paracell/paracell/xgate/abi"
)

// Part is a run of whole pages of a file.
type Part struct{ Offset, Size uint64 }

// Image is what of a kernel was left in its file, to be mapped from there: cells
// of one kernel then share the host's memory for it. Text belongs at
// BootParams.KernelTextStart, Rodata at KernelTextEnd; guest memory has holes
// there. The zero value leaves nothing.
type Image struct {
	File         *os.File
	Text, Rodata Part

	size uint64 // of File
}

// Close closes the file.
func (i *Image) Close() error {
	if i.File == nil {
		return nil
	}
	return i.File.Close()
}

// openImage prepares to leave the kernel in its file, if it is one that can be
// mapped; otherwise the result has no file.
func openImage(kernel io.ReaderAt) (*Image, error) {
	f, ok := kernel.(*os.File)
	if !ok {
		return &Image{}, nil
	}
	fi, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("guest kernel: %w", err)
	}
	// For example on a file system mounted noexec.
	page, err := unix.Mmap(int(f.Fd()), 0, abi.PageSize, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE)
	if err != nil {
		return &Image{}, nil
	}
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("guest kernel: %w", err), unix.Munmap(page))
	}
	return &Image{File: os.NewFile(uintptr(fd), f.Name()), size: uint64(max(0, fi.Size()))}, unix.Munmap(page)
}

// leave takes the whole pages of a segment that nobody writes and returns how
// many bytes it has taken.
func (i *Image) leave(p *elf.Prog) uint64 {
	size := p.Filesz &^ (abi.PageSize - 1)
	if i.File == nil || size == 0 || (p.Off|p.Vaddr)%abi.PageSize != 0 {
		return 0
	}
	part := &i.Text
	switch p.Flags & (elf.PF_R | elf.PF_W | elf.PF_X) {
	case elf.PF_R | elf.PF_X:
	case elf.PF_R:
		part = &i.Rodata
	default:
		return 0
	}
	if part.Size != 0 || p.Off > i.size || size > i.size-p.Off {
		return 0
	}
	*part = Part{Offset: p.Off, Size: size}
	return size
}
