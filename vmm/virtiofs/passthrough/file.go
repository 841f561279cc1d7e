// SPDX-License-Identifier: Apache-2.0

package passthrough

import (
	"math"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// handle is an open file or directory of the client. There are handles only
// when the shares are not exclusive; else files are opened when they are used.
type handle struct {
	node *inode
	desc *desc
}

// addHandle takes over the descriptor.
func (fs *FS) addHandle(n *inode, d *desc) (uint64, error) {
	if !fs.descs.reserve() {
		d.put()
		return 0, unix.ENFILE
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fh := fs.nextFh
	fs.nextFh++
	fs.handles[fh] = &handle{node: n, desc: d}
	return fh, nil
}

func (fs *FS) takeHandlesLocked(match func(*handle) bool) []*handle {
	var taken []*handle
	for fh, h := range fs.handles {
		if match(h) {
			taken = append(taken, h)
			delete(fs.handles, fh)
		}
	}
	return taken
}

func (fs *FS) closeHandles(handles []*handle) {
	for _, h := range handles {
		h.desc.put()
		fs.descs.unreserve()
	}
}

// use returns the descriptor to be used for an operation on an open file,
// which the caller puts.
func (fs *FS) use(id, fh uint64, write bool) (*desc, error) {
	if fh != 0 {
		fs.mu.Lock()
		h := fs.handles[fh]
		if h != nil && h.node.id == id {
			h.desc.refs.Add(1)
		}
		fs.mu.Unlock()
		if h == nil || h.node.id != id {
			return nil, unix.EBADF
		}
		if write && h.node.share.readOnly {
			// The descriptor refuses data, but not a change of the mode.
			h.desc.put()
			return nil, unix.EROFS
		}
		return h.desc, nil
	}
	find := fs.real
	if write {
		find = fs.writable
	}
	n, err := find(id)
	if err != nil {
		return nil, err
	}
	return fs.io(n, write)
}

// openFlags are the flags of an open that mean something here. Writes come
// with offsets, so O_APPEND stays with the client; and the client may read
// where its user only writes, to complete a page.
func openFlags(in uint32) int {
	flags := int(in) & (unix.O_TRUNC | unix.O_SYNC | unix.O_DSYNC | unix.O_NOATIME)
	if in&unix.O_ACCMODE == unix.O_RDONLY {
		return flags | unix.O_RDONLY
	}
	return flags | unix.O_RDWR
}

// Open implements fuse.RawFileSystem.
func (fs *FS) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if fs.opts.Exclusive {
		return fuse.ENOSYS // and the client never asks again
	}
	flags := openFlags(in.Flags)
	find := fs.real
	if flags&unix.O_ACCMODE != unix.O_RDONLY || flags&unix.O_TRUNC != 0 {
		find = fs.writable
	}
	n, err := find(in.NodeId)
	if err != nil {
		return status(err)
	}
	if n.kind != unix.S_IFREG {
		return fuse.EACCES
	}
	p, err := fs.path(n)
	if err != nil {
		return status(err)
	}
	defer p.put()
	fd, err := reopen(p.fd, flags)
	if err != nil {
		return status(err)
	}
	if flags&unix.O_TRUNC != 0 && in.Mode&fuse.OPEN_KILL_SUIDGID != 0 {
		killSuid(fd)
	}
	out.Fh, err = fs.addHandle(n, newDesc(fd))
	return status(err)
}

// Create implements fuse.RawFileSystem.
func (fs *FS) Create(_ <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	if fs.opts.Exclusive {
		return fuse.ENOSYS // the client uses MKNOD, and opens without asking
	}
	flags := openFlags(in.Flags) | int(in.Flags)&unix.O_EXCL
	n, d, err := fs.create(&in.InHeader, name, in.Mode, in.Umask, &out.Attr, flags)
	if err != nil {
		return status(err)
	}
	fh, err := fs.addHandle(n, d)
	if err != nil {
		fs.Forget(n.id, 1)
		return status(err)
	}
	fs.fillCreated(n, &out.EntryOut)
	out.OpenOut = fuse.OpenOut{Fh: fh}
	return fuse.OK
}

// Tmpfile implements fuse.RawFileSystem.
func (fs *FS) Tmpfile(_ <-chan struct{}, in *fuse.CreateIn, out *fuse.CreateOut) fuse.Status {
	parent, err := fs.writable(in.NodeId)
	if err != nil {
		return status(err)
	}
	p, err := fs.path(parent)
	if err != nil {
		return status(err)
	}
	defer p.put()
	flags := unix.O_TMPFILE | unix.O_RDWR | int(in.Flags)&unix.O_EXCL
	in.Mode = masked(p.fd, in.Mode, in.Umask)
	fd, err := openBelow(p.fd, ".", flags, in.Mode&07777)
	if err != nil {
		return status(err)
	}
	n, err := fs.adoptTmpfile(parent, p.fd, fd, in, out)
	if err != nil {
		unix.Close(fd)
		return status(err)
	}
	if fs.opts.Exclusive {
		// There will be no release; the file lives until it is forgotten.
		fs.descs.add(n, slotWrite, fd).put()
		out.OpenOut = fuse.OpenOut{OpenFlags: fuse.FOPEN_KEEP_CACHE}
		return fuse.OK
	}
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		unix.Close(fd)
		fs.Forget(n.id, 1)
		return status(err)
	}
	fs.descs.add(n, slotWrite, fd).put()
	fh, err := fs.addHandle(n, newDesc(dup))
	if err != nil {
		fs.Forget(n.id, 1)
		return status(err)
	}
	out.OpenOut = fuse.OpenOut{Fh: fh}
	return fuse.OK
}

// adoptTmpfile gives a file without a name to the caller and makes its node.
func (fs *FS) adoptTmpfile(parent *inode, dir, fd int, in *fuse.CreateIn, out *fuse.CreateOut) (*inode, error) {
	var st unix.Statx_t
	if err := statFD(fd, &st); err != nil {
		return nil, err
	}
	gid := in.Gid
	if gid != st.Gid && inheritsGroup(dir, &st) {
		gid = st.Gid
	}
	if in.Uid != st.Uid || gid != st.Gid {
		if err := unix.Fchown(fd, int(in.Uid), int(gid)); err != nil {
			return nil, err
		}
	}
	if err := unix.Fchmod(fd, in.Mode&07777); err != nil {
		return nil, err
	}
	if err := statFD(fd, &st); err != nil {
		return nil, err
	}
	fs.tree.RLock()
	n, err := fs.intern(parent, "", &st)
	if err == nil {
		fs.mu.Lock()
		n.parent, n.name = nil, ""
		fs.mu.Unlock()
	}
	fs.tree.RUnlock()
	if err != nil {
		return nil, err
	}
	if !fs.descs.pin(n) {
		fs.Forget(n.id, 1)
		return nil, unix.ENFILE
	}
	fs.entry(n, &st, &out.EntryOut)
	return n, nil
}

// Read implements fuse.RawFileSystem.
func (fs *FS) Read(_ <-chan struct{}, in *fuse.ReadIn, _ []byte) (fuse.ReadResult, fuse.Status) {
	if in.Offset > math.MaxInt64-uint64(in.Size) {
		return nil, fuse.EINVAL
	}
	d, err := fs.use(in.NodeId, in.Fh, false)
	if err != nil {
		return nil, status(err)
	}
	return &readResult{d: d, off: int64(in.Offset), size: int(in.Size)}, fuse.OK
}

// readResult reads straight into the buffers of the client.
type readResult struct {
	d    *desc
	off  int64
	size int
}

// Size implements fuse.ReadResult.
func (r *readResult) Size() int { return r.size }

// Done implements fuse.ReadResult.
func (r *readResult) Done() { r.d.put() }

// Bytes implements fuse.ReadResult.
func (r *readResult) Bytes(buf []byte) ([]byte, fuse.Status) {
	n, st := r.Readv([][]byte{buf[:min(len(buf), r.size)]})
	return buf[:n], st
}

// Readv reads until dst is full or the file ends.
func (r *readResult) Readv(dst [][]byte) (int, fuse.Status) {
	total := 0
	for len(dst) > 0 {
		n, err := unix.Preadv(r.d.fd, dst[:min(len(dst), maxIovec)], r.off+int64(total))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			if total > 0 {
				break
			}
			return 0, status(err)
		}
		if n == 0 {
			break
		}
		total += n
		dst = advance(dst, n)
	}
	return total, fuse.OK
}

// maxIovec is the host's IOV_MAX.
const maxIovec = 1024

// advance returns parts without their first n bytes. It changes parts.
func advance(parts [][]byte, n int) [][]byte {
	for len(parts) > 0 && n >= len(parts[0]) {
		n -= len(parts[0])
		parts = parts[1:]
	}
	if n > 0 {
		parts[0] = parts[0][n:]
	}
	return parts
}

// Writev implements fuse.RawFileSystem.
func (fs *FS) Writev(_ <-chan struct{}, in *fuse.WriteIn, data [][]byte) (uint32, fuse.Status) {
	if in.Offset > math.MaxInt64-uint64(in.Size) {
		return 0, fuse.Status(unix.EFBIG)
	}
	d, err := fs.use(in.NodeId, in.Fh, true)
	if err != nil {
		return 0, status(err)
	}
	defer d.put()
	if fs.opts.Exclusive && in.WriteFlags&fuse.WRITE_CACHE != 0 {
		// The client writes back late and sets the time of the change itself,
		// but not if it was set a moment before.
		var st unix.Statx_t
		if err := statFD(d.fd, &st); err != nil {
			return 0, status(err)
		}
		defer keepMtime(d.fd, st.Mtime)
	}
	left, total := int(in.Size), 0
	for left > 0 && len(data) > 0 {
		part := data[:min(len(data), maxIovec)]
		n, err := unix.Pwritev(d.fd, limit(part, left), int64(in.Offset)+int64(total))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			if total > 0 {
				break
			}
			return 0, status(err)
		}
		if n == 0 {
			break
		}
		total, left = total+n, left-n
		data = advance(data, n)
	}
	if in.WriteFlags&fuse.WRITE_KILL_SUIDGID != 0 {
		if err := killSuid(d.fd); err != nil {
			return 0, status(err)
		}
	}
	return uint32(total), fuse.OK
}

func keepMtime(fd int, t unix.StatxTimestamp) {
	ts := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Sec: t.Sec, Nsec: int64(t.Nsec)}}
	// A failure would cost the accuracy of a time, no data.
	_ = unix.UtimesNanoAt(fd, "", ts, unix.AT_EMPTY_PATH)
}

// limit returns the first n bytes of parts, which it leaves alone.
func limit(parts [][]byte, n int) [][]byte {
	total := 0
	for i, p := range parts {
		if total+len(p) <= n {
			total += len(p)
			continue
		}
		out := append([][]byte(nil), parts[:i]...)
		return append(out, p[:n-total])
	}
	return parts
}

// Lseek implements fuse.RawFileSystem, for SEEK_DATA and SEEK_HOLE.
func (fs *FS) Lseek(_ <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	if in.Whence != unix.SEEK_DATA && in.Whence != unix.SEEK_HOLE {
		return fuse.EINVAL
	}
	d, err := fs.use(in.NodeId, in.Fh, false)
	if err != nil {
		return status(err)
	}
	defer d.put()
	// The position of the descriptor is used by nobody.
	off, err := unix.Seek(d.fd, int64(in.Offset), int(in.Whence))
	out.Offset = uint64(off)
	return status(err)
}

// CopyFileRange implements fuse.RawFileSystem.
func (fs *FS) CopyFileRange(_ <-chan struct{}, in *fuse.CopyFileRangeIn) (uint32, fuse.Status) {
	from, err := fs.use(in.NodeId, in.FhIn, false)
	if err != nil {
		return 0, status(err)
	}
	defer from.put()
	to, err := fs.use(in.NodeIdOut, in.FhOut, true)
	if err != nil {
		return 0, status(err)
	}
	defer to.put()
	roff, woff := int64(in.OffIn), int64(in.OffOut)
	// The answer has 32 bits, and one request must not last for ever.
	n, err := unix.CopyFileRange(from.fd, &roff, to.fd, &woff, int(min(in.Len, 64<<20)), 0)
	return uint32(max(n, 0)), status(err)
}

// Fallocate implements fuse.RawFileSystem.
func (fs *FS) Fallocate(_ <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	d, err := fs.use(in.NodeId, in.Fh, true)
	if err != nil {
		return status(err)
	}
	defer d.put()
	return status(unix.Fallocate(d.fd, in.Mode, int64(in.Offset), int64(in.Length)))
}

// Flush implements fuse.RawFileSystem.
func (fs *FS) Flush(_ <-chan struct{}, in *fuse.FlushIn) fuse.Status {
	if fs.opts.Exclusive {
		return fuse.ENOSYS // and the client never asks again
	}
	fs.unlock(lockOwner{node: in.NodeId, owner: in.LockOwner})
	return fuse.OK
}

// Fsync implements fuse.RawFileSystem.
func (fs *FS) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	d, err := fs.use(in.NodeId, in.Fh, false)
	if err != nil {
		return status(err)
	}
	defer d.put()
	return status(syncFD(d.fd, in.FsyncFlags))
}

// FsyncDir implements fuse.RawFileSystem.
func (fs *FS) FsyncDir(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	n, err := fs.real(in.NodeId)
	if err != nil {
		return status(err)
	}
	d, err := fs.dir(n)
	if err != nil {
		return status(err)
	}
	defer d.put()
	return status(syncFD(d.fd, in.FsyncFlags))
}

func syncFD(fd int, flags uint32) error {
	if flags&1 != 0 { // FUSE_FSYNC_FDATASYNC
		return unix.Fdatasync(fd)
	}
	return unix.Fsync(fd)
}

// Release implements fuse.RawFileSystem.
func (fs *FS) Release(_ <-chan struct{}, in *fuse.ReleaseIn) {
	fs.mu.Lock()
	h := fs.handles[in.Fh]
	delete(fs.handles, in.Fh)
	fs.mu.Unlock()
	if h == nil {
		return
	}
	fs.unlockHandle(in.NodeId, in.Fh)
	fs.closeHandles([]*handle{h})
	const flockUnlock = 1 << 1 // FUSE_RELEASE_FLOCK_UNLOCK
	if in.ReleaseFlags&flockUnlock != 0 {
		fs.unlock(lockOwner{node: in.NodeId, owner: in.LockOwner, flock: true})
	}
}
