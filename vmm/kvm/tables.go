// SPDX-License-Identifier: Apache-2.0

package kvm

import (
	"encoding/binary"
	"errors"

	"github.com/paracell/paracell/vmm/memory"
	"github.com/paracell/paracell/xgate/abi"
)

// Bits of page table entries (SDM volume 3, 4.5).
const (
	ptePresent  = 1 << 0
	pteWrite    = 1 << 1
	pteUser     = 1 << 2
	pteAccessed = 1 << 5
	pteDirty    = 1 << 6
	pteLarge    = 1 << 7
	pteNX       = 1 << 63

	pteAddr  = 0x000f_ffff_ffff_f000
	pteTable = ptePresent | pteWrite | pteUser | pteAccessed | pteDirty

	largePage = 2 << 20
)

// What a mapping grants.
const (
	mapRing0Data = ptePresent | pteWrite | pteAccessed | pteDirty | pteNX
	mapRing0Text = ptePresent | pteAccessed | pteDirty
	mapData      = mapRing0Data | pteUser
	mapRead      = ptePresent | pteUser | pteAccessed | pteDirty | pteNX
	mapText      = ptePresent | pteUser | pteAccessed | pteDirty
)

func pteKey(key uint64) uint64 { return key << 59 }

var errPool = errors.New("the pool of page tables is too small")

// tables builds page tables in the pool. The first page is not used, so that
// no table has GPA 0 in the pool.
type tables struct {
	mem  *memory.Memory // the monitor's memory
	used uint64         // pages of the pool
}

const poolGPA = monitorGPA + imageMax

// alloc returns the GPA of a zeroed page.
func (t *tables) alloc() (uint64, error) {
	off := imageMax + t.used*abi.PageSize
	if off+abi.PageSize > t.mem.Size() {
		return 0, errPool
	}
	t.used++
	return monitorGPA + off, nil
}

func (t *tables) entry(table uint64, index uint64) ([]byte, error) {
	return t.mem.Slice(table-monitorGPA+8*index, 8)
}

// walk returns the entry of va at a level; 1 is that of 4 KiB pages.
func (t *tables) walk(top, va uint64, level int) ([]byte, error) {
	table := top
	for l := 4; ; l-- {
		e, err := t.entry(table, va>>(12+9*(l-1))&511)
		if err != nil || l == level {
			return e, err
		}
		v := binary.LittleEndian.Uint64(e)
		if v == 0 {
			page, err := t.alloc()
			if err != nil {
				return nil, err
			}
			v = page | pteTable
			binary.LittleEndian.PutUint64(e, v)
		}
		table = v & pteAddr
	}
}

// add maps [va, va+n) to gpa, with large pages where it fits. All are page
// aligned, and no part of the range was mapped before with large pages.
func (t *tables) add(top, va, gpa, n, flags uint64) error {
	for n > 0 {
		level, size, bits := 1, uint64(abi.PageSize), flags
		if (va|gpa)%largePage == 0 && n >= largePage {
			level, size, bits = 2, largePage, flags|pteLarge
		}
		e, err := t.walk(top, va, level)
		if err != nil {
			return err
		}
		binary.LittleEndian.PutUint64(e, gpa|bits)
		va, gpa, n = va+size, gpa+size, n-size
	}
	return nil
}
