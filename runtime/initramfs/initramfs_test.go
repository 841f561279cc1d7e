// SPDX-License-Identifier: Apache-2.0

package initramfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/paracell/paracell/internal/testenv"
)

var testTime = time.Unix(1234567890, 0)

// unpacked is one entry as a reader of the format sees it.
type unpacked struct {
	name                       string
	ino, mode, uid, gid, nlink uint64
	mtime, rmajor, rminor      uint64
	data                       string
}

// unpack reads an archive by the format's description.
func unpack(t *testing.T, b []byte) []unpacked {
	t.Helper()
	var list []unpacked
	for off := 0; ; {
		if off+headerSize > len(b) || string(b[off:off+6]) != magic {
			t.Fatalf("no header at %d", off)
		}
		var f [13]uint64
		for i := range f {
			v, err := strconv.ParseUint(string(b[off+6+8*i:off+14+8*i]), 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			f[i] = v
		}
		nameEnd := off + headerSize + int(f[11])
		if b[nameEnd-1] != 0 {
			t.Fatalf("name at %d does not end in NUL", off)
		}
		e := unpacked{
			name: string(b[off+headerSize : nameEnd-1]), ino: f[0], mode: f[1], uid: f[2], gid: f[3],
			nlink: f[4], mtime: f[5], rmajor: f[9], rminor: f[10],
		}
		data := (nameEnd + 3) &^ 3
		e.data = string(b[data : data+int(f[6])])
		off = (data + int(f[6]) + 3) &^ 3
		if e.name == trailer {
			if off != len(b) {
				t.Errorf("%d bytes behind the trailer", len(b)-off)
			}
			return list
		}
		list = append(list, e)
	}
}

func pack(t *testing.T, a *Archive) []unpacked {
	t.Helper()
	var b bytes.Buffer
	n, err := a.WriteTo(&b)
	if err != nil {
		t.Fatal(err)
	}
	if n != a.Size() || int64(b.Len()) != a.Size() {
		t.Errorf("announced %d bytes, wrote %d, said %d", a.Size(), b.Len(), n)
	}
	return unpack(t, b.Bytes())
}

func find(t *testing.T, list []unpacked, name string) unpacked {
	t.Helper()
	for _, e := range list {
		if e.name == name {
			return e
		}
	}
	t.Fatalf("no %s in the archive", name)
	return unpacked{}
}

func write(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func newTree(t *testing.T, dir string) *Archive {
	t.Helper()
	a := &Archive{}
	t.Cleanup(func() { a.Close() })
	if err := a.AddTree(dir); err != nil {
		t.Fatal(err)
	}
	return a
}

func TestTree(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/bin/tool", "content", 0o755)
	write(t, dir+"/bin/set", "", os.ModeSetuid|0o711)
	write(t, dir+"/a b\n", strings.Repeat("x", 4097), 0o600)
	for _, err := range []error{
		os.Link(dir+"/bin/tool", dir+"/zlink"),
		os.Symlink("../etc/target", dir+"/bin/sym"),
		unix.Mkfifo(dir+"/fifo", 0o640),
		os.Mkdir(dir+"/empty", 0o700),
		os.Chtimes(dir+"/bin/tool", testTime, testTime),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	l, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(l)
	if err := syscall.Bind(l, &syscall.SockaddrUnix{Name: dir + "/socket"}); err != nil {
		t.Fatal(err)
	}
	list := pack(t, newTree(t, dir))

	tool, link := find(t, list, "bin/tool"), find(t, list, "zlink")
	if tool.data != "content" || tool.mode != unix.S_IFREG|0o755 || tool.nlink != 2 || int64(tool.mtime) != testTime.Unix() {
		t.Errorf("tool %+v", tool)
	}
	if link.ino != tool.ino || link.data != "" || link.nlink != 2 || link.mode != tool.mode {
		t.Errorf("hard link %+v of %+v", link, tool)
	}
	if int(tool.uid) != os.Getuid() || int(tool.gid) != os.Getgid() {
		t.Errorf("owner %d:%d", tool.uid, tool.gid)
	}
	if e := find(t, list, "bin/set"); e.mode != unix.S_IFREG|unix.S_ISUID|0o711 || e.ino == tool.ino {
		t.Errorf("set-uid file %+v", e)
	}
	if e := find(t, list, "a b\n"); len(e.data) != 4097 {
		t.Errorf("odd name %+v", e)
	}
	if e := find(t, list, "bin/sym"); e.data != "../etc/target" || e.mode&unix.S_IFMT != unix.S_IFLNK {
		t.Errorf("symbolic link %+v", e)
	}
	if e := find(t, list, "fifo"); e.mode != unix.S_IFIFO|0o640 {
		t.Errorf("fifo %+v", e)
	}
	if e := find(t, list, "empty"); e.mode != unix.S_IFDIR|0o700 {
		t.Errorf("directory %+v", e)
	}
	seen := map[string]bool{}
	for _, e := range list {
		if e.name == "socket" {
			t.Error("a socket was packed")
		}
		if d := filepath.Dir(e.name); d != "." && !seen[d] {
			t.Errorf("%s comes before its directory", e.name)
		}
		seen[e.name] = true
	}
}

func TestLinkedOutside(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/in/a", "one", 0o644)
	if err := os.Link(dir+"/in/a", dir+"/out"); err != nil {
		t.Fatal(err)
	}
	if e := find(t, pack(t, newTree(t, dir+"/in")), "a"); e.data != "one" {
		t.Errorf("%+v", e)
	}
}

func TestDeviceNodes(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mknod(dir+"/node", unix.S_IFCHR|0o620, int(unix.Mkdev(5, 1))); err != nil {
		t.Skipf("mknod: %v", err)
	}
	if err := os.Chmod(dir+"/node", 0o620); err != nil { // whatever the umask is
		t.Fatal(err)
	}
	a := newTree(t, dir)
	if err := a.AddCharDevice("/dev/null", 0o666, 1, 3); err != nil {
		t.Fatal(err)
	}
	list := pack(t, a)
	if e := find(t, list, "node"); e.mode != unix.S_IFCHR|0o620 || e.rmajor != 5 || e.rminor != 1 {
		t.Errorf("%+v", e)
	}
	if e := find(t, list, "dev/null"); e.mode != unix.S_IFCHR|0o666 || e.rmajor != 1 || e.rminor != 3 {
		t.Errorf("%+v", e)
	}
	if e := find(t, list, "dev"); e.mode != unix.S_IFDIR|0o755 {
		t.Errorf("%+v", e)
	}
}

func TestFilesReplace(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/x/init", "the user's, and longer", 0o644)
	a := newTree(t, dir)
	host := filepath.Join(t.TempDir(), "host")
	write(t, host, "host file", 0o600)
	for _, err := range []error{
		a.AddFile("x/init", 0o755, []byte("ours")),
		a.AddFile("/x/../y/z", 0o600, nil),
		a.AddHostFile("y/h", 0o700, host),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	list := pack(t, a)
	if e := find(t, list, "x/init"); e.data != "ours" || e.mode != unix.S_IFREG|0o755 {
		t.Errorf("%+v", e)
	}
	if e := find(t, list, "y/h"); e.data != "host file" || e.mode != unix.S_IFREG|0o700 {
		t.Errorf("%+v", e)
	}
	find(t, list, "y")
	if len(list) != 5 {
		t.Errorf("%d entries", len(list))
	}
	if a.AddFile("..", 0, nil) == nil || a.AddFile("", 0, nil) == nil {
		t.Error("a file without a name was accepted")
	}
	if a.AddHostFile("d", 0, dir) == nil {
		t.Error("a directory was accepted as a file")
	}
}

func TestChangedFileIsAnError(t *testing.T) {
	for name, change := range map[string]func(string) error{
		"shorter": func(p string) error { return os.Truncate(p, 1) },
		"gone":    os.Remove,
		"a link": func(p string) error {
			return errors.Join(os.Remove(p), os.Symlink("/etc/passwd", p))
		},
	} {
		dir := t.TempDir()
		write(t, dir+"/f", "content", 0o644)
		a := newTree(t, dir)
		if err := change(dir + "/f"); err != nil {
			t.Fatal(err)
		}
		if _, err := a.WriteTo(io.Discard); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestLongerFileIsCut(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/f", "content", 0o644)
	a := newTree(t, dir)
	write(t, dir+"/f", "content and more", 0o644)
	if e := find(t, pack(t, a), "f"); e.data != "content" {
		t.Errorf("%+v", e)
	}
}

func TestLargeFileIsRefused(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/f", "", 0o644)
	if err := os.Truncate(dir+"/f", 5<<30); err != nil {
		t.Skip(err)
	}
	err := new(Archive).AddTree(dir)
	if err == nil || !strings.Contains(err.Error(), "4095 MiB") {
		t.Errorf("%v", err)
	}
}

func TestMissingDirectory(t *testing.T) {
	if err := new(Archive).AddTree(t.TempDir() + "/none"); err == nil {
		t.Error("no error")
	}
}

// TestForeignReader lets another implementation unpack an archive.
func TestForeignReader(t *testing.T) {
	cmd := exec.Command(testenv.Program(t, "busybox", "busybox-static"), "cpio", "-i", "-m")
	dir := t.TempDir()
	for i := range 20 {
		write(t, fmt.Sprintf("%s/d%d/f%d", dir, i%3, i), strings.Repeat("y", i*1000), 0o640)
	}
	if err := os.Link(dir+"/d0/f0", dir+"/d2/link"); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := newTree(t, dir).WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	cmd.Dir, cmd.Stdin = t.TempDir(), &b
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := exec.Command("diff", "-r", dir, cmd.Dir).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
