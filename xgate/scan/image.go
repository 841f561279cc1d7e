// SPDX-License-Identifier: Apache-2.0

package scan

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"sort"
)

// Image scans the executable segments of an ELF image and fills in Where. The
// instructions may stand in the functions named in allow; a name that the
// image does not have, or has without a size, is an error.
func Image(r io.ReaderAt, kinds Kind, allow []string) ([]Finding, error) {
	f, err := elf.NewFile(r)
	if err != nil {
		return nil, err
	}
	symbols, err := f.Symbols()
	if err != nil && !errors.Is(err, elf.ErrNoSymbols) {
		return nil, err
	}
	var allowed []Range
	for _, name := range allow {
		r, err := rangeOf(symbols, name)
		if err != nil {
			return nil, err
		}
		allowed = append(allowed, r)
	}
	where := newLookup(symbols)
	var found []Finding
	for _, p := range f.Progs {
		if p.Type != elf.PT_LOAD || p.Flags&elf.PF_X == 0 {
			continue
		}
		code := make([]byte, p.Filesz)
		if _, err := io.ReadFull(p.Open(), code); err != nil {
			return nil, fmt.Errorf("segment at %#x: %w", p.Vaddr, err)
		}
		for _, hit := range Bytes(code, p.Vaddr, kinds, allowed) {
			hit.Where = where.name(hit.Addr)
			found = append(found, hit)
		}
	}
	return found, nil
}

func rangeOf(symbols []elf.Symbol, name string) (Range, error) {
	for _, s := range symbols {
		if s.Name == name && s.Size > 0 {
			return Range{s.Value, s.Value + s.Size}, nil
		}
	}
	return Range{}, fmt.Errorf("no symbol %s with a size in the image", name)
}

// lookup names addresses by the symbol before them.
type lookup []elf.Symbol

func newLookup(symbols []elf.Symbol) lookup {
	var l lookup
	for _, s := range symbols {
		switch elf.ST_TYPE(s.Info) {
		case elf.STT_FUNC, elf.STT_NOTYPE, elf.STT_OBJECT:
			if s.Section != elf.SHN_UNDEF && s.Section != elf.SHN_ABS && s.Name != "" {
				l = append(l, s)
			}
		}
	}
	sort.SliceStable(l, func(i, j int) bool { return l[i].Value < l[j].Value })
	return l
}

func (l lookup) name(addr uint64) string {
	i := sort.Search(len(l), func(i int) bool { return l[i].Value > addr })
	if i == 0 {
		return ""
	}
	return fmt.Sprintf("%s+%#x", l[i-1].Name, addr-l[i-1].Value)
}
