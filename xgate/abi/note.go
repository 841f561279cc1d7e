// SPDX-License-Identifier: Apache-2.0

package abi

// Note is the ELF note by which an image says whose definitions it has: the
// macro PARACELL_NOTE of the header in Go. Its last 8 bytes are the identity.
func Note(identity uint64) []byte {
	note := make([]byte, 0, 32)
	for _, v := range []uint32{uint32(len(noteName)), 8, 1} {
		note = append(note, byte(v), byte(v>>8), byte(v>>16), byte(v>>24))
	}
	note = append(note, noteName...)
	for len(note)%4 != 0 {
		note = append(note, 0)
	}
	for shift := 0; shift < 64; shift += 8 {
		note = append(note, byte(identity>>shift))
	}
	return note
}

const noteName = "ParaCell\x00"
