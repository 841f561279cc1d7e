// SPDX-License-Identifier: Apache-2.0

package passthrough

import (
	"bytes"
	"encoding/binary"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// OpenDir implements fuse.RawFileSystem. Streams of directories belong to
// nodes, so that a client that does not open reads them too.
func (fs *FS) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if fs.opts.Exclusive {
		return fuse.ENOSYS // and the client never asks again
	}
	n, err := fs.node(in.NodeId)
	if err != nil {
		return status(err)
	}
	if n.kind != unix.S_IFDIR {
		return fuse.ENOTDIR
	}
	return fuse.OK
}

// ReleaseDir implements fuse.RawFileSystem.
func (fs *FS) ReleaseDir(*fuse.ReleaseIn) {}

// ReadDir implements fuse.RawFileSystem.
func (fs *FS) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return fs.readDir(in, func(_ *inode, _ int, e *fuse.DirEntry) bool {
		return out.AddDirEntry(*e)
	})
}

// ReadDirPlus implements fuse.RawFileSystem.
func (fs *FS) ReadDirPlus(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return fs.readDir(in, func(parent *inode, dirfd int, e *fuse.DirEntry) bool {
		// The list is guest memory: written once, never read.
		slot := out.AddDirLookupEntry(*e)
		if slot == nil {
			return false
		}
		if e.Name == "." || e.Name == ".." {
			return true
		}
		var answer fuse.EntryOut
		if parent == nil {
			if fs.lookupShare(e.Name, &answer) != fuse.OK {
				return true
			}
		} else {
			var st unix.Statx_t
			fs.tree.RLock()
			defer fs.tree.RUnlock()
			if statName(dirfd, e.Name, &st) != nil || fs.found(parent, e.Name, &st, &answer) != fuse.OK {
				return true // it went; the client skips entries without a node
			}
		}
		*slot = answer
		return true
	})
}

// readDir gives the entries from in.Offset on to add until that returns false.
// For the root above the shares, add gets no directory.
func (fs *FS) readDir(in *fuse.ReadIn, add func(parent *inode, dirfd int, e *fuse.DirEntry) bool) fuse.Status {
	n, err := fs.node(in.NodeId)
	if err != nil {
		return status(err)
	}
	if n.share == nil {
		return fs.listShares(in.Offset, add)
	}
	n.dirMu.Lock()
	defer n.dirMu.Unlock()
	d, err := fs.dir(n)
	if err != nil {
		return status(err)
	}
	defer d.put()
	if d.pos != int64(in.Offset) {
		if _, err := unix.Seek(d.fd, int64(in.Offset), unix.SEEK_SET); err != nil {
			return status(err)
		}
		d.pos = int64(in.Offset)
	}
	// Entries of the host are not larger than those of the client.
	buf := make([]byte, min(max(in.Size, 1024), 64<<10))
	for {
		k, err := unix.Getdents(d.fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return status(err)
		}
		if k == 0 {
			fs.descs.drop(n, slotDir)
			return fuse.OK
		}
		var e fuse.DirEntry
		for rest := buf[:k]; len(rest) > 0; {
			rest = parseDirent(rest, &e)
			d.pos = int64(e.Off)
			if e.Name == ".." && n.isRoot {
				e.Ino = n.key.ino // what is above a share is nobody's business
			}
			if !add(n, d.fd, &e) {
				// The host's position is behind the whole buffer.
				d.pos = -1
				return fuse.OK
			}
		}
	}
}

// parseDirent takes one struct linux_dirent64 from the host's buffer.
func parseDirent(b []byte, e *fuse.DirEntry) (rest []byte) {
	size := binary.NativeEndian.Uint16(b[16:])
	name := b[19:size]
	if i := bytes.IndexByte(name, 0); i >= 0 {
		name = name[:i]
	}
	*e = fuse.DirEntry{
		Ino:  binary.NativeEndian.Uint64(b[0:]),
		Off:  binary.NativeEndian.Uint64(b[8:]),
		Mode: uint32(b[18]) << 12,
		Name: string(name),
	}
	return b[size:]
}

// listShares lists the root above the shares. Offsets are node numbers, which
// only grow, so entries that come and go do not disturb a reader.
func (fs *FS) listShares(after uint64, add func(*inode, int, *fuse.DirEntry) bool) fuse.Status {
	for {
		fs.mu.Lock()
		var next *share
		for _, sh := range fs.shares {
			if sh.root.id > after && (next == nil || sh.root.id < next.root.id) {
				next = sh
			}
		}
		fs.mu.Unlock()
		if next == nil {
			return fuse.OK
		}
		after = next.root.id
		if !add(nil, -1, &fuse.DirEntry{Name: next.name, Mode: unix.S_IFDIR, Ino: next.root.key.ino, Off: after}) {
			return fuse.OK
		}
	}
}
