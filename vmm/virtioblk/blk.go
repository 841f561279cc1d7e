// SPDX-License-Identifier: Apache-2.0

// Package virtioblk is the virtio block device (virtio 1.2, section 5.2) over a
// file of the host.
package virtioblk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/paracell/paracell/vmm/virtio"
)

const (
	queueSize = 128
	workers   = 4

	sectorSize = 512
	headerSize = 16
	idSize     = 20

	// maxDiscard is the most sectors of one discard or zeroing request.
	maxDiscard = 1 << 20
	// maxRanges is the most ranges of one such request.
	maxRanges = 16
	// rangeSize is a range: sector, count, flags.
	rangeSize = 16
)

const (
	featureSegMax      = 1 << 2
	featureReadOnly    = 1 << 5
	featureBlockSize   = 1 << 6
	featureFlush       = 1 << 9
	featureDiscard     = 1 << 13
	featureWriteZeroes = 1 << 14
)

const (
	reqIn          = 0
	reqOut         = 1
	reqFlush       = 4
	reqGetID       = 8
	reqDiscard     = 11
	reqWriteZeroes = 13

	statusOK          = 0
	statusIOErr       = 1
	statusUnsupported = 2

	flagUnmap = 1
)

// Options configure New.
type Options struct {
	// ReadOnly refuses writes.
	ReadOnly bool
	// ID is what the guest shows as the serial number; at most 20 bytes.
	ID string
}

// Device is a virtio.Device.
type Device struct {
	file     *os.File
	readOnly bool
	id       string
	sectors  uint64

	queue *virtio.Queue
	bell  virtio.Bell
	run   virtio.Runner
	popMu sync.Mutex // Pop and EnableNotify
}

// New returns a block device over a regular file or a block device of the
// host, whose size it keeps. It owns the file, also when New fails.
func New(file *os.File, o Options) (*Device, error) {
	size, err := file.Seek(0, 2)
	switch {
	case err != nil:
	case size < sectorSize || size%sectorSize != 0:
		err = fmt.Errorf("size of %d bytes is not a multiple of %d", size, sectorSize)
	case len(o.ID) > idSize:
		err = fmt.Errorf("id %q has more than %d bytes", o.ID, idSize)
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("disk %s: %w", file.Name(), err)
	}
	return &Device{
		file: file, readOnly: o.ReadOnly, id: o.ID, sectors: uint64(size) / sectorSize, bell: virtio.NewBell(),
	}, nil
}

// Type implements virtio.Device.
func (d *Device) Type() uint32 { return virtio.TypeBlock }

// Features implements virtio.Device.
func (d *Device) Features() uint64 {
	if d.readOnly {
		return featureSegMax | featureBlockSize | featureReadOnly
	}
	return featureSegMax | featureBlockSize | featureFlush | featureDiscard | featureWriteZeroes
}

// QueueSizes implements virtio.Device.
func (d *Device) QueueSizes() []int { return []int{queueSize} }

// Config implements virtio.Device.
func (d *Device) Config() []byte {
	c := make([]byte, 60)
	le := binary.LittleEndian
	le.PutUint64(c[0:], d.sectors)
	le.PutUint32(c[12:], queueSize-2) // seg_max: room for header and status
	le.PutUint32(c[20:], sectorSize)
	le.PutUint32(c[36:], maxDiscard)
	le.PutUint32(c[40:], maxRanges)
	le.PutUint32(c[44:], 4096/sectorSize) // discard_sector_alignment
	le.PutUint32(c[48:], maxDiscard)      // max_write_zeroes_sectors
	le.PutUint32(c[52:], maxRanges)
	c[56] = 1 // write_zeroes_may_unmap
	return c
}

// Activate implements virtio.Device.
func (d *Device) Activate(_ uint64, queues []*virtio.Queue) error {
	d.queue = queues[0]
	if d.queue == nil {
		return errors.New("a disk needs its queue")
	}
	d.run.Start()
	for range workers {
		d.run.Serve(d.bell, d.serve)
	}
	return nil
}

// Kick implements virtio.Device.
func (d *Device) Kick(int) { d.bell.Ring() }

func (d *Device) serve() {
	var c virtio.Chain
	for d.next(&c) {
		n, reason := d.request(&c)
		if reason != "" {
			d.queue.Break("%s", reason)
			return
		}
		d.queue.Push(c.Head, n)
		d.queue.Signal()
	}
}

// next takes a request, and wakes another worker in case there is a second.
func (d *Device) next(c *virtio.Chain) bool {
	d.popMu.Lock()
	defer d.popMu.Unlock()
	for !d.queue.Pop(c) {
		if !d.queue.EnableNotify() {
			return false
		}
	}
	if d.queue.EnableNotify() {
		d.bell.Ring()
	}
	return true
}

// request carries out one request and writes its status. It returns the number
// of bytes for the driver, or what is wrong with the request.
func (d *Device) request(c *virtio.Chain) (written int, broken string) {
	var h [headerSize]byte
	if virtio.CopyIn(h[:], c.Readable) < headerSize {
		return 0, fmt.Sprintf("disk request of %d bytes has no header", virtio.Len(c.Readable))
	}
	out := virtio.Advance(c.Readable, headerSize)
	room := virtio.Len(c.Writable)
	if room < 1 {
		return 0, "disk request has no room for its status"
	}
	last := c.Writable[len(c.Writable)-1]
	status := &last[len(last)-1]
	in := virtio.Limit(c.Writable, room-1)

	kind, sector := binary.LittleEndian.Uint32(h[0:]), binary.LittleEndian.Uint64(h[8:])
	err := d.do(kind, sector, in, out)
	switch {
	case err == nil:
		*status = statusOK
	case errors.Is(err, errors.ErrUnsupported):
		*status = statusUnsupported
	default:
		*status = statusIOErr
	}
	// The status is the last byte, so the whole room counts as written.
	return room, ""
}

func (d *Device) do(kind uint32, sector uint64, in, out [][]byte) error {
	if d.readOnly && kind != reqIn && kind != reqGetID && kind != reqFlush {
		return unix.EROFS
	}
	switch kind {
	case reqIn:
		return d.transfer(unix.Preadv, sector, in)
	case reqOut:
		return d.transfer(unix.Pwritev, sector, out)
	case reqFlush:
		return unix.Fdatasync(int(d.file.Fd()))
	case reqGetID:
		id := make([]byte, idSize)
		copy(id, d.id)
		virtio.CopyOut(in, id)
		return nil
	case reqDiscard, reqWriteZeroes:
		return d.punch(kind, out)
	}
	return errors.ErrUnsupported
}

// inside says whether n bytes at sector are on the disk.
func (d *Device) inside(sector, n uint64) bool {
	return n%sectorSize == 0 && sector <= d.sectors && n/sectorSize <= d.sectors-sector
}

func (d *Device) transfer(io func(int, [][]byte, int64) (int, error), sector uint64, parts [][]byte) error {
	total := virtio.Len(parts)
	if !d.inside(sector, uint64(total)) {
		return unix.EINVAL
	}
	off, done := int64(sector*sectorSize), 0
	for done < total {
		n, err := io(int(d.file.Fd()), parts, off+int64(done))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return unix.EIO // the file has become shorter
		}
		done += n
		parts = virtio.Advance(parts, n)
	}
	return nil
}

// punch discards or zeroes ranges.
func (d *Device) punch(kind uint32, out [][]byte) error {
	ranges := make([]byte, min(virtio.Len(out), maxRanges*rangeSize))
	virtio.CopyIn(ranges, out)
	if len(ranges) == 0 || len(ranges)%rangeSize != 0 || virtio.Len(out) > len(ranges) {
		return unix.EINVAL
	}
	for ; len(ranges) > 0; ranges = ranges[rangeSize:] {
		sector := binary.LittleEndian.Uint64(ranges[0:])
		count := uint64(binary.LittleEndian.Uint32(ranges[8:]))
		flags := binary.LittleEndian.Uint32(ranges[12:])
		if count > maxDiscard || sector > math.MaxInt64/sectorSize || !d.inside(sector, count*sectorSize) {
			return unix.EINVAL
		}
		mode := uint32(unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE)
		switch {
		case kind == reqDiscard && flags != 0, flags&^flagUnmap != 0:
			return errors.ErrUnsupported
		case kind == reqWriteZeroes && flags&flagUnmap == 0:
			mode = unix.FALLOC_FL_ZERO_RANGE | unix.FALLOC_FL_KEEP_SIZE
		}
		if count == 0 {
			continue
		}
		err := unix.Fallocate(int(d.file.Fd()), mode, int64(sector*sectorSize), int64(count*sectorSize))
		switch {
		case err == nil:
		case err == unix.EOPNOTSUPP && kind == reqDiscard:
			// It was a hint.
		case err == unix.EOPNOTSUPP:
			return errors.ErrUnsupported
		default:
			return err
		}
	}
	return nil
}

// Reset implements virtio.Device.
func (d *Device) Reset() { d.run.Stop() }

// Close implements virtio.Device. What the guest has not flushed may be lost
// with the host.
func (d *Device) Close() error {
	d.run.Stop()
	return d.file.Close()
}
