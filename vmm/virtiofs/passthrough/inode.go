// SPDX-License-Identifier: Apache-2.0

package passthrough

import (
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// key is the identity of a file on the host. The share is part of it because
// the same file can be served twice with different rights.
type key struct {
	share    *share
	dev, ino uint64
}

// inode is a file that the client knows.
type inode struct {
	id    uint64
	share *share // nil: the root above all shares
	key   key
	kind  uint32 // S_IFMT bits; a file never changes them

	isRoot bool // of a share

	// Guarded by FS.mu.
	lookups uint64
	parent  *inode // where it was last seen; nil for roots and nameless files
	name    string

	// Guarded by descCache.mu.
	rootDesc  *desc // O_PATH, of the root of a share; not counted as cached
	cached    [numSlots]*cached
	pinned    bool
	forgotten bool

	dirMu sync.Mutex // serialises use of slotDir
}

func keyOf(sh *share, st *unix.Statx_t) key {
	return key{share: sh, dev: unix.Mkdev(st.Dev_major, st.Dev_minor), ino: st.Ino}
}

const statxMask = unix.STATX_BASIC_STATS

func statFD(fd int, st *unix.Statx_t) error {
	return unix.Statx(fd, "", unix.AT_EMPTY_PATH, statxMask, st)
}

func statName(dirfd int, name string, st *unix.Statx_t) error {
	return unix.Statx(dirfd, name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, statxMask, st)
}

// checkName refuses what is not the name of one directory entry.
func checkName(name string) error {
	switch {
	case name == "" || name == "." || name == ".." || strings.IndexByte(name, '/') >= 0:
		return unix.EINVAL
	case len(name) > 255:
		return unix.ENAMETOOLONG
	}
	return nil
}

// openBelow opens one name in a directory, whatever the name is.
func openBelow(dirfd int, name string, flags int, mode uint32) (int, error) {
	how := unix.OpenHow{
		Flags:   uint64(flags | unix.O_NOFOLLOW | unix.O_CLOEXEC),
		Mode:    uint64(mode),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	for {
		fd, err := unix.Openat2(dirfd, name, &how)
		// EAGAIN: a rename or mount somewhere made "beneath" uncertain.
		if err != unix.EINTR && err != unix.EAGAIN {
			return fd, err
		}
	}
}

// reopen opens the file behind an O_PATH descriptor for I/O. The caller has
// made sure that it is a regular file or a directory.
func reopen(pathFD, flags int) (int, error) {
	for {
		fd, err := unix.Open(procPath(pathFD), flags|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// procPath names an open descriptor for calls that only take paths.
func procPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// node finds a node by its number; the number comes from the guest.
func (fs *FS) node(id uint64) (*inode, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n := fs.byID[id]
	if n == nil {
		return nil, unix.ESTALE
	}
	return n, nil
}

// real finds a node that is a file of the host.
func (fs *FS) real(id uint64) (*inode, error) {
	n, err := fs.node(id)
	if err == nil && n.share == nil {
		err = unix.EPERM
	}
	return n, err
}

// writable finds a node that is a file of the host and may be changed.
func (fs *FS) writable(id uint64) (*inode, error) {
	n, err := fs.node(id)
	if err == nil && (n.share == nil || n.share.readOnly || n.share.fixed && n.isRoot) {
		err = unix.EROFS
	}
	return n, err
}

// intern finds or makes the node of a file just seen as name in parent, and
// counts a lookup by the client; it fails when the client knows too many files.
// The caller holds tree.
func (fs *FS) intern(parent *inode, name string, st *unix.Statx_t) (*inode, error) {
	k := keyOf(parent.share, st)
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n := fs.byKey[k]
	if n != nil && n.kind != uint32(st.Mode)&unix.S_IFMT {
		// The host has used the inode number again.
		delete(fs.byKey, k)
		n = nil
	}
	if n == nil {
		root := parent.share.root
		switch {
		case root.key == k:
			n = root
		case fs.fullLocked():
			return nil, unix.ENFILE
		default:
			n = &inode{
				share: parent.share, key: k, kind: uint32(st.Mode) & unix.S_IFMT,
				pinned: parent.share.keep,
			}
			fs.addLocked(n)
		}
	}
	if !n.isRoot {
		n.parent, n.name = parent, name
	}
	n.lookups++
	return n, nil
}

// full says whether the client knows as many files as it may: it makes no more then.
func (fs *FS) full() bool {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.fullLocked()
}

func (fs *FS) fullLocked() bool { return fs.opts.MaxNodes > 0 && len(fs.byID) >= fs.opts.MaxNodes }

func (fs *FS) addLocked(n *inode) {
	n.id = fs.nextID
	fs.nextID++
	fs.byID[n.id] = n
	fs.byKey[n.key] = n
}

// known finds the node of a file on the host, if the client knows it.
func (fs *FS) known(sh *share, st *unix.Statx_t) *inode {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.byKey[keyOf(sh, st)]
}

// seenAs returns under what name n was last seen.
func (fs *FS) seenAs(n *inode) (parent *inode, name string, err error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if n.parent == nil {
		return nil, "", unix.ESTALE
	}
	return n.parent, n.name, nil
}

// moved says that n has a new name, or none. The caller holds tree for writing.
func (fs *FS) moved(n, parent *inode, name string) {
	if n == nil || n.isRoot {
		return
	}
	fs.mu.Lock()
	n.parent, n.name = parent, name
	fs.mu.Unlock()
}

// Forget implements fuse.RawFileSystem.
func (fs *FS) Forget(id, lookups uint64) {
	fs.mu.Lock()
	n := fs.byID[id]
	if n == nil || n == fs.root {
		fs.mu.Unlock()
		return
	}
	n.lookups -= min(n.lookups, lookups)
	if n.lookups > 0 || n.isRoot {
		fs.mu.Unlock()
		return
	}
	delete(fs.byID, id)
	if fs.byKey[n.key] == n {
		delete(fs.byKey, n.key)
	}
	fs.mu.Unlock()
	fs.descs.forget(n)
}

// path returns a descriptor of n for calls on what it is, not on its content;
// it is an O_PATH one while n has a name. The caller puts it.
func (fs *FS) path(n *inode) (*desc, error) {
	if d := fs.descs.get(n, slotPath); d != nil {
		return d, nil
	}
	fs.tree.RLock()
	defer fs.tree.RUnlock()
	d, err := fs.pathLocked(n)
	if err == unix.ESTALE {
		// A file without a name lives on in what it was opened with, which
		// serves wherever an O_PATH descriptor does.
		if open := fs.descs.get(n, slotWrite, slotRead); open != nil {
			return open, nil
		}
	}
	return d, err
}

// pathLocked is path for callers that hold tree.
func (fs *FS) pathLocked(n *inode) (*desc, error) {
	if d := fs.descs.get(n, slotPath); d != nil {
		return d, nil
	}
	parent, name, err := fs.seenAs(n)
	if err != nil {
		return nil, err
	}
	dir, err := fs.pathLocked(parent)
	if err != nil {
		return nil, err
	}
	defer dir.put()
	fd, err := openBelow(dir.fd, name, unix.O_PATH, 0)
	if err != nil {
		if err == unix.ENOENT {
			err = unix.ESTALE
		}
		return nil, err
	}
	var st unix.Statx_t
	if err := statFD(fd, &st); err != nil {
		unix.Close(fd)
		return nil, err
	}
	if keyOf(n.share, &st) != n.key || uint32(st.Mode)&unix.S_IFMT != n.kind {
		unix.Close(fd)
		return nil, unix.ESTALE
	}
	return fs.descs.add(n, slotPath, fd), nil
}

// io returns a descriptor of a regular file for I/O, which the caller puts.
func (fs *FS) io(n *inode, write bool) (*desc, error) {
	if n.kind != unix.S_IFREG {
		if n.kind == unix.S_IFDIR {
			return nil, unix.EISDIR
		}
		// Opening a device or a FIFO of the host would have effects.
		return nil, unix.EACCES
	}
	if d := fs.descs.get(n, slotWrite); d != nil {
		return d, nil
	}
	flags, s := unix.O_RDONLY, slotRead
	if write {
		flags, s = unix.O_RDWR, slotWrite
	} else if d := fs.descs.get(n, slotRead); d != nil {
		return d, nil
	}
	p, err := fs.path(n)
	if err != nil {
		return nil, err
	}
	defer p.put()
	fd, err := reopen(p.fd, flags)
	if err != nil {
		return nil, err
	}
	d := fs.descs.add(n, s, fd)
	if write {
		// On overlayfs a descriptor from before the copy-up shows the old file.
		fs.descs.drop(n, slotRead)
	}
	return d, nil
}

// dir returns a directory stream of n, which the caller puts and uses under
// n.dirMu.
func (fs *FS) dir(n *inode) (*desc, error) {
	if n.kind != unix.S_IFDIR {
		return nil, unix.ENOTDIR
	}
	if d := fs.descs.get(n, slotDir); d != nil {
		return d, nil
	}
	p, err := fs.path(n)
	if err != nil {
		return nil, err
	}
	defer p.put()
	fd, err := openBelow(p.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	return fs.descs.add(n, slotDir, fd), nil
}

// stat reads the attributes of n.
func (fs *FS) stat(n *inode, st *unix.Statx_t) error {
	if d := fs.descs.get(n, slotWrite, slotPath, slotRead, slotDir); d != nil {
		defer d.put()
		return statFD(d.fd, st)
	}
	fs.tree.RLock()
	defer fs.tree.RUnlock()
	parent, name, err := fs.seenAs(n)
	if err != nil {
		return err
	}
	dir, err := fs.pathLocked(parent)
	if err != nil {
		return err
	}
	defer dir.put()
	if err := statName(dir.fd, name, st); err != nil {
		if err == unix.ENOENT {
			err = unix.ESTALE
		}
		return err
	}
	if keyOf(n.share, st) != n.key {
		return unix.ESTALE
	}
	return nil
}

// keep makes sure that n outlives the name that it is about to lose. The
// caller holds tree for writing.
func (fs *FS) keep(n *inode) error {
	if n == nil || n.isRoot {
		return nil
	}
	if d := fs.descs.get(n, slotWrite, slotPath, slotRead); d != nil {
		d.put()
	} else if d, err := fs.pathLocked(n); err != nil {
		if err == unix.ESTALE {
			return nil // it was already lost
		}
		return err
	} else {
		d.put()
	}
	for range pinTries {
		if fs.descs.pin(n) {
			return nil
		}
		// The client forgets most files right after it has removed them; it
		// may just be late.
		time.Sleep(time.Millisecond)
	}
	return unix.ENFILE
}

// pinTries bounds the time that a removal waits for the client to forget
// earlier ones, in milliseconds.
const pinTries = 1000

// attr fills in what the client sees of a file.
func (fs *FS) attr(st *unix.Statx_t, a *fuse.Attr) {
	*a = fuse.Attr{
		Ino:       fs.ino(st),
		Size:      st.Size,
		Blocks:    st.Blocks,
		Atime:     uint64(st.Atime.Sec),
		Mtime:     uint64(st.Mtime.Sec),
		Ctime:     uint64(st.Ctime.Sec),
		Atimensec: st.Atime.Nsec,
		Mtimensec: st.Mtime.Nsec,
		Ctimensec: st.Ctime.Nsec,
		Mode:      uint32(st.Mode),
		Nlink:     st.Nlink,
		Owner:     fuse.Owner{Uid: st.Uid, Gid: st.Gid},
		Rdev:      uint32(unix.Mkdev(st.Rdev_major, st.Rdev_minor) & math.MaxUint32),
		Blksize:   st.Blksize,
	}
}

// ino is the inode number for the client. All files of a mount have one device
// number there, so files of different host devices must not collide: those of
// the first device keep their numbers.
func (fs *FS) ino(st *unix.Statx_t) uint64 {
	dev := unix.Mkdev(st.Dev_major, st.Dev_minor)
	fs.mu.Lock()
	i, ok := fs.devices[dev]
	if !ok {
		i = uint64(len(fs.devices))
		fs.devices[dev] = i
	}
	fs.mu.Unlock()
	return st.Ino ^ i<<48
}

// entry fills in the answer to a lookup.
func (fs *FS) entry(n *inode, st *unix.Statx_t, out *fuse.EntryOut) {
	*out = fuse.EntryOut{NodeId: n.id, Generation: 1}
	out.SetEntryTimeout(fs.timeout)
	out.SetAttrTimeout(fs.timeout)
	fs.attr(st, &out.Attr)
}
