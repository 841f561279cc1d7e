// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestHeadersAreUpToDate(t *testing.T) {
	for _, c := range copies {
		want, err := header("..", c.licence)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("..", c.path)
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s differs from xgate/abi: run go generate ./xgate/abi", path)
		}
	}
}

// TestHeaderCompiles lets a C compiler check the static assertions, that is
// that Go and C lay the structs out alike, and that assembly can include it.
func TestHeaderCompiles(t *testing.T) {
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("no gcc in PATH")
	}
	path := filepath.Join("..", copies[0].path)
	for _, lang := range []string{"c", "assembler-with-cpp"} {
		out, err := exec.Command(gcc, "-Wall", "-Werror", "-ffreestanding", "-x", lang, "-c", path, "-o", os.DevNull).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", lang, err, out)
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
