// SPDX-License-Identifier: Apache-2.0

package scan

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/paracell/paracell/internal/testenv"
)

// templates builds the kernel's matcher of system-call sites as a program.
func templates(t *testing.T) string {
	t.Helper()
	gcc := testenv.Program(t, "gcc", "gcc")
	kernel := filepath.Join(testenv.Top(), "kernel", "src", "arch", "um", "paracell")
	program := filepath.Join(t.TempDir(), "template")
	args := []string{"-O1", "-g", "-Wall", "-Wextra", "-Werror", "-I" + kernel, "-o", program,
		filepath.Join("testdata", "template", "template.c"), filepath.Join(kernel, "template.c")}
	if out, err := exec.Command(gcc, append([]string{"-fsanitize=address,undefined"}, args...)...).CombinedOutput(); err != nil {
		t.Logf("without sanitizers: %s", out)
		if out, err := exec.Command(gcc, args...).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	return program
}

func output(t *testing.T, stdin []byte, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = bytes.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", filepath.Base(name), strings.Join(args, " "), err, out[max(0, len(out)-2000):])
	}
	return string(out)
}

// TestTemplatesRun runs code plain and rewritten and compares all registers,
// flags and the red zone.
func TestTemplatesRun(t *testing.T) {
	output(t, nil, templates(t), "run")
}

// TestTemplatesFuzz makes sites of random code. PARACELL_FUZZ_ROUNDS sets how
// many.
func TestTemplatesFuzz(t *testing.T) {
	rounds := "100000"
	if r := os.Getenv("PARACELL_FUZZ_ROUNDS"); r != "" {
		rounds = r
	}
	program := templates(t)
	for seed := range 4 {
		t.Log(output(t, nil, program, "fuzz", strconv.Itoa(seed), rounds))
	}
}

var disassembled = regexp.MustCompile(`(?m)^ *[0-9a-f]+:\t([0-9a-f ]+)\t(.*)$`)

// TestInstructionLengths compares the kernel's decoder with that of binutils
// on all instructions of a C library.
func TestInstructionLengths(t *testing.T) {
	libc := cLibrary(t)
	objdump := testenv.Program(t, "objdump", "binutils")
	var in bytes.Buffer
	all := disassembled.FindAllStringSubmatch(output(t, nil, objdump, "-d", "-w", "--insn-width=16", libc), -1)
	for _, m := range all {
		fmt.Fprintln(&in, strings.ReplaceAll(m[1], " ", ""))
	}
	lengths := strings.Fields(output(t, in.Bytes(), templates(t), "lengths"))
	if len(lengths) != len(all) || len(all) < 100000 {
		t.Fatalf("%d lengths of %d instructions", len(lengths), len(all))
	}
	for i, m := range all {
		if want := strconv.Itoa(len(strings.ReplaceAll(m[1], " ", "")) / 2); lengths[i] != want && m[2] != "(bad)" {
			t.Errorf("%s %s: length %s", m[1], m[2], lengths[i])
		}
	}
}

// TestSitesOfLibrary holds the templates to what the C library of the machine
// contains: nearly every system call of a program stands there.
func TestSitesOfLibrary(t *testing.T) {
	kinds := strings.Split(strings.TrimSpace(output(t, nil, templates(t), "sites", cLibrary(t))), "\n")
	refused := 0
	for _, k := range kinds {
		if strings.HasSuffix(k, " 0") {
			refused++
		}
	}
	t.Logf("%d of %d sites have no template", refused, len(kinds))
	if len(kinds) < 300 || refused*20 > len(kinds) {
		t.Errorf("%d of %d sites have no template", refused, len(kinds))
	}
}

func cLibrary(t *testing.T) string {
	t.Helper()
	const libc = "/lib/x86_64-linux-gnu/libc.so.6"
	if _, err := os.Stat(libc); err != nil {
		t.Skipf("no C library at %s, where Debian has it", libc)
	}
	return libc
}
