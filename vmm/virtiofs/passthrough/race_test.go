// SPDX-License-Identifier: Apache-2.0

package passthrough_test

import (
	"bytes"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/paracell/paracell/vmm/virtiofs/passthrough"
)

// TestNoRaceLeadsOut exchanges a directory with a symbolic link that leads out of
// the share, and a file with one, again and again, as another cell with the same
// volume could, while clients use them in every way.
func TestNoRaceLeadsOut(t *testing.T) {
	for _, o := range []passthrough.Options{{Timeout: time.Second, MaxDescriptors: 4}, {Exclusive: true, MaxDescriptors: 4}} {
		c, base := serve(t, o)
		share := filepath.Join(base, "share")
		must(t, os.Mkdir(filepath.Join(base, "outside"), 0o777))
		must(t, os.WriteFile(filepath.Join(base, "outside/file"), []byte("secret"), 0o666))
		must(t, os.WriteFile(filepath.Join(share, "dir/file"), []byte("inside"), 0o666))
		must(t, os.Symlink("../outside", filepath.Join(share, "evil")))
		must(t, os.Symlink("../../outside/file", filepath.Join(share, "dir/evil")))
		stop := make(chan struct{})
		var all sync.WaitGroup
		exchange := func(dir, a, b string) {
			// By path it would be another directory at times.
			fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			if err != nil {
				t.Error(err)
				return
			}
			all.Go(func() {
				defer unix.Close(fd)
				for {
					select {
					case <-stop:
						return
					case <-time.After(20 * time.Microsecond): // others want the directory too
						_ = unix.Renameat2(fd, a, fd, b, unix.RENAME_EXCHANGE)
					}
				}
			})
		}
		exchange(filepath.Join(share, "dir"), "file", "evil")
		exchange(share, "dir", "evil")
		use := func() {
			var e fuse.EntryOut
			var co fuse.CreateOut
			var oo fuse.OpenOut
			var ao fuse.AttrOut
			dir, st := c.lookup(1, "dir")
			if st != fuse.OK {
				return
			}
			h := fuse.InHeader{NodeId: dir}
			for i := range 20 {
				select {
				case <-stop:
					return
				default:
				}
				name := string(rune('a' + i))
				c.fs.Mkdir(nil, &fuse.MkdirIn{InHeader: h, Mode: 0o755}, "d"+name, &e)
				c.fs.Mknod(nil, &fuse.MknodIn{InHeader: h, Mode: unix.S_IFREG | 0o644}, "f"+name, &e)
				c.fs.Create(nil, &fuse.CreateIn{InHeader: h, Flags: unix.O_RDWR, Mode: 0o644}, "c"+name, &co)
				c.fs.Symlink(nil, &h, "x", "s"+name, &e)
				c.fs.Rename(nil, &fuse.RenameIn{InHeader: h, Newdir: dir}, "f"+name, "r"+name)
				c.fs.Unlink(nil, &h, "c"+name)
				c.fs.SetXAttr(nil, &fuse.SetXAttrIn{InHeader: h, Size: 1}, "user.x", []byte("1"))
				file, st := c.lookup(dir, "file")
				if st != fuse.OK {
					continue
				}
				fh := fuse.InHeader{NodeId: file}
				if data, st := c.read(file, 0); st == fuse.OK && bytes.Equal(data, []byte("secret")) {
					t.Error("a file outside is read")
				}
				if c.fs.Open(nil, &fuse.OpenIn{InHeader: fh, Flags: unix.O_RDWR}, &oo) == fuse.OK {
					if data, st := c.read(file, oo.Fh); st == fuse.OK && bytes.Equal(data, []byte("secret")) {
						t.Error("a file outside is read through a handle")
					}
					c.fs.Write(nil, &fuse.WriteIn{InHeader: fh, Fh: oo.Fh, Size: 6}, []byte("inside"))
					c.fs.Release(nil, &fuse.ReleaseIn{InHeader: fh, Fh: oo.Fh})
				}
				c.fs.SetAttr(nil, &fuse.SetAttrIn{SetAttrInCommon: fuse.SetAttrInCommon{InHeader: fh, Valid: fuse.FATTR_MODE | fuse.FATTR_SIZE, Mode: 0o600, Size: 3}}, &ao)
				c.fs.Forget(file, 1)
			}
			c.fs.Forget(dir, 1)
		}
		for range 3 {
			all.Go(func() {
				for end := time.Now().Add(time.Second); time.Now().Before(end); {
					use()
				}
			})
		}
		time.AfterFunc(time.Second, func() { close(stop) })
		all.Wait()
		entries, err := os.ReadDir(filepath.Join(base, "outside"))
		must(t, err)
		if len(entries) != 1 {
			t.Errorf("outside there is now %v", entries)
		}
		content, err := os.ReadFile(filepath.Join(base, "outside/file"))
		must(t, err)
		fi, err := os.Stat(filepath.Join(base, "outside/file"))
		must(t, err)
		if string(content) != "secret" || fi.Mode().Perm() == 0o600 {
			t.Errorf("the file outside has %q, %v", content, fi.Mode())
		}
		if n, err := unix.Listxattr(filepath.Join(base, "outside"), nil); err != nil || n != 0 {
			t.Errorf("the directory outside has attributes: %d, %v", n, err)
		}
	}
}
