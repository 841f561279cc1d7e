// SPDX-License-Identifier: Apache-2.0

package virtio

// Len is the number of bytes in parts.
func Len(parts [][]byte) int {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	return n
}

// CopyIn copies parts to dst, as much as fits, and returns the count.
func CopyIn(dst []byte, parts [][]byte) int {
	n := 0
	for _, p := range parts {
		if n == len(dst) {
			break
		}
		n += copy(dst[n:], p)
	}
	return n
}

// CopyOut copies src to parts, as much as fits, and returns the count.
func CopyOut(parts [][]byte, src []byte) int {
	n := 0
	for _, p := range parts {
		if n == len(src) {
			break
		}
		n += copy(p, src[n:])
	}
	return n
}

// Advance returns parts without their first n bytes. It changes parts.
func Advance(parts [][]byte, n int) [][]byte {
	for len(parts) > 0 && n >= len(parts[0]) {
		n -= len(parts[0])
		parts = parts[1:]
	}
	if len(parts) > 0 && n > 0 {
		parts[0] = parts[0][n:]
	}
	return parts
}

// Limit returns the first n bytes of parts. It changes parts.
func Limit(parts [][]byte, n int) [][]byte {
	for i := range parts {
		if n <= len(parts[i]) {
			parts[i] = parts[i][:n]
			if n == 0 {
				return parts[:i]
			}
			return parts[:i+1]
		}
		n -= len(parts[i])
	}
	return parts
}
