// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"

	"github.com/paracell/paracell/vmm/memory"
	"github.com/paracell/paracell/vmm/platform"
	"github.com/paracell/paracell/xgate/abi"
)

// kernelLayout is what the boot parameters say about a loaded kernel image.
// All but entry are guest physical addresses, page aligned.
type kernelLayout struct {
	entry              uint64 // virtual
	textStart, textEnd uint64
	rodataEnd          uint64
	end                uint64
}

// errKernel marks an image that cannot be a guest kernel.
var errKernel = errors.New("not a guest kernel image")

func pageUp(v uint64) uint64 { return (v + abi.PageSize - 1) &^ (abi.PageSize - 1) }

// loadKernel copies the loadable segments of an ELF image to the GPAs that
// their virtual addresses stand for, less what rest takes. The image has to be what kernel/build
// makes: linked in the window at abi.PhysBase, text first, then read-only data,
// then the rest, with no page shared between them.
func loadKernel(m *memory.Memory, image io.ReaderAt, rest *Image) (kernelLayout, error) {
	var k kernelLayout
	f, err := elf.NewFile(image)
	if err != nil {
		return k, fmt.Errorf("%w: %w", errKernel, err)
	}
	if f.Class != elf.ELFCLASS64 || f.Machine != elf.EM_X86_64 || f.Type != elf.ET_EXEC {
		return k, fmt.Errorf("%w: %v %v %v; an x86-64 executable is needed", errKernel, f.Class, f.Machine, f.Type)
	}
	if err := checkIdentity(f); err != nil {
		return k, err
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_LOAD || p.Memsz == 0 {
			continue
		}
		if err := k.add(m.Size(), p); err != nil {
			return k, err
		}
		if err := copySegment(m, p, rest.leave(p)); err != nil {
			return k, fmt.Errorf("load segment at %#x: %w", p.Vaddr, err)
		}
	}
	if k.textEnd == 0 {
		return k, fmt.Errorf("%w: no executable segment", errKernel)
	}
	if k.rodataEnd < k.textEnd {
		k.rodataEnd = k.textEnd
	}
	k.entry = f.Entry
	if gpa := k.entry - abi.PhysBase; k.entry < abi.PhysBase || gpa < k.textStart || gpa >= k.textEnd {
		return k, fmt.Errorf("%w: entry point %#x is not in its text", errKernel, k.entry)
	}
	return k, nil
}

// add checks one segment and takes it into the layout. Segments come in
// ascending order.
func (k *kernelLayout) add(memSize uint64, p *elf.Prog) error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: segment %#x+%#x: "+format, append([]any{errKernel, p.Vaddr, p.Memsz}, args...)...)
	}
	if p.Filesz > p.Memsz {
		return bad("more bytes in the file than in memory")
	}
	if p.Vaddr < abi.PhysBase+abi.KernelGPA || p.Vaddr-abi.PhysBase >= abi.PhysMaxSize {
		return bad("kernels are linked at %#x", uint64(abi.PhysBase+abi.KernelGPA))
	}
	start := p.Vaddr - abi.PhysBase
	if p.Memsz > memSize || start > memSize-p.Memsz {
		return fmt.Errorf("%w: the kernel image ends at %d MiB and the cell has %d MiB of memory: give it more",
			platform.ErrConfig, (start+p.Memsz)>>20+1, memSize>>20)
	}
	if start < k.end {
		return bad("shares a page with the segment before it, or segments are not in order")
	}
	end := pageUp(start + p.Memsz)
	switch p.Flags & (elf.PF_R | elf.PF_W | elf.PF_X) {
	case elf.PF_R | elf.PF_X:
		if k.textEnd != 0 {
			return bad("second executable segment")
		}
		k.textStart, k.textEnd = start&^(abi.PageSize-1), end
	case elf.PF_R:
		if k.textEnd == 0 || start&^(abi.PageSize-1) > max(k.textEnd, k.rodataEnd) {
			return bad("read-only data has to follow the text")
		}
		k.rodataEnd = end
	case elf.PF_R | elf.PF_W:
		if k.textEnd == 0 {
			return bad("data before text")
		}
	default:
		return bad("flags %v: writable and executable, or not readable", p.Flags)
	}
	k.end = end
	return nil
}

// copySegment copies a segment from an offset in it on.
func copySegment(m *memory.Memory, p *elf.Prog, from uint64) error {
	size := p.Filesz - from
	w, err := m.Writer(p.Vaddr-abi.PhysBase+from, size)
	if err != nil {
		return err
	}
	part := io.NewSectionReader(p, int64(from), int64(size))
	n, err := io.CopyBuffer(w, onlyReader{part}, make([]byte, min(size+1, 1<<20)))
	if err == nil && uint64(n) != size {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// onlyReader hides WriteTo, so that io.CopyBuffer uses our buffer.
type onlyReader struct{ io.Reader }

// loadInitrd copies the image behind the kernel, page aligned: the guest takes
// memory into use from the bottom up.
func loadInitrd(m *memory.Memory, kernelEnd uint64, image platform.Image) (gpa, size uint64, err error) {
	if image == nil || image.Size() == 0 {
		return 0, 0, nil
	}
	if image.Size() < 0 {
		return 0, 0, fmt.Errorf("%w: initramfs of %d bytes", platform.ErrConfig, image.Size())
	}
	size = uint64(image.Size())
	// The page array takes 1/64 of memory, the unpacked files take the size
	// of the image again while it is still there.
	reserved := kernelEnd + m.Size()/64
	if size > m.Size() || 2*size+reserved > m.Size() {
		need := (2*size+kernelEnd)/63*64 + 32<<20
		return 0, 0, fmt.Errorf("%w: an initramfs of %d MiB does not fit into %d MiB of memory: give the cell at least %d MiB",
			platform.ErrConfig, size>>20, m.Size()>>20, need>>20)
	}
	gpa = pageUp(kernelEnd)
	w, err := m.Writer(gpa, size)
	if err != nil {
		return 0, 0, err
	}
	if _, err := image.WriteTo(w); err != nil {
		return 0, 0, fmt.Errorf("load initramfs: %w", err)
	}
	if got := w.Offset() - gpa; got != size {
		return 0, 0, fmt.Errorf("load initramfs: %d bytes were announced and %d came", size, got)
	}
	return gpa, size, nil
}
