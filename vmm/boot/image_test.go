// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/paracell/paracell/xgate/abi"
)

// kernelFile is testKernel in a file whose segments are where pages begin.
func kernelFile(t *testing.T) *os.File {
	t.Helper()
	image := testKernel(func(e *testELF) {
		e.progs[1].Off, e.progs[1].Filesz, e.progs[1].Memsz = dataOff+0x2000, 0x10, 0x10
		e.progs[2].Off = dataOff + 0x3000
		e.data = append(e.data, make([]byte, 0x3020-len(e.data))...)
	})
	b, err := io.ReadAll(image.(io.Reader))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "kernel")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestImage(t *testing.T) {
	f := kernelFile(t)
	image, err := openImage(f)
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	m := newTestMemory(t, 64<<20)
	if _, err := loadKernel(m, f, image); err != nil {
		t.Fatal(err)
	}
	if image.Text != (Part{dataOff, 0x1000}) || image.Rodata != (Part{}) {
		t.Errorf("left %+v and %+v: want the one whole page of text, none of read-only data", image.Text, image.Rodata)
	}
	b, _ := m.Slice(abi.KernelGPA, 0x2000)
	if b[0] != 0 || b[0xfff] != 0 || b[0x1000] != 0xaa || b[0x17ff] != 0xaa {
		t.Error("memory holds what was left in the file, or not the rest")
	}
}

func TestImageIsNotLongEnough(t *testing.T) {
	f := kernelFile(t)
	if err := os.Truncate(f.Name(), dataOff+0x800); err != nil {
		t.Fatal(err)
	}
	image, err := openImage(f)
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	if _, err := loadKernel(newTestMemory(t, 64<<20), f, image); err == nil {
		t.Error("a kernel that ends within its text was loaded")
	}
}

func TestImageOfNoFile(t *testing.T) {
	image, err := openImage(testKernel(nil))
	if err != nil || image.File != nil || image.Close() != nil {
		t.Errorf("%+v, %v", image, err)
	}
}
