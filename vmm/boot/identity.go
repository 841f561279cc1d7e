// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/paracell/paracell/vmm/platform"
	"github.com/paracell/paracell/xgate/abi"
)

// maxNotes bounds what is read of an image to find its note, in bytes.
const maxNotes = 1 << 16

// checkIdentity compares whose definitions an image has with ours, before
// anything of it is taken for what it would mean here.
func checkIdentity(f *elf.File) error {
	id, ok := identityOf(f)
	const remedy = "use the paracell-kernel that was built and installed together with this program (make build, make install), or name another with the key kernel or --kernel"
	switch {
	case !ok:
		return fmt.Errorf("%w: this program has the definitions %016x, and the kernel does not say which it has: %s", platform.ErrBuild, abi.Identity, remedy)
	case id != abi.Identity:
		return fmt.Errorf("%w: this program has the definitions %016x, the kernel %016x: %s", platform.ErrBuild, abi.Identity, id, remedy)
	}
	return nil
}

// identityOf is what the note of an image says, if it has one.
func identityOf(f *elf.File) (id uint64, ok bool) {
	for _, s := range f.Sections {
		if s.Type == elf.SHT_NOTE {
			if id, ok = findNote(s.Open(), s.Size); ok {
				return id, true
			}
		}
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_NOTE {
			if id, ok = findNote(p.Open(), p.Filesz); ok {
				return id, true
			}
		}
	}
	return 0, false
}

func findNote(r io.Reader, size uint64) (id uint64, ok bool) {
	notes, err := io.ReadAll(io.LimitReader(r, int64(min(size, maxNotes))))
	if err != nil {
		return 0, false
	}
	want := abi.Note(0)
	head := want[:len(want)-8]
	for ; len(notes) >= len(want); notes = notes[4:] {
		if bytes.HasPrefix(notes, head) {
			return binary.LittleEndian.Uint64(notes[len(head):]), true
		}
	}
	return 0, false
}
