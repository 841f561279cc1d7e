// SPDX-License-Identifier: Apache-2.0

package virtionet

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxVector is the most parts of one call (UIO_MAXIOV).
const maxVector = 1024

// vector is the arguments of readv and writev, used again for every packet: the
// functions of x/sys allocate. What is added has to stay where it is: guest
// memory and fields of a Device do.
type vector struct{ parts []unix.Iovec }

func (v *vector) reset() { v.parts = v.parts[:0] }

// add appends a part; those beyond the limit are left out, which shortens the
// packet.
func (v *vector) add(b []byte) {
	if len(b) == 0 || len(v.parts) == maxVector {
		return
	}
	v.parts = append(v.parts, unix.Iovec{Base: &b[0], Len: uint64(len(b))})
}

func (v *vector) read(fd uintptr) (int, error)  { return v.call(unix.SYS_READV, fd) }
func (v *vector) write(fd uintptr) (int, error) { return v.call(unix.SYS_WRITEV, fd) }

func (v *vector) call(nr, fd uintptr) (int, error) {
	n, _, errno := unix.Syscall(nr, fd, uintptr(unsafe.Pointer(unsafe.SliceData(v.parts))), uintptr(len(v.parts)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
