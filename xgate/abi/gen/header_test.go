// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/paracell/paracell/internal/testenv"
)

func TestHeadersAreUpToDate(t *testing.T) {
	for _, s := range sources {
		dir := filepath.Join("../../..", s.dir)
		for _, c := range s.copies {
			want, err := header(dir, s, c.licence)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, c.path)
			got, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s differs from %s: run go generate ./%[2]s", path, s.dir)
			}
		}
	}
}

// TestHeaderCompiles lets a C compiler check the static assertions, that is
// that Go and C lay the structs out alike, and that assembly can include it.
func TestHeaderCompiles(t *testing.T) {
	gcc := testenv.Program(t, "gcc", "gcc")
	for _, s := range sources {
		path := filepath.Join("../../..", s.dir, s.copies[0].path)
		for _, lang := range []string{"c", "assembler-with-cpp"} {
			out, err := exec.Command(gcc, "-Wall", "-Werror", "-ffreestanding", "-x", lang, "-c", path, "-o", os.DevNull).CombinedOutput()
			if err != nil {
				t.Errorf("%s: %v\n%s", lang, err, out)
			}
		}
	}
}

func TestSnake(t *testing.T) {
	for in, want := range map[string]string{
		"PhysBase": "Phys_Base", "XStateMask": "Xstate_Mask", "TSCKHz": "TSC_Khz", "KFrameIRQ": "Kframe_IRQ",
		"EntryFPSave": "Entry_FP_Save", "RegR15": "Reg_R15", "IRQDevice0": "IRQ_Device0", "CR2": "CR2", "ISR": "ISR",
	} {
		if got := snake(in); got != want {
			t.Errorf("snake(%q) = %q, want %q", in, got, want)
		}
	}
}
