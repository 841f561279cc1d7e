// SPDX-License-Identifier: Apache-2.0

// Package kvm carries the monitor of the kvm platform: a freestanding static ELF
// image, built by "make monitor" into image/monitor and embedded here. It runs
// below the guest kernel in a virtual machine; docs/kvm.md says what it does.
package kvm

import (
	"bytes"
	"debug/elf"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/paracell/paracell/xgate/abi"
)

// A directory is embedded, so that the package also compiles before the image
// is there.
//
//go:embed all:image
var files embed.FS

// ErrNoImage says that the program was built without the monitor.
var ErrNoImage = errors.New("this program was built without the monitor: build it with make")

// Monitor is the image as it lies in memory.
type Monitor struct {
	// Memory is what is at abi.MonitorBase, bss included.
	Memory []byte
	// symbols are virtual addresses.
	symbols map[string]uint64
}

// Symbol returns the offset of a symbol from abi.MonitorBase.
func (m *Monitor) Symbol(name string) (uint64, error) {
	v, ok := m.symbols[name]
	if !ok || v < abi.MonitorBase {
		return 0, fmt.Errorf("monitor image has no symbol %s: build it with make", name)
	}
	return v - abi.MonitorBase, nil
}

// Load returns the image, which the caller must not change.
var Load = sync.OnceValues(func() (*Monitor, error) {
	b, err := Image()
	if err != nil {
		return nil, err
	}
	return parse(b)
})

// Image returns the ELF file. The caller must not change it.
func Image() ([]byte, error) {
	b, err := files.ReadFile("image/monitor")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoImage
	}
	return b, err
}

func parse(b []byte) (*Monitor, error) {
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("monitor image: %w", err)
	}
	defer f.Close()
	list, err := f.Symbols()
	if err != nil {
		return nil, fmt.Errorf("monitor image: %w", err)
	}
	m := &Monitor{symbols: map[string]uint64{}}
	for _, s := range list {
		if s.Name != "" {
			m.symbols[s.Name] = s.Value
		}
	}
	end, err := m.Symbol("__image_end")
	if err != nil {
		return nil, err
	}
	m.Memory = make([]byte, end)
	for _, p := range f.Progs {
		if p.Type != elf.PT_LOAD || p.Filesz == 0 {
			continue
		}
		off := p.Vaddr - abi.MonitorBase
		if off > end || p.Filesz > end-off {
			return nil, errors.New("monitor image: segment outside the image")
		}
		if _, err := io.ReadFull(p.Open(), m.Memory[off:off+p.Filesz]); err != nil {
			return nil, fmt.Errorf("monitor image: %w", err)
		}
	}
	return m, nil
}
