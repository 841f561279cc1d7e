// SPDX-License-Identifier: Apache-2.0

// Package passthrough serves directories of the host to a FUSE client that is
// not trusted: the guest kernel of a cell.
//
// # No way out of a share
//
// Every path operation takes one name, which is not "." or ".." and has no
// slash, relative to a descriptor of its directory, and never follows a
// symbolic link; opens go through openat2 with RESOLVE_BENEATH, NO_SYMLINKS and
// NO_MAGICLINKS as well. Only regular files and directories are ever opened for
// I/O: device nodes and FIFOs of the tree are names to the host.
//
// # Identity
//
// A node of the client is a file of the host, known by (share, device, inode).
// What has been looked up is remembered with the name under which it was seen;
// a descriptor is opened when one is needed and kept in a cache of limited size.
// Opening again by name checks that it is still the same file (ESTALE if not).
// A file that loses its name while the client knows it keeps a descriptor until
// the client forgets it.
//
// # Users
//
// The client checks permissions (default_permissions); the server acts with its
// own rights and gives new files to the caller's user and group.
//
// Lock order: locks.mu, inode.dirMu, tree, mu, descs.mu. Neither mu nor descs.mu is
// held over a host call.
package passthrough

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Options configure New.
type Options struct {
	// Exclusive says that nobody but the client changes the shares while they
	// are served. The client then caches names, attributes and data without
	// limit, writes back late, and opens files without asking.
	Exclusive bool
	// Timeout is how long the client may rely on names and attributes when
	// the shares are not exclusive.
	Timeout time.Duration
	// MaxDescriptors bounds the descriptors kept for cached files. The same
	// number again may be used by files that are open or have lost their
	// name. 0 is a quarter of the process's limit.
	MaxDescriptors int
	// MaxNodes bounds the files that the client knows; more are ENFILE. 0 is no
	// limit. Each takes some 300 bytes here.
	MaxNodes int
}

// exclusiveTimeout is as good as for ever.
const exclusiveTimeout = 30 * 24 * time.Hour

// FS serves shares. It implements fuse.RawFileSystem; all methods may be called
// by many goroutines at once.
type FS struct {
	fuse.RawFileSystem // answers what is not implemented here with ENOSYS

	opts    Options
	timeout time.Duration
	descs   *descCache

	// tree is held for writing while names change and for reading while a
	// remembered name is used.
	tree sync.RWMutex

	mu      sync.Mutex
	closed  bool
	shares  map[string]*share
	root    *inode
	byID    map[uint64]*inode
	byKey   map[key]*inode
	nextID  uint64
	handles map[uint64]*handle
	nextFh  uint64
	devices map[uint64]uint64 // host device number to a small number

	quit chan struct{} // closed by Interrupt

	locks lockTable
}

// share is one directory of the host.
type share struct {
	name     string
	readOnly bool
	fixed    bool
	keep     bool
	root     *inode
}

// Share describes a directory to be served.
type Share struct {
	// Dir is a directory of the host. It may be a symbolic link.
	Dir string
	// ReadOnly refuses every change with EROFS.
	ReadOnly bool
	// Fixed refuses changes of Dir itself with EROFS: its files can be written,
	// but none made, removed or renamed. For directories without others in them.
	Fixed bool
	// Keep keeps what has been read open while the client knows it, so that
	// the host may put other files in the place of these. For few files.
	Keep bool
}

// New serves one directory as the root.
func New(s Share, o Options) (*FS, error) {
	fs := newFS(o)
	sh, err := fs.open("", s)
	if err != nil {
		return nil, err
	}
	fs.root = sh.root
	fs.root.id = fuse.FUSE_ROOT_ID
	fs.shares[""] = sh
	fs.byID[fuse.FUSE_ROOT_ID] = fs.root
	return fs, nil
}

// NewShares serves an empty root to which shares are added.
func NewShares(o Options) *FS {
	fs := newFS(o)
	fs.root = &inode{id: fuse.FUSE_ROOT_ID, kind: unix.S_IFDIR}
	fs.byID[fuse.FUSE_ROOT_ID] = fs.root
	return fs
}

func newFS(o Options) *FS {
	if o.MaxDescriptors <= 0 {
		o.MaxDescriptors = defaultMaxDescriptors()
	}
	fs := &FS{
		RawFileSystem: fuse.NewDefaultRawFileSystem(),
		opts:          o,
		timeout:       o.Timeout,
		descs:         newDescCache(o.MaxDescriptors),
		shares:        map[string]*share{},
		byID:          map[uint64]*inode{},
		byKey:         map[key]*inode{},
		nextID:        fuse.FUSE_ROOT_ID + 1,
		handles:       map[uint64]*handle{},
		nextFh:        1,
		devices:       map[uint64]uint64{},
		quit:          make(chan struct{}),
	}
	if o.Exclusive {
		fs.timeout = exclusiveTimeout
	}
	return fs
}

func defaultMaxDescriptors() int {
	var lim unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &lim) != nil || lim.Cur < 256 {
		return 64
	}
	return int(min(lim.Cur/4, 1<<16))
}

func (fs *FS) open(name string, s Share) (*share, error) {
	dir, err := filepath.EvalSymlinks(s.Dir)
	if err != nil {
		return nil, fmt.Errorf("shared directory: %w", err)
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("shared directory %s: %w", s.Dir, err)
	}
	sh := &share{name: name, readOnly: s.ReadOnly, fixed: s.Fixed, keep: s.Keep}
	var st unix.Statx_t
	if err := statFD(fd, &st); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("shared directory %s: %w", s.Dir, err)
	}
	sh.root = &inode{share: sh, key: keyOf(sh, &st), kind: unix.S_IFDIR, isRoot: true, rootDesc: newDesc(fd)}
	return sh, nil
}

// AddShare adds a directory under a name of the root that NewShares made.
func (fs *FS) AddShare(name string, s Share) error {
	if err := checkName(name); err != nil || strings.ContainsRune(name, 0) {
		return fmt.Errorf("%q cannot be the name of a share", name)
	}
	sh, err := fs.open(name, s)
	if err != nil {
		return err
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	switch {
	case fs.closed:
		err = errors.New("file server is closed")
	case fs.root.share != nil:
		err = errors.New("the root of the file server is a directory itself")
	case fs.shares[name] != nil:
		err = fmt.Errorf("there is a share %q already", name)
	}
	if err != nil {
		fs.descs.forget(sh.root)
		return err
	}
	fs.shares[name] = sh
	fs.addLocked(sh.root)
	return nil
}

// RemoveShare takes a share away. The client gets ESTALE for all its files.
func (fs *FS) RemoveShare(name string) error {
	fs.mu.Lock()
	sh := fs.shares[name]
	if sh == nil || name == "" {
		fs.mu.Unlock()
		return fmt.Errorf("there is no share %q", name)
	}
	delete(fs.shares, name)
	var gone []*inode
	for id, n := range fs.byID {
		if n.share == sh {
			delete(fs.byID, id)
			gone = append(gone, n)
		}
	}
	for k := range fs.byKey {
		if k.share == sh {
			delete(fs.byKey, k)
		}
	}
	handles := fs.takeHandlesLocked(func(h *handle) bool { return h.node.share == sh })
	fs.mu.Unlock()

	fs.unlockNodes(gone)
	fs.closeHandles(handles)
	for _, n := range gone {
		fs.descs.forget(n)
	}
	return nil
}

// Interrupt makes requests that wait for a lock give up, now and until Restart.
func (fs *FS) Interrupt() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	select {
	case <-fs.quit:
	default:
		close(fs.quit)
	}
}

// Restart forgets what the client knows, for a client that starts anew.
func (fs *FS) Restart() {
	fs.mu.Lock()
	var gone []*inode
	for id, n := range fs.byID {
		if n == fs.root || n.share.root == n {
			n.lookups = 0
			continue
		}
		delete(fs.byID, id)
		delete(fs.byKey, n.key)
		gone = append(gone, n)
	}
	handles := fs.takeHandlesLocked(func(*handle) bool { return true })
	fs.quit = make(chan struct{})
	fs.mu.Unlock()

	fs.unlockAll()
	fs.closeHandles(handles)
	for _, n := range gone {
		fs.descs.forget(n)
	}
}

// Close closes all descriptors. No request may be under way or come after it.
func (fs *FS) Close() error {
	fs.Restart()
	fs.mu.Lock()
	fs.closed = true
	shares := fs.shares
	fs.shares = nil
	fs.mu.Unlock()
	for _, sh := range shares {
		fs.descs.forget(sh.root)
	}
	return nil
}

// MountOptions are what the FUSE connection has to negotiate for fs.
func (fs *FS) MountOptions() *fuse.MountOptions {
	o := &fuse.MountOptions{
		MaxWrite:      1 << 20,
		MaxBackground: 64,
		DisableSplice: true,
		// The client checks ACLs too; what a directory hands down to new files
		// decides whether their umask counts, which the host knows.
		EnableAcl:         true,
		ExtraCapabilities: fuse.CAP_READDIRPLUS_AUTO | fuse.CAP_HANDLE_KILLPRIV_V2 | fuse.CAP_ASYNC_DIO | fuse.CAP_DONT_MASK,
		// Passthrough of files to the host kernel cannot work over virtio.
		DisabledCapabilities: fuse.CAP_PASSTHROUGH | fuse.CAP_ALLOW_IDMAP,
	}
	if fs.opts.Exclusive {
		o.ExtraCapabilities |= fuse.CAP_WRITEBACK_CACHE | fuse.CAP_NO_OPENDIR_SUPPORT
		o.EnableSymlinkCaching = true
		o.ExplicitDataCacheControl = true
	} else {
		o.DisabledCapabilities |= fuse.CAP_NO_OPEN_SUPPORT
		o.EnableLocks = true
	}
	return o
}

// String implements fuse.RawFileSystem.
func (fs *FS) String() string { return "paracell" }

// status converts an error of a host call.
func status(err error) fuse.Status {
	if err == nil {
		return fuse.OK
	}
	var errno unix.Errno
	if errors.As(err, &errno) {
		return fuse.Status(errno)
	}
	return fuse.EIO
}
