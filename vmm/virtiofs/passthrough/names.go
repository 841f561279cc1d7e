// SPDX-License-Identifier: Apache-2.0

package passthrough

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Lookup implements fuse.RawFileSystem.
func (fs *FS) Lookup(_ <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	parent, err := fs.node(h.NodeId)
	if err != nil {
		return status(err)
	}
	if parent.share == nil {
		return fs.lookupShare(name, out)
	}
	if err := checkName(name); err != nil {
		return status(err)
	}
	fs.tree.RLock()
	defer fs.tree.RUnlock()
	dir, err := fs.pathLocked(parent)
	if err != nil {
		return status(err)
	}
	defer dir.put()
	var st unix.Statx_t
	switch err := statName(dir.fd, name, &st); err {
	case nil:
		return fs.found(parent, name, &st, out)
	case unix.ENOENT:
		if !fs.opts.Exclusive {
			return fuse.ENOENT
		}
		// Node 0 with a timeout: the client may remember that there is nothing.
		*out = fuse.EntryOut{}
		out.SetEntryTimeout(fs.timeout)
		return fuse.OK
	default:
		return status(err)
	}
}

// found tells the client about a file just seen. The caller holds tree.
func (fs *FS) found(parent *inode, name string, st *unix.Statx_t, out *fuse.EntryOut) fuse.Status {
	n, err := fs.intern(parent, name, st)
	if err != nil {
		return status(err)
	}
	fs.entry(n, st, out)
	return fuse.OK
}

// lookupShare looks for a share by name.
func (fs *FS) lookupShare(name string, out *fuse.EntryOut) fuse.Status {
	fs.mu.Lock()
	sh := fs.shares[name]
	if sh != nil {
		sh.root.lookups++
	}
	fs.mu.Unlock()
	if sh == nil {
		return fuse.ENOENT
	}
	var st unix.Statx_t
	if err := fs.stat(sh.root, &st); err != nil {
		return status(err)
	}
	fs.entry(sh.root, &st, out)
	// The share can be taken away.
	out.SetEntryTimeout(0)
	return fuse.OK
}

// parentLocked returns a directory that may be changed, and its descriptor, for
// an operation on name in it. The caller puts the descriptor and holds tree.
func (fs *FS) parentLocked(id uint64, name string) (*inode, *desc, error) {
	n, err := fs.writable(id)
	if err != nil {
		return nil, nil, err
	}
	if err := checkName(name); err != nil {
		return nil, nil, err
	}
	d, err := fs.pathLocked(n)
	return n, d, err
}

// created finishes a new file, known to be name in dir, for its caller: owner
// and mode are set if the host's defaults were different. If that fails the
// file is removed again.
func (fs *FS) created(dir int, name string, c *fuse.Caller, mode uint32, st *unix.Statx_t) error {
	if err := statName(dir, name, st); err != nil {
		return err
	}
	changed, err := own(dir, name, c, mode, st)
	if err == nil && changed {
		err = statName(dir, name, st)
	}
	if err != nil {
		flags := 0
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			flags = unix.AT_REMOVEDIR
		}
		unix.Unlinkat(dir, name, flags)
	}
	return err
}

// own gives a new file to the caller's user and group and sets its mode.
func own(dir int, name string, c *fuse.Caller, mode uint32, st *unix.Statx_t) (changed bool, err error) {
	gid := c.Gid
	if gid != st.Gid && inheritsGroup(dir, st) {
		gid = st.Gid
	}
	if c.Uid != st.Uid || gid != st.Gid {
		if err := unix.Fchownat(dir, name, int(c.Uid), int(gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return false, err
		}
		changed = true
	}
	kind := uint32(st.Mode) & unix.S_IFMT
	if kind == unix.S_IFLNK {
		return changed, nil
	}
	want := mode & 07777
	if kind == unix.S_IFDIR {
		// The host has taken this bit from the parent.
		want |= uint32(st.Mode) & unix.S_ISGID
	}
	if uint32(st.Mode)&0777 != want&0777 && defaultACL(dir) {
		// So it has the permissions.
		want = want&^0777 | uint32(st.Mode)&0777
	}
	// A change of the owner clears these bits.
	lost := changed && want&(unix.S_ISUID|unix.S_ISGID) != 0
	if uint32(st.Mode)&07777 != want || lost {
		if err := unix.Fchmodat(dir, name, want, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return changed, err
		}
		changed = true
	}
	return changed, nil
}

// defaultACL says whether new files in dir get an access control list from it.
func defaultACL(dir int) bool {
	n, err := unix.Getxattr(procPath(dir), "system.posix_acl_default", nil)
	return err == nil && n > 0
}

// masked is the mode of a new file in dir: without the bits of the caller's umask,
// unless dir has a default access control list (acl(5)).
func masked(dir int, mode, umask uint32) uint32 {
	if mode&umask&0777 == 0 || defaultACL(dir) {
		return mode
	}
	return mode &^ (umask & 0777)
}

// inheritsGroup says whether files in dir get the group of dir.
func inheritsGroup(dir int, child *unix.Statx_t) bool {
	var st unix.Statx_t
	return statFD(dir, &st) == nil && st.Mode&unix.S_ISGID != 0 && st.Gid == child.Gid
}

// Mknod implements fuse.RawFileSystem.
func (fs *FS) Mknod(_ <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	kind := in.Mode & unix.S_IFMT
	switch kind {
	case unix.S_IFREG:
		n, d, err := fs.create(&in.InHeader, name, in.Mode, in.Umask, &out.Attr, unix.O_RDWR|unix.O_EXCL)
		if err != nil {
			return status(err)
		}
		d.put()
		fs.fillCreated(n, out)
		return fuse.OK
	case unix.S_IFIFO, unix.S_IFSOCK, unix.S_IFCHR, unix.S_IFBLK:
	default:
		return fuse.EINVAL
	}
	return fs.make(&in.InHeader, name, in.Mode, in.Umask, out, func(dir int, mode uint32) error {
		return unix.Mknodat(dir, name, mode, int(in.Rdev))
	})
}

// Mkdir implements fuse.RawFileSystem.
func (fs *FS) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	return fs.make(&in.InHeader, name, in.Mode, in.Umask, out, func(dir int, mode uint32) error {
		return unix.Mkdirat(dir, name, mode&07777)
	})
}

// Symlink implements fuse.RawFileSystem.
func (fs *FS) Symlink(_ <-chan struct{}, h *fuse.InHeader, target, name string, out *fuse.EntryOut) fuse.Status {
	return fs.make(h, name, 0777, 0, out, func(dir int, _ uint32) error {
		return unix.Symlinkat(target, dir, name)
	})
}

// make is what all ways to make something other than a regular file share.
func (fs *FS) make(h *fuse.InHeader, name string, mode, umask uint32, out *fuse.EntryOut, do func(dir int, mode uint32) error) fuse.Status {
	fs.tree.RLock()
	defer fs.tree.RUnlock()
	parent, dir, err := fs.parentLocked(h.NodeId, name)
	if err != nil {
		return status(err)
	}
	defer dir.put()
	if fs.full() {
		return fuse.Status(unix.ENFILE)
	}
	mode = masked(dir.fd, mode, umask)
	if err := do(dir.fd, mode); err != nil {
		return status(err)
	}
	var st unix.Statx_t
	if err := fs.created(dir.fd, name, &h.Caller, mode, &st); err != nil {
		return status(err)
	}
	return fs.found(parent, name, &st, out)
}

// create makes or opens a regular file and returns its node, with a lookup
// counted, and a descriptor, which the caller puts.
func (fs *FS) create(h *fuse.InHeader, name string, mode, umask uint32, a *fuse.Attr, flags int) (*inode, *desc, error) {
	fs.tree.RLock()
	defer fs.tree.RUnlock()
	parent, dir, err := fs.parentLocked(h.NodeId, name)
	if err != nil {
		return nil, nil, err
	}
	defer dir.put()
	mode = masked(dir.fd, mode, umask)
	if fs.full() {
		return nil, nil, unix.ENFILE
	}
	// O_EXCL first, to know whether the file is new and ours to give away.
	fd, err := openBelow(dir.fd, name, flags|unix.O_CREAT|unix.O_EXCL, mode&07777)
	fresh := err == nil
	if err == unix.EEXIST && flags&unix.O_EXCL == 0 {
		fd, err = fs.openExisting(dir.fd, name, flags)
	}
	if err != nil {
		return nil, nil, err
	}
	var st unix.Statx_t
	if fresh {
		err = fs.created(dir.fd, name, &h.Caller, mode, &st)
	} else {
		err = statFD(fd, &st)
	}
	if err != nil {
		unix.Close(fd)
		return nil, nil, err
	}
	n, err := fs.intern(parent, name, &st)
	if err != nil {
		unix.Close(fd)
		return nil, nil, err
	}
	fs.attr(&st, a)
	if !fs.opts.Exclusive {
		return n, newDesc(fd), nil
	}
	return n, fs.descs.add(n, slotWrite, fd), nil
}

// openExisting opens a regular file by name.
func (fs *FS) openExisting(dir int, name string, flags int) (int, error) {
	p, err := openBelow(dir, name, unix.O_PATH, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(p)
	var st unix.Statx_t
	if err := statFD(p, &st); err != nil {
		return -1, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return -1, unix.EEXIST
	}
	return reopen(p, flags&^unix.O_EXCL)
}

// fillCreated completes an EntryOut whose attributes are filled in.
func (fs *FS) fillCreated(n *inode, out *fuse.EntryOut) {
	a := out.Attr
	*out = fuse.EntryOut{NodeId: n.id, Generation: 1, Attr: a}
	out.SetEntryTimeout(fs.timeout)
	out.SetAttrTimeout(fs.timeout)
}

// Link implements fuse.RawFileSystem.
func (fs *FS) Link(_ <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	target, err := fs.writable(in.Oldnodeid)
	if err != nil {
		return status(err)
	}
	fs.tree.RLock()
	defer fs.tree.RUnlock()
	parent, dir, err := fs.parentLocked(in.NodeId, name)
	if err != nil {
		return status(err)
	}
	defer dir.put()
	if parent.share != target.share {
		return fuse.EXDEV
	}
	d := fs.descs.get(target, slotPath, slotWrite, slotRead)
	if d == nil {
		if d, err = fs.pathLocked(target); err != nil {
			return status(err)
		}
	}
	defer d.put()
	// Linking a descriptor needs a capability; its name in /proc does not, but
	// cannot bring back a file without names.
	err = unix.Linkat(d.fd, "", dir.fd, name, unix.AT_EMPTY_PATH)
	if err == unix.ENOENT || err == unix.EPERM {
		err = unix.Linkat(unix.AT_FDCWD, procPath(d.fd), dir.fd, name, unix.AT_SYMLINK_FOLLOW)
	}
	if err != nil {
		return status(err)
	}
	var st unix.Statx_t
	if err := statName(dir.fd, name, &st); err != nil {
		return status(err)
	}
	return fs.found(parent, name, &st, out)
}

// Unlink implements fuse.RawFileSystem.
func (fs *FS) Unlink(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return fs.unlink(h.NodeId, name, 0)
}

// Rmdir implements fuse.RawFileSystem.
func (fs *FS) Rmdir(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return fs.unlink(h.NodeId, name, unix.AT_REMOVEDIR)
}

func (fs *FS) unlink(id uint64, name string, flags int) fuse.Status {
	fs.tree.Lock()
	defer fs.tree.Unlock()
	parent, dir, err := fs.parentLocked(id, name)
	if err != nil {
		return status(err)
	}
	defer dir.put()
	n, err := fs.losing(parent, dir.fd, name)
	if err != nil {
		return status(err)
	}
	if err := unix.Unlinkat(dir.fd, name, flags); err != nil {
		return status(err)
	}
	fs.lost(n, parent, name)
	return fuse.OK
}

// losing prepares for the loss of a name: it returns the node that has it, if
// the client knows one, after making sure that the node can outlive it. The
// caller holds tree for writing.
func (fs *FS) losing(parent *inode, dir int, name string) (*inode, error) {
	var st unix.Statx_t
	if err := statName(dir, name, &st); err != nil {
		return nil, err
	}
	n := fs.known(parent.share, &st)
	if n == nil {
		return nil, nil
	}
	if p, seen, err := fs.seenAs(n); err == nil && (p != parent || seen != name) {
		return n, nil // it has a name to be found by
	}
	return n, fs.keep(n)
}

// lost says that n has no longer this name.
func (fs *FS) lost(n, parent *inode, name string) {
	if n == nil {
		return
	}
	p, seen, err := fs.seenAs(n)
	if err == nil && p == parent && seen == name {
		fs.moved(n, nil, "")
	}
}

// Rename implements fuse.RawFileSystem.
func (fs *FS) Rename(_ <-chan struct{}, in *fuse.RenameIn, oldName, newName string) fuse.Status {
	fs.tree.Lock()
	defer fs.tree.Unlock()
	from, fromDir, err := fs.parentLocked(in.NodeId, oldName)
	if err != nil {
		return status(err)
	}
	defer fromDir.put()
	to, toDir, err := fs.parentLocked(in.Newdir, newName)
	if err != nil {
		return status(err)
	}
	defer toDir.put()
	if from.share != to.share {
		return fuse.EXDEV
	}
	var st unix.Statx_t
	if err := statName(fromDir.fd, oldName, &st); err != nil {
		return status(err)
	}
	source := fs.known(from.share, &st)
	target, err := fs.losing(to, toDir.fd, newName)
	if err != nil && err != unix.ENOENT {
		return status(err)
	}
	if err := unix.Renameat2(fromDir.fd, oldName, toDir.fd, newName, uint(in.Flags)); err != nil {
		return status(err)
	}
	if source == target && source != nil {
		return fuse.OK // two names of one file: nothing happens
	}
	if in.Flags&unix.RENAME_EXCHANGE != 0 {
		fs.moved(target, from, oldName)
	} else {
		fs.lost(target, to, newName)
	}
	fs.moved(source, to, newName)
	return fuse.OK
}

// Readlink implements fuse.RawFileSystem.
func (fs *FS) Readlink(_ <-chan struct{}, h *fuse.InHeader) ([]byte, fuse.Status) {
	n, err := fs.real(h.NodeId)
	if err != nil {
		return nil, status(err)
	}
	if n.kind != unix.S_IFLNK {
		return nil, fuse.EINVAL
	}
	d, err := fs.path(n)
	if err != nil {
		return nil, status(err)
	}
	defer d.put()
	buf := make([]byte, unix.PathMax)
	k, err := unix.Readlinkat(d.fd, "", buf)
	if err != nil {
		return nil, status(err)
	}
	return buf[:k], fuse.OK
}
