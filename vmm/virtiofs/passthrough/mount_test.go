// SPDX-License-Identifier: Apache-2.0

package passthrough_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/paracell/paracell/internal/testenv"
	"github.com/paracell/paracell/vmm/virtiofs/passthrough"
)

// mounted is a passthrough file system mounted by the host's own FUSE client,
// the same code that the guest kernel has.
type mounted struct {
	src, mnt string
	fs       *passthrough.FS
}

func mount(t *testing.T, o passthrough.Options) mounted {
	t.Helper()
	testenv.Root(t)
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip("needs /dev/fuse: ", err)
	}
	base := t.TempDir()
	// Other users of the tests go through here.
	for d := base; strings.HasPrefix(d, os.TempDir()+"/"); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	m := mounted{src: filepath.Join(base, "src"), mnt: filepath.Join(base, "mnt")}
	for _, d := range []string{m.src, m.mnt} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	m.fs, err = passthrough.New(passthrough.Share{Dir: m.src}, o)
	if err != nil {
		t.Fatal(err)
	}
	mo := m.fs.MountOptions()
	mo.DirectMountStrict = true
	mo.AllowOther = true
	mo.Options = []string{"default_permissions"}
	srv, err := fuse.NewServer(m.fs, m.mnt, mo)
	if err != nil {
		t.Fatal(err)
	}
	go srv.Serve()
	if err := srv.WaitMount(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Unmount(); err != nil {
			t.Errorf("unmount: %v", err)
			unix.Unmount(m.mnt, unix.MNT_DETACH)
		}
		m.fs.Close()
	})
	return m
}

// both runs a test with exclusive and with shared files.
func both(t *testing.T, f func(t *testing.T, m mounted)) {
	t.Run("exclusive", func(t *testing.T) { f(t, mount(t, passthrough.Options{Exclusive: true})) })
	t.Run("shared", func(t *testing.T) { f(t, mount(t, passthrough.Options{Timeout: time.Second})) })
	// A cache of descriptors so small that everything is reopened.
	t.Run("starved", func(t *testing.T) {
		f(t, mount(t, passthrough.Options{Exclusive: true, MaxDescriptors: 8}))
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestFilesAndData(t *testing.T) {
	both(t, func(t *testing.T, m mounted) {
		r := rand.New(rand.NewPCG(1, 2))
		data := make([]byte, 3<<20+17)
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		p := filepath.Join(m.mnt, "a/b/file")
		must(t, os.MkdirAll(filepath.Dir(p), 0o755))
		must(t, os.WriteFile(p, data, 0o640))
		got, err := os.ReadFile(p)
		must(t, err)
		if !bytes.Equal(got, data) {
			t.Fatal("data read through the mount differ")
		}
		unix.Sync()
		got, err = os.ReadFile(filepath.Join(m.src, "a/b/file"))
		must(t, err)
		if !bytes.Equal(got, data) {
			t.Fatal("data on the host differ")
		}

		f, err := os.OpenFile(p, os.O_WRONLY|os.O_APPEND, 0)
		must(t, err)
		_, err = f.WriteString("tail")
		must(t, err)
		must(t, f.Sync())
		must(t, f.Close())
		must(t, os.Truncate(p, int64(len(data))+2))
		st, err := os.Stat(filepath.Join(m.src, "a/b/file"))
		must(t, err)
		if st.Size() != int64(len(data))+2 || st.Mode().Perm() != 0o640 {
			t.Errorf("size %d, mode %v", st.Size(), st.Mode())
		}
		must(t, os.Rename(p, filepath.Join(m.mnt, "moved")))
		must(t, os.Remove(filepath.Join(m.mnt, "moved")))
		must(t, os.RemoveAll(filepath.Join(m.mnt, "a")))
		left, err := os.ReadDir(m.src)
		must(t, err)
		if len(left) != 0 {
			t.Errorf("left over: %v", left)
		}
	})
}

func TestNameless(t *testing.T) {
	both(t, func(t *testing.T, m mounted) {
		p := filepath.Join(m.mnt, "gone")
		must(t, os.WriteFile(p, []byte("hello"), 0o600))
		f, err := os.OpenFile(p, os.O_RDWR, 0)
		must(t, err)
		defer f.Close()
		must(t, os.Remove(p))
		// Push everything else out of the cache of descriptors.
		for i := range 30 {
			other := filepath.Join(m.mnt, fmt.Sprint("other", i))
			must(t, os.WriteFile(other, []byte("x"), 0o600))
			_, err := os.ReadFile(other)
			must(t, err)
		}
		_, err = f.WriteAt([]byte("HELLO again"), 0)
		must(t, err)
		must(t, f.Sync())
		buf := make([]byte, 20)
		n, err := f.ReadAt(buf, 0)
		if err != io.EOF || string(buf[:n]) != "HELLO again" {
			t.Errorf("read %q, %v", buf[:n], err)
		}
		st, err := f.Stat()
		must(t, err)
		if st.Sys().(*syscall.Stat_t).Nlink != 0 {
			t.Error("a removed file has a link")
		}

		// Replaced by a rename while open.
		must(t, os.WriteFile(p, []byte("old"), 0o600))
		old, err := os.Open(p)
		must(t, err)
		defer old.Close()
		must(t, os.WriteFile(p+".new", []byte("new"), 0o600))
		must(t, os.Rename(p+".new", p))
		got, err := io.ReadAll(old)
		if err != nil || string(got) != "old" {
			t.Errorf("the replaced file reads %q, %v", got, err)
		}
		got, err = os.ReadFile(p)
		if err != nil || string(got) != "new" {
			t.Errorf("the new file reads %q, %v", got, err)
		}

		tmp, err := unix.Open(m.mnt, unix.O_TMPFILE|unix.O_RDWR, 0o600)
		must(t, err)
		defer unix.Close(tmp)
		_, err = unix.Write(tmp, []byte("late name"))
		must(t, err)
		for what, err := range map[string]error{
			"ftruncate": unix.Ftruncate(tmp, 9),
			"fchmod":    unix.Fchmod(tmp, 0o640),
			"futimes":   unix.Futimes(tmp, []unix.Timeval{{Sec: 1}, {Sec: 1}}),
			"fsync":     unix.Fsync(tmp),
		} {
			if err != nil {
				t.Errorf("%s of a file without a name: %v", what, err)
			}
		}
		named := filepath.Join(m.mnt, "named")
		must(t, unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", tmp), unix.AT_FDCWD, named, unix.AT_SYMLINK_FOLLOW))
		got, err = os.ReadFile(named)
		if err != nil || string(got) != "late name" {
			t.Errorf("a linked O_TMPFILE reads %q, %v", got, err)
		}
	})
}

func TestLinksAndSpecialFiles(t *testing.T) {
	both(t, func(t *testing.T, m mounted) {
		at := func(n string) string { return filepath.Join(m.mnt, n) }
		must(t, os.WriteFile(at("one"), []byte("1"), 0o644))
		must(t, os.Link(at("one"), at("two")))
		must(t, os.Remove(at("one")))
		got, err := os.ReadFile(at("two"))
		if err != nil || string(got) != "1" {
			t.Errorf("second link reads %q, %v", got, err)
		}
		must(t, os.Symlink("../../etc/passwd", at("out")))
		target, err := os.Readlink(at("out"))
		if err != nil || target != "../../etc/passwd" {
			t.Errorf("symlink to %q, %v", target, err)
		}
		must(t, unix.Mkfifo(at("fifo"), 0o622))
		must(t, unix.Mknod(at("null"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))))
		var st unix.Stat_t
		must(t, unix.Lstat(at("null"), &st))
		if st.Rdev != unix.Mkdev(1, 3) || st.Mode != unix.S_IFCHR|0o600 {
			t.Errorf("device %#x, mode %o", st.Rdev, st.Mode)
		}
		must(t, os.Mkdir(at("d"), 0o755))
		must(t, os.WriteFile(at("d/x"), nil, 0o644))
		must(t, unix.Renameat2(unix.AT_FDCWD, at("d"), unix.AT_FDCWD, at("two"), unix.RENAME_EXCHANGE))
		if _, err := os.Stat(at("two/x")); err != nil {
			t.Error(err)
		}
		if got, err := os.ReadFile(at("d")); err != nil || string(got) != "1" {
			t.Errorf("after an exchange: %q, %v", got, err)
		}
		if err := unix.Renameat2(unix.AT_FDCWD, at("d"), unix.AT_FDCWD, at("out"), unix.RENAME_NOREPLACE); err != unix.EEXIST {
			t.Errorf("rename onto a name with NOREPLACE: %v", err)
		}
	})
}

func TestOwnership(t *testing.T) {
	both(t, func(t *testing.T, m mounted) {
		must(t, os.Chmod(m.mnt, 0o777))
		must(t, os.Mkdir(filepath.Join(m.mnt, "sticky-group"), 0o777))
		must(t, os.Chown(filepath.Join(m.mnt, "sticky-group"), 0, 4321))
		must(t, os.Chmod(filepath.Join(m.mnt, "sticky-group"), 0o777|os.ModeSetgid))
		script := `umask 027; cd "$1"; echo x > file; mkdir dir; ln -s t link; mkfifo fifo
			echo y > sticky-group/file; mkdir sticky-group/dir; touch suid; chmod 4755 suid`
		cmd := exec.Command("sh", "-c", script, "sh", m.mnt)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1234, Gid: 2345}}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		unix.Sync()
		for name, want := range map[string]struct {
			mode     uint32
			uid, gid uint32
		}{
			"file":              {unix.S_IFREG | 0o640, 1234, 2345},
			"dir":               {unix.S_IFDIR | 0o750, 1234, 2345},
			"link":              {unix.S_IFLNK | 0o777, 1234, 2345},
			"fifo":              {unix.S_IFIFO | 0o640, 1234, 2345},
			"sticky-group/file": {unix.S_IFREG | 0o640, 1234, 4321},
			"sticky-group/dir":  {unix.S_IFDIR | 0o2750, 1234, 4321},
			"suid":              {unix.S_IFREG | 0o4755, 1234, 2345},
		} {
			for _, base := range []string{m.src, m.mnt} {
				var st unix.Stat_t
				must(t, unix.Lstat(filepath.Join(base, name), &st))
				if st.Mode != want.mode || st.Uid != want.uid || st.Gid != want.gid {
					t.Errorf("%s/%s: mode %o, owner %d:%d, want %o, %d:%d",
						filepath.Base(base), name, st.Mode, st.Uid, st.Gid, want.mode, want.uid, want.gid)
				}
			}
		}
		// A write by somebody else takes the set-user-id bit away.
		must(t, os.Chmod(filepath.Join(m.mnt, "suid"), 0o777|os.ModeSetuid))
		cmd = exec.Command("sh", "-c", `echo z > "$1/suid"`, "sh", m.mnt)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 99, Gid: 99}}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		unix.Sync()
		st, err := os.Stat(filepath.Join(m.src, "suid"))
		must(t, err)
		if st.Mode()&os.ModeSetuid != 0 {
			t.Errorf("mode %v after a write", st.Mode())
		}
	})
}

func TestDirectories(t *testing.T) {
	both(t, func(t *testing.T, m mounted) {
		want := map[string]bool{}
		for i := range 3000 {
			name := fmt.Sprintf("entry-%04d-%s", i, strings.Repeat("n", i%100))
			want[name] = true
			must(t, os.WriteFile(filepath.Join(m.mnt, name), nil, 0o644))
		}
		for round := range 2 {
			got, err := os.ReadDir(m.mnt)
			must(t, err)
			if len(got) != len(want) {
				t.Fatalf("round %d: %d entries, want %d", round, len(got), len(want))
			}
			for _, e := range got {
				if !want[e.Name()] || !e.Type().IsRegular() {
					t.Fatalf("entry %q of type %v", e.Name(), e.Type())
				}
				if _, err := e.Info(); err != nil {
					t.Fatal(err)
				}
			}
		}
		must(t, os.RemoveAll(filepath.Join(m.mnt, "entry-0000-")))
		d, err := os.Open(m.mnt)
		must(t, err)
		defer d.Close()
		first, err := d.Readdirnames(1500)
		must(t, err)
		for _, n := range first {
			must(t, os.Remove(filepath.Join(m.mnt, n)))
		}
		rest, err := d.Readdirnames(-1)
		must(t, err)
		if len(first)+len(rest) != len(want)-1 {
			t.Errorf("%d + %d entries while removing, want %d", len(first), len(rest), len(want)-1)
		}
	})
}

func TestTimesAndSize(t *testing.T) {
	both(t, func(t *testing.T, m mounted) {
		p := filepath.Join(m.mnt, "f")
		must(t, os.WriteFile(p, []byte("x"), 0o644))
		when := time.Date(2001, 2, 3, 4, 5, 6, 789, time.UTC)
		must(t, os.Chtimes(p, when, when.Add(time.Hour)))
		st, err := os.Stat(filepath.Join(m.src, "f"))
		must(t, err)
		if !st.ModTime().Equal(when.Add(time.Hour)) {
			t.Errorf("modification time %v", st.ModTime())
		}
		must(t, unix.Fallocate(openFile(t, p), 0, 0, 1<<20))
		f := openFile(t, p)
		_, err = unix.Pwrite(f, []byte("end"), 4<<20)
		must(t, err)
		must(t, unix.Fsync(f))
		if off, err := unix.Seek(f, 2<<20, unix.SEEK_DATA); err != nil || off != 4<<20 {
			t.Errorf("SEEK_DATA: %d, %v", off, err)
		}
		var fsst unix.Statfs_t
		must(t, unix.Statfs(m.mnt, &fsst))
		if fsst.Blocks == 0 || fsst.Namelen != 255 {
			t.Errorf("statfs %+v", fsst)
		}
	})
}

func openFile(t *testing.T, p string) int {
	t.Helper()
	fd, err := unix.Open(p, unix.O_RDWR, 0)
	must(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func TestXattrs(t *testing.T) {
	both(t, func(t *testing.T, m mounted) {
		p := filepath.Join(m.mnt, "f")
		must(t, os.WriteFile(p, nil, 0o644))
		if err := unix.Setxattr(p, "user.a", []byte("value"), 0); err != nil {
			t.Skipf("the test's file system has no extended attributes: %v", err)
		}
		buf := make([]byte, 100)
		n, err := unix.Getxattr(p, "user.a", buf)
		if err != nil || string(buf[:n]) != "value" {
			t.Errorf("got %q, %v", buf[:max(n, 0)], err)
		}
		if _, err := unix.Getxattr(p, "user.none", buf); err != unix.ENODATA {
			t.Errorf("an attribute that is not there: %v", err)
		}
		must(t, unix.Setxattr(filepath.Join(m.src, "f"), "trusted.overlay.opaque", []byte("y"), 0))
		if err := unix.Setxattr(p, "trusted.overlay.redirect", []byte("/etc"), 0); err != unix.EOPNOTSUPP {
			t.Errorf("the client may steer overlayfs: %v", err)
		}
		n, err = unix.Listxattr(p, buf)
		if err != nil || string(buf[:n]) != "user.a\x00" {
			t.Errorf("list %q, %v", buf[:max(n, 0)], err)
		}
		must(t, unix.Removexattr(p, "user.a"))
	})
}

// What another process of the host changes is seen when the timeout is over.
func TestCoherence(t *testing.T) {
	m := mount(t, passthrough.Options{Timeout: 0})
	p := filepath.Join(m.mnt, "f")
	for i := range 20 {
		want := strings.Repeat(fmt.Sprint(i), 5000+i)
		must(t, os.WriteFile(filepath.Join(m.src, "new"), []byte(want), 0o644))
		must(t, os.Rename(filepath.Join(m.src, "new"), filepath.Join(m.src, "f")))
		got, err := os.ReadFile(p)
		if err != nil || string(got) != want {
			t.Fatalf("round %d: %d bytes, %v", i, len(got), err)
		}
		// And in place.
		must(t, os.WriteFile(filepath.Join(m.src, "f"), []byte("short"), 0o644))
		got, err = os.ReadFile(p)
		if err != nil || string(got) != "short" {
			t.Fatalf("round %d in place: %q, %v", i, got, err)
		}
	}
	must(t, os.Remove(filepath.Join(m.src, "f")))
	if _, err := os.Stat(p); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removed on the host: %v", err)
	}
}

// readInto fills dst with text by a system call. This process is the server, too:
// its garbage collector would wait for a thread that has a fault there, and the
// thread, through the kernel, for a server that the collector has stopped.
func readInto(t *testing.T, dst []byte, text string) {
	t.Helper()
	r, w, err := os.Pipe()
	must(t, err)
	defer r.Close()
	_, err = w.WriteString(text)
	must(t, errors.Join(err, w.Close()))
	if n, err := unix.Read(int(r.Fd()), dst); n != len(dst) || err != nil {
		t.Fatalf("read into a mapping: %d, %v", n, err)
	}
}

func TestMmap(t *testing.T) {
	both(t, func(t *testing.T, m mounted) {
		p := filepath.Join(m.mnt, "f")
		must(t, os.WriteFile(p, make([]byte, 3*4096), 0o644))
		fd := openFile(t, p)
		mem, err := unix.Mmap(fd, 0, 3*4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		must(t, err)
		readInto(t, mem[4090:4103], "over the edge")
		must(t, unix.Msync(mem, unix.MS_SYNC))
		got, err := os.ReadFile(filepath.Join(m.src, "f"))
		must(t, err)
		if string(got[4090:4103]) != "over the edge" {
			t.Errorf("on the host: %q", got[4090:4103])
		}
		must(t, unix.Munmap(mem))
	})
}

func TestLocksAreSeenByTheHost(t *testing.T) {
	m := mount(t, passthrough.Options{Timeout: time.Second})
	p := filepath.Join(m.mnt, "f")
	must(t, os.WriteFile(p, []byte("x"), 0o644))
	fd := openFile(t, p)
	host := openFile(t, filepath.Join(m.src, "f"))
	fl := unix.Flock_t{Type: unix.F_WRLCK, Whence: 0, Start: 0, Len: 10}
	must(t, unix.FcntlFlock(uintptr(fd), unix.F_SETLK, &fl))
	probe := fl
	if err := unix.FcntlFlock(uintptr(host), unix.F_OFD_SETLK, &probe); err != unix.EAGAIN {
		t.Errorf("the host can lock what the client has locked: %v", err)
	}
	fl.Type = unix.F_UNLCK
	must(t, unix.FcntlFlock(uintptr(fd), unix.F_SETLK, &fl))
	probe.Type = unix.F_WRLCK
	must(t, unix.FcntlFlock(uintptr(host), unix.F_OFD_SETLK, &probe))

	done := make(chan error, 1)
	go func() {
		fl := unix.Flock_t{Type: unix.F_WRLCK, Whence: 0, Start: 0, Len: 10}
		done <- unix.FcntlFlock(uintptr(fd), unix.F_SETLKW, &fl)
	}()
	select {
	case err := <-done:
		t.Fatalf("got a lock that the host has: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	probe.Type = unix.F_UNLCK
	must(t, unix.FcntlFlock(uintptr(host), unix.F_OFD_SETLK, &probe))
	must(t, <-done)

	must(t, unix.Flock(fd, unix.LOCK_EX))
	if err := unix.Flock(host, unix.LOCK_EX|unix.LOCK_NB); err != unix.EWOULDBLOCK {
		t.Errorf("flock on the host: %v", err)
	}
	must(t, unix.Flock(fd, unix.LOCK_UN))
	must(t, unix.Flock(host, unix.LOCK_EX|unix.LOCK_NB))
}

// A tree made by others: what tar unpacks and git writes is what the host has.
func TestTools(t *testing.T) {
	testenv.Program(t, "git", "git")
	testenv.Program(t, "tar", "tar")
	both(t, func(t *testing.T, m mounted) {
		run := func(dir, script string) string {
			t.Helper()
			cmd := exec.Command("sh", "-ec", script)
			cmd.Dir = dir
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			return string(out)
		}
		run(m.mnt, `mkdir repo; cd repo; git init -q .; for i in $(seq 100); do mkdir -p d$((i%17)); echo $i > d$((i%17))/f$i; done
			git add .; git -c user.name=a -c user.email=b commit -q -m first; git mv d1 moved; rm -r d2; git checkout -q d2
			git -c user.name=a -c user.email=b commit -q -am second; git fsck --strict; git status --short
			tar cf ../t.tar .; mkdir ../copy; tar xf ../t.tar -C ../copy; diff -r . ../copy`)
		unix.Sync()
		const list = "cd repo; find . | sort | xargs -d '\\n' ls -lid --time-style=full-iso"
		seen, real := strings.Split(run(m.mnt, list), "\n"), strings.Split(run(m.src, list), "\n")
		if len(seen) != len(real) {
			t.Errorf("%d files through the mount, %d on the host", len(seen), len(real))
		}
		for i := range min(len(seen), len(real)) {
			if seen[i] != real[i] {
				t.Errorf("through the mount: %s\non the host:       %s", seen[i], real[i])
				break
			}
		}
		run(m.src, "cd repo; git fsck --strict; git status --short; diff -r -x index . ../copy")
	})
}
