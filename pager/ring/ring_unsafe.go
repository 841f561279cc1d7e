// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"fmt"
	"unsafe"
)

// areaOf returns the shared area at Offset of a cell's control area.
func areaOf(control []byte) (*Area, error) {
	need := Offset + int(unsafe.Sizeof(Area{}))
	if len(control) < need {
		return nil, fmt.Errorf("control area of %d bytes has no room for the pager: %d are needed", len(control), need)
	}
	return (*Area)(unsafe.Pointer(&control[Offset])), nil
}

// wordsOf returns the table of words in b, which is aligned and as long as it
// has to be.
func wordsOf(b []byte) []uint32 {
	return unsafe.Slice((*uint32)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/4)
}

// pairsOf returns the words of a table, which begins with a page, two by two; the
// last of an odd number is left out.
func pairsOf(words []uint32) []uint64 {
	return unsafe.Slice((*uint64)(unsafe.Pointer(unsafe.SliceData(words))), len(words)/2)
}
