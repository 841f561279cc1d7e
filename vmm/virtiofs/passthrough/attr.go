// SPDX-License-Identifier: Apache-2.0

package passthrough

import (
	"math"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// GetAttr implements fuse.RawFileSystem.
func (fs *FS) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	n, err := fs.node(in.NodeId)
	if err != nil {
		return status(err)
	}
	if n.share == nil {
		out.Attr = fuse.Attr{Ino: fuse.FUSE_ROOT_ID, Mode: unix.S_IFDIR | 0555, Nlink: 2}
		out.SetTimeout(fs.timeout)
		return fuse.OK
	}
	return fs.getAttr(n, out)
}

func (fs *FS) getAttr(n *inode, out *fuse.AttrOut) fuse.Status {
	var st unix.Statx_t
	if err := fs.stat(n, &st); err != nil {
		return status(err)
	}
	fs.attr(&st, &out.Attr)
	out.SetTimeout(fs.timeout)
	return fuse.OK
}

// Statx implements fuse.RawFileSystem: the client asks for the birth time.
func (fs *FS) Statx(_ <-chan struct{}, in *fuse.StatxIn, out *fuse.StatxOut) fuse.Status {
	n, err := fs.real(in.NodeId)
	if err != nil {
		return status(err)
	}
	d, err := fs.path(n)
	if err != nil {
		return status(err)
	}
	defer d.put()
	var st unix.Statx_t
	if err := unix.Statx(d.fd, "", unix.AT_EMPTY_PATH, statxMask|unix.STATX_BTIME, &st); err != nil {
		return status(err)
	}
	out.Statx.FromStatx(&st)
	out.Statx.Ino = fs.ino(&st)
	out.SetTimeout(fs.timeout)
	return fuse.OK
}

// SetAttr implements fuse.RawFileSystem.
func (fs *FS) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	n, err := fs.writable(in.NodeId)
	if err != nil {
		return status(err)
	}
	if size, ok := in.GetSize(); ok {
		if err := fs.truncate(n, in, size); err != nil {
			return status(err)
		}
	}
	const byPath = fuse.FATTR_MODE | fuse.FATTR_UID | fuse.FATTR_GID | fuse.FATTR_ATIME | fuse.FATTR_MTIME
	if in.Valid&byPath != 0 {
		d, err := fs.path(n)
		if err != nil {
			return status(err)
		}
		defer d.put()
		if err := setMeta(d.fd, in); err != nil {
			return status(err)
		}
	}
	return fs.getAttr(n, out)
}

func (fs *FS) truncate(n *inode, in *fuse.SetAttrIn, size uint64) error {
	if size > math.MaxInt64 {
		return unix.EFBIG
	}
	d, err := fs.io(n, true)
	if err != nil {
		return err
	}
	defer d.put()
	if err := unix.Ftruncate(d.fd, int64(size)); err != nil {
		return err
	}
	if in.Valid&fuse.FATTR_KILL_SUIDGID != 0 {
		return killSuid(d.fd)
	}
	return nil
}

// setMeta changes owner, mode and times of the file behind an O_PATH
// descriptor, in this order: a change of the owner clears bits of the mode.
func setMeta(fd int, in *fuse.SetAttrIn) error {
	if in.Valid&(fuse.FATTR_UID|fuse.FATTR_GID) != 0 {
		uid, gid := -1, -1
		if v, ok := in.GetUID(); ok {
			uid = int(v)
		}
		if v, ok := in.GetGID(); ok {
			gid = int(v)
		}
		if err := unix.Fchownat(fd, "", uid, gid, unix.AT_EMPTY_PATH); err != nil {
			return err
		}
	}
	if mode, ok := in.GetMode(); ok {
		if err := unix.Fchmodat(fd, "", mode, unix.AT_EMPTY_PATH); err != nil {
			return err
		}
	}
	if in.Valid&(fuse.FATTR_ATIME|fuse.FATTR_MTIME) == 0 {
		return nil
	}
	ts := []unix.Timespec{
		timespec(in.Valid, fuse.FATTR_ATIME, fuse.FATTR_ATIME_NOW, in.Atime, in.Atimensec),
		timespec(in.Valid, fuse.FATTR_MTIME, fuse.FATTR_MTIME_NOW, in.Mtime, in.Mtimensec),
	}
	return unix.UtimesNanoAt(fd, "", ts, unix.AT_EMPTY_PATH)
}

func timespec(valid, set, now uint32, sec uint64, nsec uint32) unix.Timespec {
	switch {
	case valid&set == 0:
		return unix.Timespec{Nsec: unix.UTIME_OMIT}
	case valid&now != 0:
		return unix.Timespec{Nsec: unix.UTIME_NOW}
	case nsec >= 1e9:
		// UTIME_NOW and UTIME_OMIT are such values.
		nsec = 0
	}
	return unix.Timespec{Sec: int64(sec), Nsec: int64(nsec)}
}

// killSuid clears the bits that a write by an unprivileged user clears.
func killSuid(fd int) error {
	var st unix.Statx_t
	if err := statFD(fd, &st); err != nil {
		return err
	}
	mode := uint32(st.Mode) & 07777
	clean := mode &^ unix.S_ISUID
	if mode&unix.S_IXGRP != 0 {
		clean &^= unix.S_ISGID
	}
	if clean == mode {
		return nil
	}
	return unix.Fchmod(fd, clean)
}

// StatFs implements fuse.RawFileSystem.
func (fs *FS) StatFs(_ <-chan struct{}, h *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	n, err := fs.node(h.NodeId)
	if err != nil {
		return status(err)
	}
	if n.share == nil {
		*out = fuse.StatfsOut{Bsize: 4096, Frsize: 4096, NameLen: 255}
		return fuse.OK
	}
	d, err := fs.path(n)
	if err != nil {
		return status(err)
	}
	defer d.put()
	var st unix.Statfs_t
	if err := unix.Fstatfs(d.fd, &st); err != nil {
		return status(err)
	}
	*out = fuse.StatfsOut{
		Blocks: st.Blocks, Bfree: st.Bfree, Bavail: st.Bavail, Files: st.Files, Ffree: st.Ffree,
		Bsize: uint32(st.Bsize), NameLen: uint32(st.Namelen), Frsize: uint32(st.Frsize),
	}
	return fuse.OK
}
