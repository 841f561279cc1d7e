// SPDX-License-Identifier: Apache-2.0

package scrub

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/paracell/paracell/internal/testenv"
	"github.com/paracell/paracell/xgate/scan"
)

// program computes in every way that is rewritten, prints nothing and exits
// with 0 if all results are right. The bytes of each case are checked below.
const program = `
	.globl _start
	.type _start, @function
_start:
	/* or $0x80,%ch */
	mov $0x1234567, %ecx
	mov %ecx, %ecx
	.byte 0x80, 0xcd, 0x80
	jns bad
	cmp $0x123c567, %ecx
	jne bad
	/* across two instructions: shl $15 and add */
	mov $3, %ecx
	nop
	.byte 0x48, 0xc1, 0xe1, 0x0f
	add $7, %eax
	cmp $0x18000, %ecx
	jne bad
	/* a byte displacement and an immediate */
	lea cell-0xf(%rip), %rbp
	.byte 0x80, 0x4d, 0x0f, 0x05
	cmpb $5, cell(%rip)
	jne bad
	/* or $-128,%ebp */
	mov $1, %ebp
	mov $0x77, %eax
	.byte 0x83, 0xcd, 0x80
	cmp $0xffffff81, %ebp
	jne bad
	cmp $0x77, %eax
	jne bad
	/* a call and a conditional jump with 0x340f as displacement */
	xor %edi, %edi
	.byte 0xe8
	.long callee - . - 4
called:
	cmp $9, %edi
	jne bad
	cmp %edi, %edi
	.byte 0x0f, 0x84
	.long good - . - 4
jumped:
bad:
	mov $1, %edi
	jmp out
	.org called + 0x340f
callee:
	add $9, %edi
	ret
	.org jumped + 0x340f
good:
	xor %edi, %edi
out:
	mov $60, %eax
	/* The one that is meant. */
	.globl thecall
	.type thecall, @function
thecall:
	.byte 0x0f, 0x05
	.size thecall, . - thecall
	.size _start, . - _start
	.globl __xgate_thunks, __xgate_thunks_end
__xgate_thunks:
	.fill 1024, 1, 0xcc
__xgate_thunks_end:
	.data
cell:	.quad 0
`

// build assembles a program.
func build(t *testing.T, text string) string {
	t.Helper()
	gcc := testenv.Program(t, "gcc", "gcc")
	dir := t.TempDir()
	source, out := filepath.Join(dir, "p.S"), filepath.Join(dir, "p")
	if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if text, err := exec.Command(gcc, "-nostdlib", "-static", "-no-pie", "-o", out, source).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return out
}

func TestImage(t *testing.T) {
	exe := build(t, program)
	data, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	// Everything but the call that ends the program.
	before, err := scan.Image(bytes.NewReader(data), scan.AllKinds, nil)
	if err != nil || len(before) < 5 {
		t.Fatalf("%d findings in the program: %v %v", len(before), before, err)
	}
	changes, err := Image(data, scan.AllKinds)
	if !errors.Is(err, ErrStubborn) {
		t.Errorf("the true system call: error %v, want ErrStubborn", err)
	}
	for _, c := range changes {
		t.Log(c)
	}
	after, err := scan.Image(bytes.NewReader(data), scan.AllKinds, []string{"thecall"})
	if err != nil || len(after) != 0 {
		t.Errorf("left in the image: %v %v", after, err)
	}
	if err := os.WriteFile(exe, data, 0o700); err != nil {
		t.Fatal(err)
	}
	if text, err := exec.Command(exe).CombinedOutput(); err != nil {
		t.Errorf("the changed program: %v\n%s", err, text)
	}
}

// TestNamed: what something refers to must not move.
func TestNamed(t *testing.T) {
	exe := build(t, `
	.globl _start
	.type _start, @function
_start:
	jmp 1f
	.byte 0x48, 0xc1, 0xe1, 0x0f
1:	.byte 0x05, 0, 0, 0, 0
	jmp 1b
	.size _start, . - _start
	.globl other
other:	.fill 64, 1, 0x90
	.globl __xgate_thunks, __xgate_thunks_end
__xgate_thunks:
	.fill 1024, 1, 0xcc
__xgate_thunks_end:
`)
	data, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Image(data, scan.AllKinds); err != nil {
		t.Fatal(err)
	}
	im, err := load(data)
	if err != nil {
		t.Fatal(err)
	}
	from, to, err := im.function(im.symbols[0].Value)
	if err != nil {
		t.Fatal(err)
	}
	// The add may become a jump itself, but has to be at its place.
	code := im.text(from, to)
	if code[6] != 0xe9 && code[6] != 0x05 {
		t.Errorf("the target of two jumps holds % x", code[6:11])
	}
}

func TestNoRoom(t *testing.T) {
	exe := build(t, "\t.globl _start\n_start:\tret\n")
	data, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Image(data, scan.AllKinds); err == nil {
		t.Error("an image without a thunk area was accepted")
	}
}
