// SPDX-License-Identifier: Apache-2.0

package memory

import "unsafe"

// word32 returns the 32-bit word at off, which is aligned and inside b.
func word32(b []byte, off uint64) *uint32 {
	return (*uint32)(unsafe.Pointer(&b[off : off+4][0]))
}

// word64 returns the 64-bit word at off, which is aligned and inside b.
func word64(b []byte, off uint64) *uint64 {
	return (*uint64)(unsafe.Pointer(&b[off : off+8][0]))
}
