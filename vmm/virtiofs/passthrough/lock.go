// SPDX-License-Identifier: Apache-2.0

package passthrough

import (
	"math"
	"sync"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// lockTable holds the file locks of clients of shares that are not exclusive.
// A POSIX lock of the client is an open-file-description lock of the host, on a
// descriptor that belongs to (node, owner).
type lockTable struct {
	mu     sync.Mutex
	owners map[lockOwner]*ownerLocks
}

// ownerLocks are the locks of an owner.
type ownerLocks struct {
	*desc
	// fh is the open file by which the owner has locked last. The locks of an
	// open file itself (F_OFD_SETLK) go with it; nothing else ends them.
	fh uint64
	// pid is the process that has locked last, in the client.
	pid uint32
}

type lockOwner struct {
	node, owner uint64
	flock       bool
}

// lockPoll is how often a waiting lock is tried again. A wait inside the host
// could not be interrupted when the client gives up.
const lockPoll = 20 * time.Millisecond

// lockDesc returns the descriptor for the locks of an owner.
func (fs *FS) lockDesc(in *fuse.LkIn) (*desc, error) {
	k := lockOwner{in.NodeId, in.Owner, in.LkFlags&fuse.LK_FLOCK != 0}
	fs.locks.mu.Lock()
	defer fs.locks.mu.Unlock()
	if d := fs.locks.owners[k]; d != nil {
		d.refs.Add(1)
		if in.Opcode != opGetLk {
			d.fh, d.pid = in.Fh, in.Lk.Pid
		}
		return d.desc, nil
	}
	n, err := fs.real(in.NodeId)
	if err != nil {
		return nil, err
	}
	if n.kind != unix.S_IFREG && n.kind != unix.S_IFDIR {
		return nil, unix.EBADF
	}
	p, err := fs.path(n)
	if err != nil {
		return nil, err
	}
	defer p.put()
	flags := unix.O_RDWR
	if n.kind == unix.S_IFDIR || n.share.readOnly {
		flags = unix.O_RDONLY
	}
	fd, err := reopen(p.fd, flags)
	if err != nil {
		return nil, err
	}
	if !fs.descs.reserve() {
		unix.Close(fd)
		return nil, unix.ENOLCK
	}
	d := newDesc(fd)
	d.refs.Add(1)
	if fs.locks.owners == nil {
		fs.locks.owners = map[lockOwner]*ownerLocks{}
	}
	fs.locks.owners[k] = &ownerLocks{d, in.Fh, in.Lk.Pid}
	return d, nil
}

// opGetLk is FUSE_GETLK.
const opGetLk = 31

// unlockHandle drops the locks that an open file owns, which has been closed for
// good. Those of a process that has used it have gone with Flush.
func (fs *FS) unlockHandle(node, fh uint64) {
	fs.locks.mu.Lock()
	var ended []lockOwner
	for k, d := range fs.locks.owners {
		if k.node == node && !k.flock && d.fh == fh {
			ended = append(ended, k)
		}
	}
	fs.locks.mu.Unlock()
	for _, k := range ended {
		fs.unlock(k)
	}
}

// holder is the process of the client that has the lock fl, which asker cannot
// have; 0 if it is none of the client's.
func (fs *FS) holder(node, asker uint64, fl unix.Flock_t) uint32 {
	fs.locks.mu.Lock()
	defer fs.locks.mu.Unlock()
	for k, d := range fs.locks.owners {
		if k.node != node || k.flock || k.owner == asker {
			continue
		}
		// The one for whom nothing is in the way.
		own := unix.Flock_t{Type: unix.F_WRLCK, Whence: unix.SEEK_SET, Start: fl.Start, Len: fl.Len}
		if unix.FcntlFlock(uintptr(d.fd), unix.F_OFD_GETLK, &own) == nil && own.Type == unix.F_UNLCK {
			return d.pid
		}
	}
	return 0
}

// unlock drops all locks of an owner, which has closed the file.
func (fs *FS) unlock(k lockOwner) {
	fs.locks.mu.Lock()
	d := fs.locks.owners[k]
	delete(fs.locks.owners, k)
	fs.locks.mu.Unlock()
	if d != nil {
		d.put()
		fs.descs.unreserve()
	}
}

// unlockNodes drops the locks on files that are not served any more: a client
// that closes them later is told ESTALE.
func (fs *FS) unlockNodes(gone []*inode) {
	nodes := make(map[uint64]bool, len(gone))
	for _, n := range gone {
		nodes[n.id] = true
	}
	fs.locks.mu.Lock()
	var ended []lockOwner
	for k := range fs.locks.owners {
		if nodes[k.node] {
			ended = append(ended, k)
		}
	}
	fs.locks.mu.Unlock()
	for _, k := range ended {
		fs.unlock(k)
	}
}

// unlockAll drops all locks of all owners.
func (fs *FS) unlockAll() {
	fs.locks.mu.Lock()
	owners := fs.locks.owners
	fs.locks.owners = nil
	fs.locks.mu.Unlock()
	for _, d := range owners {
		d.put()
		fs.descs.unreserve()
	}
}

// lockRange converts the range of a POSIX lock.
func lockRange(lk *fuse.FileLock) (unix.Flock_t, error) {
	if lk.Start > math.MaxInt64 || lk.End < lk.Start {
		return unix.Flock_t{}, unix.EINVAL
	}
	fl := unix.Flock_t{Type: int16(lk.Typ), Whence: unix.SEEK_SET, Start: int64(lk.Start)}
	if lk.End < math.MaxInt64 {
		fl.Len = int64(lk.End-lk.Start) + 1
	}
	return fl, nil
}

// GetLk implements fuse.RawFileSystem.
func (fs *FS) GetLk(_ <-chan struct{}, in *fuse.LkIn, out *fuse.LkOut) fuse.Status {
	fl, err := lockRange(&in.Lk)
	if err != nil {
		return status(err)
	}
	d, err := fs.lockDesc(in)
	if err != nil {
		return status(err)
	}
	defer d.put()
	if err := unix.FcntlFlock(uintptr(d.fd), unix.F_OFD_GETLK, &fl); err != nil {
		return status(err)
	}
	out.Lk = fuse.FileLock{Start: uint64(fl.Start), End: math.MaxInt64, Typ: uint32(fl.Type)}
	if fl.Len > 0 {
		out.Lk.End = uint64(fl.Start + fl.Len - 1)
	}
	if out.Lk.Typ != unix.F_UNLCK {
		// Who holds it may be another cell or a process of the host, which
		// have no number here.
		out.Lk.Pid = fs.holder(in.NodeId, in.Owner, fl)
	}
	return fuse.OK
}

// SetLk implements fuse.RawFileSystem.
func (fs *FS) SetLk(_ <-chan struct{}, in *fuse.LkIn) fuse.Status { return status(fs.setLock(in)) }

// SetLkw implements fuse.RawFileSystem.
func (fs *FS) SetLkw(cancel <-chan struct{}, in *fuse.LkIn) fuse.Status {
	fs.mu.Lock()
	quit := fs.quit
	fs.mu.Unlock()
	for {
		err := fs.setLock(in)
		if err != unix.EAGAIN && err != unix.EACCES {
			return status(err)
		}
		select {
		case <-cancel:
			return fuse.EINTR
		case <-quit:
			return fuse.EINTR
		case <-time.After(lockPoll):
		}
	}
}

// setLock takes or gives up a lock without waiting.
func (fs *FS) setLock(in *fuse.LkIn) error {
	d, err := fs.lockDesc(in)
	if err != nil {
		return err
	}
	defer d.put()
	if in.LkFlags&fuse.LK_FLOCK != 0 {
		how, ok := map[uint32]int{unix.F_RDLCK: unix.LOCK_SH, unix.F_WRLCK: unix.LOCK_EX, unix.F_UNLCK: unix.LOCK_UN}[in.Lk.Typ]
		if !ok {
			return unix.EINVAL
		}
		return unix.Flock(d.fd, how|unix.LOCK_NB)
	}
	fl, err := lockRange(&in.Lk)
	if err != nil {
		return err
	}
	return unix.FcntlFlock(uintptr(d.fd), unix.F_OFD_SETLK, &fl)
}
