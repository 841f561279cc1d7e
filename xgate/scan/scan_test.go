// SPDX-License-Identifier: Apache-2.0

package scan

import (
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/paracell/paracell/internal/testenv"
)

func TestBytes(t *testing.T) {
	tests := []struct {
		name string
		code []byte
		want Kind // of a single finding, 0 for none
		at   int
	}{
		{"wrpkru", []byte{0x90, 0x0f, 0x01, 0xef}, WRPKRU, 1},
		{"rdpkru", []byte{0x0f, 0x01, 0xee}, 0, 0},
		{"wrpkru in an immediate", []byte{0xb8, 0x0f, 0x01, 0xef, 0x00}, WRPKRU, 1},
		{"wrpkru cut off", []byte{0x90, 0x0f, 0x01}, 0, 0},
		{"xrstor (%rdi)", []byte{0x0f, 0xae, 0x2f}, XRSTOR, 0},
		{"xrstor64 8(%rsp)", []byte{0x48, 0x0f, 0xae, 0x6c, 0x24, 0x08}, XRSTOR, 1},
		{"xrstor disp32(%r15)", []byte{0x41, 0x0f, 0xae, 0xaf, 0, 0, 0, 0}, XRSTOR, 1},
		{"lfence", []byte{0x0f, 0xae, 0xe8}, 0, 0},
		{"xsave (%rdi)", []byte{0x0f, 0xae, 0x27}, 0, 0},
		{"fxrstor (%rdi)", []byte{0x0f, 0xae, 0x0f}, 0, 0},
		{"xrstors (%rdi)", []byte{0x0f, 0xc7, 0x1f}, XRSTOR, 0},
		{"xsavec (%rdi)", []byte{0x0f, 0xc7, 0x27}, 0, 0},
		{"cmpxchg16b (%rdi)", []byte{0x48, 0x0f, 0xc7, 0x0f}, 0, 0},
		{"syscall", []byte{0x0f, 0x05}, Syscall, 0},
		{"sysenter", []byte{0x0f, 0x34}, Syscall, 0},
		{"int 0x80", []byte{0xcd, 0x80}, Syscall, 0},
		{"int3, other int", []byte{0xcc, 0xcd, 0x03}, 0, 0},
		{"wrfsbase %rdi", []byte{0xf3, 0x48, 0x0f, 0xae, 0xd7}, SetBase, 2},
		{"wrgsbase %esi", []byte{0xf3, 0x0f, 0xae, 0xde}, SetBase, 1},
		{"wrfsbase with more prefixes", []byte{0xf3, 0x2e, 0x66, 0x49, 0x0f, 0xae, 0xd0}, SetBase, 4},
		{"without f3", []byte{0x90, 0x48, 0x0f, 0xae, 0xd7}, 0, 0},
		{"f3 of another instruction", []byte{0xf3, 0x90, 0x0f, 0xae, 0xd7}, 0, 0},
		{"rdfsbase", []byte{0xf3, 0x48, 0x0f, 0xae, 0xc7}, 0, 0},
		{"ldmxcsr (%rdi)", []byte{0xf3, 0x0f, 0xae, 0x17}, 0, 0},
		{"nothing", nil, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			const base = 0x1000
			got := Bytes(tt.code, base, AllKinds, nil)
			if tt.want == 0 {
				if len(got) != 0 {
					t.Fatalf("found %v", got)
				}
				return
			}
			if len(got) != 1 || got[0].Kind != tt.want || got[0].Addr != base+uint64(tt.at) {
				t.Fatalf("found %v, want %v at %#x", got, tt.want, base+tt.at)
			}
			if got := Bytes(tt.code, base, AllKinds&^tt.want, nil); len(got) != 0 {
				t.Errorf("found %v of another kind", got)
			}
			addr := got[0].Addr
			if got := Bytes(tt.code, base, AllKinds, []Range{{addr, addr + 1}}); len(got) != 0 {
				t.Errorf("found %v in the allowed range", got)
			}
			if got := Bytes(tt.code, base, AllKinds, []Range{{addr + 1, addr + 9}, {0, addr}}); len(got) != 1 {
				t.Errorf("found %v beside the allowed ranges", got)
			}
		})
	}
}

func TestKinds(t *testing.T) {
	k, err := ParseKinds(AllKinds.String())
	if err != nil || k != AllKinds {
		t.Errorf("ParseKinds(%q) = %v, %v", AllKinds, k, err)
	}
	if _, err := ParseKinds("wrpkru,nothing"); err == nil {
		t.Error("unknown kind accepted")
	}
}

func TestImage(t *testing.T) {
	gcc := testenv.Program(t, "gcc", "gcc")
	dir := t.TempDir()
	src, out := filepath.Join(dir, "a.S"), filepath.Join(dir, "a.elf")
	const text = `
	.globl _start, gate
	.type _start, @function
_start:	nop
	wrpkru
	.size _start, . - _start
	.type gate, @function
gate:	syscall
	.size gate, . - gate
	.data
	syscall
	.section .note.GNU-stack, "", @progbits
`
	if err := os.WriteFile(src, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := exec.Command(gcc, "-nostdlib", "-static", "-no-pie", "-o", out, src).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Image(bytes.NewReader(b), AllKinds, []string{"gate"})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0].Kind != WRPKRU || got[0].Where != "_start+0x1" {
		t.Errorf("found %v", got)
	}
	got, err = Image(bytes.NewReader(b), AllKinds, nil)
	if err != nil || len(got) != 2 {
		t.Errorf("without allowed functions: %v, %v", got, err)
	}
	if _, err := Image(bytes.NewReader(b), AllKinds, []string{"missing"}); err == nil {
		t.Error("an unknown symbol is accepted")
	}
	if _, err := Image(bytes.NewReader([]byte("no image")), AllKinds, nil); err == nil {
		t.Error("no ELF image, no error")
	} else if _, ok := err.(*elf.FormatError); !ok {
		t.Logf("error: %v", err)
	}
}

func FuzzBytes(f *testing.F) {
	f.Add([]byte{0xf3, 0x48, 0x0f, 0xae, 0xd7}, uint8(15))
	f.Fuzz(func(t *testing.T, code []byte, kinds uint8) {
		for _, hit := range Bytes(code, 0, Kind(kinds), nil) {
			if hit.Addr >= uint64(len(code)) {
				t.Errorf("%v is outside", hit)
			}
		}
	})
}
