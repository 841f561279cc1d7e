// SPDX-License-Identifier: Apache-2.0

package passthrough_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/paracell/paracell/vmm/virtiofs/passthrough"
)

// client speaks to the server directly and is not bound by what a kernel does.
type client struct {
	t  *testing.T
	fs *passthrough.FS
}

func (c client) lookup(dir uint64, name string) (uint64, fuse.Status) {
	c.t.Helper()
	var out fuse.EntryOut
	st := c.fs.Lookup(nil, &fuse.InHeader{NodeId: dir}, name, &out)
	return out.NodeId, st
}

func (c client) mustLookup(dir uint64, name string) uint64 {
	c.t.Helper()
	id, st := c.lookup(dir, name)
	if st != fuse.OK {
		c.t.Fatalf("lookup of %q: %v", name, st)
	}
	return id
}

func (c client) read(node, fh uint64) ([]byte, fuse.Status) {
	r, st := c.fs.Read(nil, &fuse.ReadIn{InHeader: fuse.InHeader{NodeId: node}, Fh: fh, Size: 100}, nil)
	if st != fuse.OK {
		return nil, st
	}
	defer r.Done()
	return r.Bytes(make([]byte, 100))
}

// serve makes base/share, to be served, and base/secret, which must not be.
func serve(t *testing.T, o passthrough.Options) (c client, base string) {
	t.Helper()
	base = t.TempDir()
	must(t, os.Mkdir(filepath.Join(base, "share"), 0o755))
	must(t, os.WriteFile(filepath.Join(base, "secret"), []byte("secret"), 0o644))
	must(t, os.WriteFile(filepath.Join(base, "share/open"), []byte("open"), 0o644))
	must(t, os.Mkdir(filepath.Join(base, "share/dir"), 0o755))
	fs, err := passthrough.New(passthrough.Share{Dir: filepath.Join(base, "share")}, o)
	must(t, err)
	t.Cleanup(func() { fs.Close() })
	return client{t, fs}, base
}

// serveFile serves a directory with one file, f, and looks it up.
func serveFile(t *testing.T, share passthrough.Share) (c client, base string, f uint64) {
	t.Helper()
	base = t.TempDir()
	must(t, os.WriteFile(filepath.Join(base, "f"), []byte("x"), 0o644))
	share.Dir = base
	fs, err := passthrough.New(share, passthrough.Options{})
	must(t, err)
	t.Cleanup(func() { fs.Close() })
	c = client{t, fs}
	return c, base, c.mustLookup(1, "f")
}

func TestNoNameLeadsOut(t *testing.T) {
	c, _ := serve(t, passthrough.Options{Exclusive: true})
	dir := c.mustLookup(1, "dir")
	bad := []string{"", ".", "..", "../secret", "dir/..", "/", "/etc", "dir/../../secret", "./open"}
	for _, name := range bad {
		for _, node := range []uint64{1, dir} {
			h := fuse.InHeader{NodeId: node}
			if id, st := c.lookup(node, name); st != fuse.EINVAL {
				t.Errorf("lookup of %q: node %d, %v", name, id, st)
			}
			var e fuse.EntryOut
			var co fuse.CreateOut
			for op, st := range map[string]fuse.Status{
				"mkdir":   c.fs.Mkdir(nil, &fuse.MkdirIn{InHeader: h, Mode: 0o755}, name, &e),
				"mknod":   c.fs.Mknod(nil, &fuse.MknodIn{InHeader: h, Mode: unix.S_IFREG}, name, &e),
				"fifo":    c.fs.Mknod(nil, &fuse.MknodIn{InHeader: h, Mode: unix.S_IFIFO}, name, &e),
				"symlink": c.fs.Symlink(nil, &h, "x", name, &e),
				"unlink":  c.fs.Unlink(nil, &h, name),
				"rmdir":   c.fs.Rmdir(nil, &h, name),
				"rename":  c.fs.Rename(nil, &fuse.RenameIn{InHeader: h, Newdir: 1}, name, "x"),
				"rename2": c.fs.Rename(nil, &fuse.RenameIn{InHeader: h, Newdir: 1}, "x", name),
				"link":    c.fs.Link(nil, &fuse.LinkIn{InHeader: h, Oldnodeid: dir}, name, &e),
				"create":  c.fs.Create(nil, &fuse.CreateIn{InHeader: h}, name, &co),
			} {
				if st != fuse.EINVAL && !(op == "create" && st == fuse.ENOSYS) {
					t.Errorf("%s of %q: %v", op, name, st)
				}
			}
		}
	}
}

// A directory of the client is swapped for a symbolic link on the host.
func TestSymlinksAreNotFollowed(t *testing.T) {
	for _, exclusive := range []bool{true, false} {
		c, base := serve(t, passthrough.Options{Exclusive: exclusive})
		share := filepath.Join(base, "share")
		must(t, os.Symlink("../secret", filepath.Join(share, "ln")))
		ln := c.mustLookup(1, "ln")
		if data, st := c.read(ln, 0); st == fuse.OK {
			t.Errorf("a symbolic link reads %q", data)
		}
		var out fuse.OpenOut
		if st := c.fs.Open(nil, &fuse.OpenIn{InHeader: fuse.InHeader{NodeId: ln}}, &out); st == fuse.OK {
			t.Error("a symbolic link can be opened")
		}

		dir := c.mustLookup(1, "dir")
		must(t, os.Rename(filepath.Join(share, "dir"), filepath.Join(base, "away")))
		must(t, os.Symlink("..", filepath.Join(share, "dir")))
		if id, st := c.lookup(dir, "secret"); st != fuse.Status(unix.ESTALE) {
			t.Errorf("through a swapped directory: node %d, %v", id, st)
		}

		open := c.mustLookup(1, "open")
		must(t, os.Remove(filepath.Join(share, "open")))
		must(t, os.Symlink("../secret", filepath.Join(share, "open")))
		if data, st := c.read(open, 0); st == fuse.OK {
			t.Errorf("a swapped file reads %q", data)
		}
	}
}

// Opening a device or FIFO of the host would act on the host.
func TestSpecialFilesAreNotOpened(t *testing.T) {
	for _, exclusive := range []bool{true, false} {
		c, base := serve(t, passthrough.Options{Exclusive: exclusive})
		fifo := filepath.Join(base, "share/fifo")
		must(t, unix.Mkfifo(fifo, 0o666))
		names := []string{"fifo"}
		if os.Getuid() == 0 {
			must(t, unix.Mknod(filepath.Join(base, "share/zero"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))))
			names = append(names, "zero")
		}
		for _, name := range names {
			n := c.mustLookup(1, name)
			h := fuse.InHeader{NodeId: n}
			done := make(chan bool)
			go func() {
				defer close(done)
				var out fuse.OpenOut
				if st := c.fs.Open(nil, &fuse.OpenIn{InHeader: h, Flags: unix.O_RDWR}, &out); st == fuse.OK {
					t.Errorf("%s: opened", name)
				}
				if _, st := c.read(n, 0); st == fuse.OK {
					t.Errorf("%s: read", name)
				}
				var a fuse.AttrOut
				in := fuse.SetAttrIn{SetAttrInCommon: fuse.SetAttrInCommon{InHeader: h, Valid: fuse.FATTR_SIZE}}
				if st := c.fs.SetAttr(nil, &in, &a); st == fuse.OK {
					t.Errorf("%s: truncated", name)
				}
				var co fuse.CreateOut
				if st := c.fs.Create(nil, &fuse.CreateIn{InHeader: fuse.InHeader{NodeId: 1}, Flags: unix.O_RDWR}, name, &co); st == fuse.OK {
					t.Errorf("%s: opened by create", name)
				}
			}()
			select {
			case <-done:
			case <-time.After(5 * time.Second):
				t.Fatalf("%s: the server hangs in an open", name)
			}
		}
	}
}

func TestReadOnlyShare(t *testing.T) {
	c, _, f := serveFile(t, passthrough.Share{ReadOnly: true})
	fs := c.fs
	root, file := fuse.InHeader{NodeId: 1}, fuse.InHeader{NodeId: f}
	var e fuse.EntryOut
	var co fuse.CreateOut
	var oo fuse.OpenOut
	var a fuse.AttrOut
	_, written := fs.Writev(nil, &fuse.WriteIn{InHeader: file, Size: 1}, [][]byte{{1}})
	_, copied := fs.CopyFileRange(nil, &fuse.CopyFileRangeIn{InHeader: file, NodeIdOut: f, Len: 1})
	for op, st := range map[string]fuse.Status{
		"mkdir":     fs.Mkdir(nil, &fuse.MkdirIn{InHeader: root}, "n", &e),
		"mknod":     fs.Mknod(nil, &fuse.MknodIn{InHeader: root, Mode: unix.S_IFREG}, "n", &e),
		"symlink":   fs.Symlink(nil, &root, "x", "n", &e),
		"link":      fs.Link(nil, &fuse.LinkIn{InHeader: root, Oldnodeid: f}, "n", &e),
		"unlink":    fs.Unlink(nil, &root, "f"),
		"rename":    fs.Rename(nil, &fuse.RenameIn{InHeader: root, Newdir: 1}, "f", "n"),
		"create":    fs.Create(nil, &fuse.CreateIn{InHeader: root, Flags: unix.O_RDWR}, "n", &co),
		"tmpfile":   fs.Tmpfile(nil, &fuse.CreateIn{InHeader: root, Flags: unix.O_RDWR}, &co),
		"open":      fs.Open(nil, &fuse.OpenIn{InHeader: file, Flags: unix.O_WRONLY}, &oo),
		"truncate":  fs.Open(nil, &fuse.OpenIn{InHeader: file, Flags: unix.O_TRUNC}, &oo),
		"setattr":   fs.SetAttr(nil, &fuse.SetAttrIn{SetAttrInCommon: fuse.SetAttrInCommon{InHeader: file, Valid: fuse.FATTR_MODE}}, &a),
		"xattr":     fs.SetXAttr(nil, &fuse.SetXAttrIn{InHeader: file}, "user.x", nil),
		"rmxattr":   fs.RemoveXAttr(nil, &file, "user.x"),
		"fallocate": fs.Fallocate(nil, &fuse.FallocateIn{InHeader: file, Length: 1}),
		"write":     written,
		"copy":      copied,
	} {
		if st != fuse.EROFS {
			t.Errorf("%s: %v, want EROFS", op, st)
		}
	}
	if data, st := c.read(f, 0); st != fuse.OK || string(data) != "x" {
		t.Errorf("read %q, %v", data, st)
	}
}

// A write to a file that is open for reading may carry the wish to clear the
// set-user-ID bit, which needs no descriptor for writing.
func TestReadOnlyShareKeepsModes(t *testing.T) {
	c, base, f := serveFile(t, passthrough.Share{ReadOnly: true})
	fs, path := c.fs, filepath.Join(base, "f")
	must(t, os.Chmod(path, 0o755|os.ModeSetuid))
	h := fuse.InHeader{NodeId: f}
	var out fuse.OpenOut
	if st := fs.Open(nil, &fuse.OpenIn{InHeader: h}, &out); st != fuse.OK {
		t.Fatal(st)
	}
	if _, st := fs.Writev(nil, &fuse.WriteIn{InHeader: h, Fh: out.Fh, WriteFlags: fuse.WRITE_KILL_SUIDGID}, nil); st != fuse.EROFS {
		t.Errorf("an empty write: %v, want EROFS", st)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode()&os.ModeSetuid == 0 {
		t.Errorf("mode %v, %v: the bit is gone", fi.Mode(), err)
	}
	fs.Release(nil, &fuse.ReleaseIn{Fh: out.Fh})
}

// The directory of a fixed share stays as it is: it is on whatever file system the
// host happens to have it on.
func TestFixedShare(t *testing.T) {
	c, base, f := serveFile(t, passthrough.Share{Fixed: true})
	fs := c.fs
	root, file := fuse.InHeader{NodeId: 1}, fuse.InHeader{NodeId: f}
	var e fuse.EntryOut
	var co fuse.CreateOut
	var a fuse.AttrOut
	for op, st := range map[string]fuse.Status{
		"mkdir":   fs.Mkdir(nil, &fuse.MkdirIn{InHeader: root}, "n", &e),
		"mknod":   fs.Mknod(nil, &fuse.MknodIn{InHeader: root, Mode: unix.S_IFREG}, "n", &e),
		"symlink": fs.Symlink(nil, &root, "x", "n", &e),
		"link":    fs.Link(nil, &fuse.LinkIn{InHeader: root, Oldnodeid: f}, "n", &e),
		"unlink":  fs.Unlink(nil, &root, "f"),
		"rename":  fs.Rename(nil, &fuse.RenameIn{InHeader: root, Newdir: 1}, "f", "n"),
		"create":  fs.Create(nil, &fuse.CreateIn{InHeader: root, Flags: unix.O_RDWR}, "n", &co),
		"open":    fs.Create(nil, &fuse.CreateIn{InHeader: root, Flags: unix.O_RDWR}, "f", &co),
		"tmpfile": fs.Tmpfile(nil, &fuse.CreateIn{InHeader: root, Flags: unix.O_RDWR}, &co),
		"setattr": fs.SetAttr(nil, &fuse.SetAttrIn{SetAttrInCommon: fuse.SetAttrInCommon{InHeader: root, Valid: fuse.FATTR_MODE}}, &a),
		"xattr":   fs.SetXAttr(nil, &fuse.SetXAttrIn{InHeader: root}, "user.x", nil),
	} {
		if st != fuse.EROFS {
			t.Errorf("%s: %v, want EROFS", op, st)
		}
	}
	if n, st := fs.Writev(nil, &fuse.WriteIn{InHeader: file, Size: 1}, [][]byte{{'y'}}); n != 1 || st != fuse.OK {
		t.Errorf("write to the file: %d, %v", n, st)
	}
	if st := fs.SetAttr(nil, &fuse.SetAttrIn{SetAttrInCommon: fuse.SetAttrInCommon{InHeader: file, Valid: fuse.FATTR_MODE, Mode: 0o600}}, &a); st != fuse.OK {
		t.Errorf("mode of the file: %v", st)
	}
	if names, err := os.ReadDir(base); err != nil || len(names) != 1 {
		t.Errorf("%v, %v", names, err)
	}
}

// The locks of a share end with it: nobody closes its files any more.
func TestRemovedShareUnlocks(t *testing.T) {
	base := t.TempDir()
	path := filepath.Join(base, "f")
	must(t, os.WriteFile(path, []byte("x"), 0o644))
	fs := passthrough.NewShares(passthrough.Options{})
	defer fs.Close()
	must(t, fs.AddShare("s", passthrough.Share{Dir: base}))
	c := client{t, fs}
	f := c.mustLookup(c.mustLookup(1, "s"), "f")
	for owner, flags := range []uint32{0, fuse.LK_FLOCK} {
		lock := fuse.LkIn{InHeader: fuse.InHeader{NodeId: f}, Owner: uint64(owner), LkFlags: flags, Lk: fuse.FileLock{Typ: unix.F_WRLCK, End: 10}}
		if st := fs.SetLk(nil, &lock); st != fuse.OK {
			t.Fatal(st)
		}
	}
	must(t, fs.RemoveShare("s"))
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	defer file.Close()
	must(t, unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB))
	must(t, unix.FcntlFlock(file.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Whence: unix.SEEK_SET}))
}

func TestUnknownNodesAndHandles(t *testing.T) {
	c, _ := serve(t, passthrough.Options{})
	for _, id := range []uint64{0, 99, ^uint64(0)} {
		if _, st := c.lookup(id, "open"); st != fuse.Status(unix.ESTALE) {
			t.Errorf("node %d: %v", id, st)
		}
		c.fs.Forget(id, ^uint64(0))
	}
	open := c.mustLookup(1, "open")
	if _, st := c.read(open, 77); st != fuse.EBADF {
		t.Errorf("handle 77: %v", st)
	}
	var out fuse.OpenOut
	if st := c.fs.Open(nil, &fuse.OpenIn{InHeader: fuse.InHeader{NodeId: open}}, &out); st != fuse.OK {
		t.Fatal(st)
	}
	if _, st := c.read(c.mustLookup(1, "dir"), out.Fh); st != fuse.EBADF {
		t.Errorf("a handle of another node: %v", st)
	}
	c.fs.Forget(open, 1<<63)
	if _, st := c.read(open, 0); st != fuse.Status(unix.ESTALE) {
		t.Errorf("a forgotten node: %v", st)
	}
	c.fs.Release(nil, &fuse.ReleaseIn{Fh: out.Fh})
	c.fs.Release(nil, &fuse.ReleaseIn{Fh: out.Fh})
}

func TestShares(t *testing.T) {
	base := t.TempDir()
	for _, d := range []string{"a", "b"} {
		must(t, os.Mkdir(filepath.Join(base, d), 0o755))
		must(t, os.WriteFile(filepath.Join(base, d, "f"), []byte(d), 0o644))
	}
	fs := passthrough.NewShares(passthrough.Options{})
	defer fs.Close()
	c := client{t, fs}
	if _, st := c.lookup(1, "one"); st != fuse.ENOENT {
		t.Errorf("a share that is not there: %v", st)
	}
	must(t, fs.AddShare("one", passthrough.Share{Dir: filepath.Join(base, "a")}))
	must(t, fs.AddShare("two", passthrough.Share{Dir: filepath.Join(base, "b"), ReadOnly: true}))
	if fs.AddShare("two", passthrough.Share{Dir: base}) == nil || fs.AddShare("../x", passthrough.Share{Dir: base}) == nil ||
		fs.AddShare("none", passthrough.Share{Dir: filepath.Join(base, "none")}) == nil {
		t.Error("a bad share was accepted")
	}
	one, two := c.mustLookup(1, "one"), c.mustLookup(1, "two")
	f := c.mustLookup(one, "f")
	c.mustLookup(two, "f")
	var e fuse.EntryOut
	if st := fs.Rename(nil, &fuse.RenameIn{InHeader: fuse.InHeader{NodeId: one}, Newdir: two}, "f", "g"); st != fuse.EROFS {
		t.Errorf("rename to a read-only share: %v", st)
	}
	if st := fs.Mkdir(nil, &fuse.MkdirIn{InHeader: fuse.InHeader{NodeId: 1}}, "n", &e); st != fuse.EROFS {
		t.Errorf("mkdir above the shares: %v", st)
	}
	list := fuse.NewDirEntryList(make([]byte, 4096), 0)
	if st := fs.ReadDir(nil, &fuse.ReadIn{InHeader: fuse.InHeader{NodeId: 1}, Size: 4096}, list); st != fuse.OK {
		t.Error(st)
	}
	if entries, err := fuse.ParseDirEntries(list.Bytes()); err != nil || len(entries) != 2 || entries[0].Name != "one" {
		t.Errorf("listed %v, %v", entries, err)
	}
	must(t, fs.RemoveShare("one"))
	for _, id := range []uint64{one, f} {
		if _, st := c.read(id, 0); st != fuse.Status(unix.ESTALE) {
			t.Errorf("a file of a removed share: %v", st)
		}
	}
	if fs.RemoveShare("one") == nil {
		t.Error("a share was removed twice")
	}
}

// A client that forgets nothing learns of no more files than it may.
func TestNodesAreBounded(t *testing.T) {
	base := t.TempDir()
	name := func(i int) string { return string(rune('a' + i)) }
	for i := range 20 {
		must(t, os.WriteFile(filepath.Join(base, name(i)), nil, 0o644))
	}
	for _, exclusive := range []bool{true, false} {
		fs, err := passthrough.New(passthrough.Share{Dir: base}, passthrough.Options{Exclusive: exclusive, MaxNodes: 10})
		must(t, err)
		c := client{t, fs}
		first := c.mustLookup(1, name(0))
		known := 1
		for i := 1; i < 20; i++ {
			if _, st := c.lookup(1, name(i)); st == fuse.OK {
				known++
			} else if st != fuse.Status(unix.ENFILE) {
				t.Errorf("%s: %v", name(i), st)
			}
		}
		if known != 9 { // and the root
			t.Errorf("%d files are known", known)
		}
		var e fuse.EntryOut
		in := fuse.MknodIn{InHeader: fuse.InHeader{NodeId: 1}, Mode: unix.S_IFREG}
		if st := fs.Mknod(nil, &in, "new", &e); st != fuse.Status(unix.ENFILE) {
			t.Errorf("a new file: %v", st)
		}
		if st := fs.Mkdir(nil, &fuse.MkdirIn{InHeader: fuse.InHeader{NodeId: 1}}, "new", &e); st != fuse.Status(unix.ENFILE) {
			t.Errorf("a new folder: %v", st)
		}
		if _, err := os.Lstat(filepath.Join(base, "new")); !os.IsNotExist(err) {
			t.Errorf("it was made: %v", err)
		}
		list := fuse.NewDirEntryList(make([]byte, 64<<10), 0)
		if st := fs.ReadDirPlus(nil, &fuse.ReadIn{InHeader: fuse.InHeader{NodeId: 1}, Size: 64 << 10}, list); st != fuse.OK {
			t.Errorf("the folder cannot be listed: %v", st)
		}
		c.mustLookup(1, name(0)) // what is known stays
		fs.Forget(first, 1<<40)
		c.mustLookup(1, name(19))
		must(t, fs.Close())
	}
}

// Nothing is left open behind a server.
func TestDescriptorsAreClosed(t *testing.T) {
	count := func() int {
		e, err := os.ReadDir("/proc/self/fd")
		must(t, err)
		return len(e)
	}
	before := count()
	base := t.TempDir()
	for i := range 50 {
		must(t, os.WriteFile(filepath.Join(base, string(rune('A'+i))), []byte("x"), 0o644))
	}
	for _, exclusive := range []bool{true, false} {
		fs, err := passthrough.New(passthrough.Share{Dir: base}, passthrough.Options{Exclusive: exclusive, MaxDescriptors: 20})
		must(t, err)
		c := client{t, fs}
		for i := range 50 {
			n := c.mustLookup(1, string(rune('A'+i)))
			if _, st := c.read(n, 0); st != fuse.OK {
				t.Fatal(st)
			}
			var out fuse.OpenOut
			fs.Open(nil, &fuse.OpenIn{InHeader: fuse.InHeader{NodeId: n}}, &out)
			fs.SetLk(nil, &fuse.LkIn{InHeader: fuse.InHeader{NodeId: n}, Owner: 1, Lk: fuse.FileLock{Typ: unix.F_RDLCK, End: 10}})
		}
		if n := count(); n > before+2*20+5 {
			t.Errorf("%d descriptors are open with a limit of twice 20", n-before)
		}
		must(t, fs.Close())
	}
	if after := count(); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}
