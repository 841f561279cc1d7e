// SPDX-License-Identifier: Apache-2.0

// Package memory holds the memory of one cell: a memfd with guest
// physical memory at offset 0 (offset = GPA) and a tail behind it, the control
// area, that is not guest physical memory.
//
// The guest can write every byte at any time. Accessors therefore check bounds
// (without overflow), copy, and leave validation to the caller, who must
// validate the copy and never read the same field twice. Bytes seen through
// Slice can change between two reads.
//
// Accessors may be called from many goroutines at once. Close must not run at
// the same time as any of them: whoever owns the cell stops its devices first.
package memory

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// PageSize is the granule of New and Discard, in bytes.
const PageSize = 4096

// Errors of the accessors, wrapped with the range that was asked for.
var (
	// ErrRange: the range is not inside guest physical memory.
	ErrRange = errors.New("outside guest memory")
	// ErrAlign: the address is not a multiple of the size of the access.
	ErrAlign = errors.New("address is not aligned")
	// ErrClosed: the memory was closed.
	ErrClosed = errors.New("guest memory is closed")
)

// Memory is guest physical memory and the control area behind it.
type Memory struct {
	file  *os.File
	all   []byte // the whole mapping
	guest []byte // guest physical memory
	tail  []byte // control area
	huge  bool
}

// New makes zeroed guest memory of size bytes with a tail of tailSize bytes.
// Both are multiples of PageSize; size is not zero. No host memory is bound
// until it is touched. The name is what /proc/PID/maps shows. The size of the
// file is sealed: a shrunk file would raise SIGBUS in every user of the mapping.
func New(name string, size, tailSize uint64) (*Memory, error) {
	return create(name, size, tailSize, sealedFile)
}

// NewHuge is New for memory that can be bound in huge pages (Huge), if this host
// has them for files and we may mount a file system; else it is New. The file is
// not sealed then: seals are for memfds only. Host processes of a cell may not
// change its size all the same (seccomp).
func NewHuge(name string, size, tailSize uint64) (*Memory, error) {
	m, err := create(name, size, tailSize, hugeFile)
	if err != nil {
		return New(name, size, tailSize) // what is wrong with the sizes it says
	}
	m.huge = true
	return m, nil
}

// create makes the memory out of a file of total bytes.
func create(name string, size, tailSize uint64, newFile func(name string, total uint64) (int, error)) (*Memory, error) {
	if size == 0 || size%PageSize != 0 || tailSize%PageSize != 0 {
		return nil, fmt.Errorf("guest memory: sizes %d and %d are not multiples of %d", size, tailSize, PageSize)
	}
	total := size + tailSize
	if total < size || total > 1<<47 {
		return nil, fmt.Errorf("guest memory: %d bytes do not fit into an address space", size)
	}
	fd, err := newFile(name, total)
	if err != nil {
		return nil, fmt.Errorf("guest memory of %d bytes: %w", size, err)
	}
	file := os.NewFile(uintptr(fd), name)
	all, err := unix.Mmap(fd, 0, int(total), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_NORESERVE)
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("guest memory of %d bytes: mmap: %w", size, err)
	}
	return &Memory{file: file, all: all, guest: all[:size:size], tail: all[size:]}, nil
}

// sealedFile is a memfd of fixed size.
func sealedFile(name string, total uint64) (int, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_NOEXEC_SEAL)
	if err != nil {
		return -1, fmt.Errorf("memfd_create: %w", err)
	}
	const seals = unix.F_SEAL_GROW | unix.F_SEAL_SHRINK | unix.F_SEAL_SEAL
	if err = unix.Ftruncate(fd, int64(total)); err != nil {
		err = fmt.Errorf("ftruncate: %w", err)
	} else if _, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		err = fmt.Errorf("seal: %w", err)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// Close unmaps the memory and closes the file. A second Close does nothing.
func (m *Memory) Close() error {
	if m.all == nil {
		return nil
	}
	err := unix.Munmap(m.all)
	m.all, m.guest, m.tail = nil, nil, nil
	return errors.Join(err, m.file.Close())
}

// Huge says whether huge pages can be had: by a mapping of the memory, aligned to
// them, for which they are advised (madvise(2), MADV_HUGEPAGE). Other mappings get
// pages of PageSize, and share what is there.
func (m *Memory) Huge() bool { return m.huge }

// Size is the size of guest physical memory in bytes, 0 after Close.
func (m *Memory) Size() uint64 { return uint64(len(m.guest)) }

// File is the memfd, or the file without a name of NewHuge, to be passed to host processes of the cell. It stays
// owned by m.
func (m *Memory) File() *os.File { return m.file }

// Tail is the area behind guest physical memory. It is shared with the cell
// like the memory itself and is gone after Close.
func (m *Memory) Tail() []byte { return m.tail }

// Check says whether [gpa, gpa+n) is inside guest physical memory.
func (m *Memory) Check(gpa, n uint64) error {
	size := uint64(len(m.guest))
	if n <= size && gpa <= size-n {
		return nil
	}
	if m.guest == nil {
		return ErrClosed
	}
	return fmt.Errorf("range %#x+%#x: %w", gpa, n, ErrRange)
}

// Slice returns guest memory [gpa, gpa+n) itself, for bulk I/O without a copy
// (read, write, preadv...). The guest can change it at any time: nothing in it
// may be validated in place. It must not be used after Close.
func (m *Memory) Slice(gpa, n uint64) ([]byte, error) {
	if err := m.Check(gpa, n); err != nil {
		return nil, err
	}
	return m.guest[gpa : gpa+n : gpa+n], nil
}

// Read copies len(p) bytes at gpa into p, all or nothing.
func (m *Memory) Read(gpa uint64, p []byte) error {
	if err := m.Check(gpa, uint64(len(p))); err != nil {
		return err
	}
	copy(p, m.guest[gpa:])
	return nil
}

// Write copies p to gpa, all or nothing.
func (m *Memory) Write(gpa uint64, p []byte) error {
	if err := m.Check(gpa, uint64(len(p))); err != nil {
		return err
	}
	copy(m.guest[gpa:], p)
	return nil
}

// word returns the aligned 32-bit word that holds the byte at gpa. Sizes are
// multiples of PageSize, so the word is inside when the byte is.
func (m *Memory) word(gpa, size uint64) (*uint32, error) {
	if err := m.Check(gpa, size); err != nil {
		return nil, err
	}
	if gpa%size != 0 {
		return nil, fmt.Errorf("%d-byte access at %#x: %w", size, gpa, ErrAlign)
	}
	return word32(m.guest, gpa&^3), nil
}

func (m *Memory) quad(gpa uint64) (*uint64, error) {
	if err := m.Check(gpa, 8); err != nil {
		return nil, err
	}
	if gpa%8 != 0 {
		return nil, fmt.Errorf("8-byte access at %#x: %w", gpa, ErrAlign)
	}
	return word64(m.guest, gpa), nil
}

// LoadUint16 reads a little-endian value in one go, with acquire order.
func (m *Memory) LoadUint16(gpa uint64) (uint16, error) {
	p, err := m.word(gpa, 2)
	if err != nil {
		return 0, err
	}
	return uint16(atomic.LoadUint32(p) >> (8 * (gpa & 2))), nil
}

// StoreUint16 writes a little-endian value in one go, with release order. The
// other half of the word is kept, also against concurrent writers that write
// it atomically.
func (m *Memory) StoreUint16(gpa uint64, v uint16) error {
	p, err := m.word(gpa, 2)
	if err != nil {
		return err
	}
	shift := 8 * (gpa & 2)
	for {
		old := atomic.LoadUint32(p)
		if atomic.CompareAndSwapUint32(p, old, old&^(0xffff<<shift)|uint32(v)<<shift) {
			return nil
		}
	}
}

// LoadUint32 reads a little-endian value in one go, with acquire order.
func (m *Memory) LoadUint32(gpa uint64) (uint32, error) {
	p, err := m.word(gpa, 4)
	if err != nil {
		return 0, err
	}
	return atomic.LoadUint32(p), nil
}

// StoreUint32 writes a little-endian value in one go, with release order.
func (m *Memory) StoreUint32(gpa uint64, v uint32) error {
	p, err := m.word(gpa, 4)
	if err != nil {
		return err
	}
	atomic.StoreUint32(p, v)
	return nil
}

// LoadUint64 reads a little-endian value in one go, with acquire order.
func (m *Memory) LoadUint64(gpa uint64) (uint64, error) {
	p, err := m.quad(gpa)
	if err != nil {
		return 0, err
	}
	return atomic.LoadUint64(p), nil
}

// StoreUint64 writes a little-endian value in one go, with release order.
func (m *Memory) StoreUint64(gpa uint64, v uint64) error {
	p, err := m.quad(gpa)
	if err != nil {
		return err
	}
	atomic.StoreUint64(p, v)
	return nil
}

// Writer writes to guest memory from gpa on, at most n bytes; a write past the
// end fails with ErrRange. It goes through the file instead of the mapping, so
// that loading an image takes no page faults. Not safe for concurrent use.
func (m *Memory) Writer(gpa, n uint64) (*Writer, error) {
	if err := m.Check(gpa, n); err != nil {
		return nil, err
	}
	return &Writer{file: m.file, next: gpa, end: gpa + n}, nil
}

// Writer is an io.Writer into guest memory.
type Writer struct {
	file      *os.File
	next, end uint64
}

var _ io.Writer = (*Writer)(nil)

// Write implements io.Writer.
func (w *Writer) Write(p []byte) (int, error) {
	if uint64(len(p)) > w.end-w.next {
		return 0, fmt.Errorf("write of %d bytes at %#x: %w", len(p), w.next, ErrRange)
	}
	n, err := w.file.WriteAt(p, int64(w.next))
	w.next += uint64(n)
	return n, err
}

// Offset is the GPA of the next byte to be written.
func (w *Writer) Offset() uint64 { return w.next }

// Discard gives the host memory behind [gpa, gpa+n) back; it reads as zero
// afterwards. Both are multiples of PageSize.
func (m *Memory) Discard(gpa, n uint64) error {
	if err := m.Check(gpa, n); err != nil {
		return err
	}
	if gpa%PageSize != 0 || n%PageSize != 0 {
		return fmt.Errorf("discard %#x+%#x: %w", gpa, n, ErrAlign)
	}
	if n == 0 {
		return nil
	}
	const mode = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
	if err := unix.Fallocate(int(m.file.Fd()), mode, int64(gpa), int64(n)); err != nil {
		return fmt.Errorf("discard %#x+%#x: %w", gpa, n, err)
	}
	return nil
}

// Resident is the number of bytes of host memory bound to the cell's memory
// (control area included).
func (m *Memory) Resident() (uint64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(m.file.Fd()), &st); err != nil {
		return 0, fmt.Errorf("guest memory: fstat: %w", err)
	}
	return uint64(st.Blocks) * 512, nil
}
