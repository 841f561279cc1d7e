// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"bytes"
	"debug/elf"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/paracell/paracell/internal/testenv"
	"github.com/paracell/paracell/xgate/scan"
)

func kernelImage(t *testing.T) []byte {
	t.Helper()
	data, err := os.ReadFile(testenv.Built(t, "paracell-kernel"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestKernelHoldsNoGate: the kernel's code has no instruction that changes
// PKRU, calls the host or sets a segment base, at any offset.
func TestKernelHoldsNoGate(t *testing.T) {
	found, err := scan.Image(bytes.NewReader(kernelImage(t)), scan.AllKinds, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		t.Error(f)
	}
}

// TestKernelIsFreestanding: nothing of a C library is linked into the kernel,
// and nothing is left for a dynamic linker.
func TestKernelIsFreestanding(t *testing.T) {
	f, err := elf.NewFile(bytes.NewReader(kernelImage(t)))
	if err != nil {
		t.Fatal(err)
	}
	if f.Type != elf.ET_EXEC {
		t.Errorf("type %v, want ET_EXEC", f.Type)
	}
	for _, p := range f.Progs {
		switch p.Type {
		case elf.PT_LOAD:
			if p.Flags&(elf.PF_W|elf.PF_X) == elf.PF_W|elf.PF_X {
				t.Errorf("segment at %#x is writable and executable", p.Vaddr)
			}
		case elf.PT_INTERP, elf.PT_DYNAMIC, elf.PT_TLS:
			t.Errorf("program header %v", p.Type)
		}
	}
	for _, s := range f.Sections {
		switch s.Type {
		case elf.SHT_DYNAMIC, elf.SHT_DYNSYM, elf.SHT_REL, elf.SHT_RELA:
			t.Errorf("section %s of type %v", s.Name, s.Type)
		}
	}
	symbols, err := f.Symbols()
	if err != nil || len(symbols) < 1000 {
		t.Fatalf("%d symbols, %v: the image has to be linked with its symbols", len(symbols), err)
	}
	// Functions that every program with a C library has, or that um takes
	// from it elsewhere; and what the library calls its own inside.
	names := []string{
		"printf", "malloc", "sbrk", "exit", "environ", "errno", "stdout", "fopen", "mmap", "open64", "syscall",
		"setjmp", "longjmp", "sigaction", "pthread_create", "ptrace", "waitpid", "main",
	}
	prefixes := []string{"__libc_", "_IO_", "__GI_", "__pthread_", "_nl_", "__stdio_", "__errno_location"}
	for _, s := range symbols {
		if s.Section == elf.SHN_UNDEF && s.Name != "" {
			t.Errorf("undefined symbol %s", s.Name)
		}
		global := elf.ST_BIND(s.Info) != elf.STB_LOCAL
		if global && slices.Contains(names, s.Name) ||
			slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(s.Name, p) }) {
			t.Errorf("symbol %s of a C library", s.Name)
		}
	}
}
