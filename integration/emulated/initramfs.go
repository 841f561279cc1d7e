// SPDX-License-Identifier: Apache-2.0

package emulated

import (
	"bufio"
	"context"
	_ "embed"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

//go:embed init.sh
var initScript string

// busybox returns the path of a statically linked busybox.
func busybox() (string, error) {
	for _, p := range []string{"/bin/busybox", "/usr/bin/busybox"} {
		// A static program runs nowhere better than in an empty root.
		if out, err := exec.Command("/bin/sh", "-c", "LC_ALL=C ldd "+p+" 2>&1").CombinedOutput(); err != nil && strings.Contains(string(out), "not a dynamic executable") {
			return p, nil
		}
	}
	return "", fmt.Errorf("%w: no static busybox; install the package busybox-static", ErrUnavailable)
}

// writeInitramfs writes the machine's root file system as a cpio archive and
// returns its size in bytes.
func writeInitramfs(ctx context.Context, name string, k *kernel, m *Machine, mark string) (int64, error) {
	f, err := os.Create(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	c := &cpio{w: bufio.NewWriterSize(f, 1<<20), made: map[string]bool{"/": true}}

	for _, dir := range []string{"/bin", "/dev", "/proc", "/sys", "/tmp", "/run", "/root", "/mnt"} {
		c.dir(dir, 0o755)
	}
	bb, err := busybox()
	if err != nil {
		return 0, err
	}
	if err := c.copy("/bin/busybox", bb); err != nil {
		return 0, err
	}
	applets, err := exec.Command(bb, "--list").Output()
	if err != nil {
		return 0, fmt.Errorf("busybox --list: %w", err)
	}
	for _, applet := range strings.Fields(string(applets)) {
		if applet != "busybox" {
			c.link("/bin/"+applet, "busybox")
		}
	}
	c.file("/etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"))
	c.file("/etc/group", 0o644, []byte("root:x:0:\nnogroup:x:65534:\n"))
	c.file("/etc/hosts", 0o644, []byte("127.0.0.1 localhost\n"))

	modules, err := k.loadModules(ctx, m.Modules)
	if err != nil {
		return 0, err
	}
	var insmod strings.Builder
	for _, mod := range modules {
		file := "/modules/" + mod.name + ".ko"
		c.file(file, 0o644, mod.data)
		insmod.WriteString("insmod " + file + "\n")
	}
	var command strings.Builder
	for _, env := range m.Env {
		name, value, ok := strings.Cut(env, "=")
		if !ok || name == "" {
			return 0, fmt.Errorf("environment %q is not name=value", env)
		}
		command.WriteString("export " + name + "=" + quote(value) + "\n")
	}
	command.WriteString("exec")
	for _, arg := range m.Command {
		command.WriteString(" " + quote(arg))
	}
	command.WriteByte('\n')
	c.file("/etc/paracell-command", 0o644, []byte(command.String()))

	guestPaths := make([]string, 0, len(m.Files))
	for p := range m.Files {
		guestPaths = append(guestPaths, p)
	}
	slices.Sort(guestPaths)
	for _, p := range guestPaths {
		if !path.IsAbs(p) || path.Clean(p) != p {
			return 0, fmt.Errorf("guest path %q is not absolute and clean", p)
		}
		if err := c.copy(p, m.Files[p]); err != nil {
			return 0, err
		}
	}
	c.file("/init", 0o755, []byte(strings.NewReplacer("@MARK@", mark, "@MODULES@", insmod.String()).Replace(initScript)))
	if err := c.end(); err != nil {
		return 0, err
	}
	return c.size, f.Close()
}

// quote makes one shell word of s.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// cpio writes an archive in the "newc" format
// (Documentation/driver-api/early-userspace/buffer-format.rst). The first
// error sticks and is returned by end.
type cpio struct {
	w    *bufio.Writer
	ino  int
	size int64
	made map[string]bool
	err  error
}

const (
	typeDir  = 0o040000
	typeFile = 0o100000
	typeLink = 0o120000
)

func (c *cpio) write(b []byte) {
	if c.err == nil {
		var n int
		n, c.err = c.w.Write(b)
		c.size += int64(n)
	}
}

func (c *cpio) pad() { c.write(make([]byte, -c.size&3)) }

// header starts an entry; its size bytes of data have to follow, then pad.
func (c *cpio) header(name string, mode uint32, size int64) {
	if size >= 1<<32 {
		c.err = fmt.Errorf("%s: too large for an initramfs", name)
		return
	}
	if parent := path.Dir("/" + name); name != "TRAILER!!!" {
		c.dir(parent, 0o755)
	}
	c.ino++
	c.write(fmt.Appendf(nil, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		c.ino, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, len(name)+1, 0, name))
	c.pad()
}

func (c *cpio) dir(name string, perm uint32) {
	if c.made[name] {
		return
	}
	c.made[name] = true
	c.header(name[1:], typeDir|perm, 0)
}

func (c *cpio) file(name string, perm uint32, data []byte) {
	c.header(name[1:], typeFile|perm, int64(len(data)))
	c.write(data)
	c.pad()
}

func (c *cpio) link(name, target string) {
	c.header(name[1:], typeLink|0o777, int64(len(target)))
	c.write([]byte(target))
	c.pad()
}

// copy adds a host file, or a folder with all in it, under a guest path.
func (c *cpio) copy(guest, host string) error {
	// The named path itself may be a link; links inside a folder are kept.
	host, err := filepath.EvalSymlinks(host)
	if err != nil {
		return err
	}
	return filepath.WalkDir(host, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name := path.Join(guest, strings.TrimPrefix(p, host))
		perm := uint32(info.Mode().Perm())
		switch {
		case info.IsDir():
			c.dir(name, perm)
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			c.link(name, target)
		case info.Mode().IsRegular():
			return c.copyFile(name, perm, p, info.Size())
		}
		return c.err // sockets, devices and pipes are left out
	})
}

func (c *cpio) copyFile(name string, perm uint32, host string, size int64) error {
	f, err := os.Open(host)
	if err != nil {
		return err
	}
	defer f.Close()
	c.header(name[1:], typeFile|perm, size)
	if c.err == nil {
		var n int64
		n, c.err = io.CopyN(c.w, f, size)
		c.size += n
	}
	c.pad()
	return c.err
}

func (c *cpio) end() error {
	c.header("TRAILER!!!", 0, 0)
	if c.err == nil {
		c.err = c.w.Flush()
	}
	return c.err
}
