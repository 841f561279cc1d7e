// SPDX-License-Identifier: Apache-2.0

// Package initramfs packs directories and single files into the archive format
// that a Linux kernel unpacks at boot: cpio "newc" (kernel documentation:
// driver-api/early-userspace/buffer-format). It keeps modes, owners, times,
// symbolic and hard links and device nodes; extended attributes have no place
// in the format, and sockets are left out.
//
// An archive is described first and written later, so that its size is known
// before the first byte: it can be streamed to its place in guest memory.
package initramfs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Archive is a list of files to be written. The zero value is empty and ready
// to be used. It is not safe for concurrent use.
type Archive struct {
	entries []entry
	names   map[string]int // index in entries
	links   map[inode]uint32
	roots   []*os.Root
	size    int64
}

// inode identifies a file of the host, to find hard links.
type inode struct{ dev, ino uint64 }

// entry is one file of the archive.
type entry struct {
	name         string
	mode         uint32 // st_mode
	uid, gid     uint32
	nlink, ino   uint32
	mtime        uint32
	major, minor uint32 // of a device node
	size         int64
	content      []byte // symbolic link or literal file
	root         *os.Root
	source       string // in root, or a path of the host
}

const (
	magic       = "070701"
	headerSize  = 110
	trailer     = "TRAILER!!!"
	maxFileSize = math.MaxUint32
)

func pad4(n int64) int64 { return (n + 3) &^ 3 }

// stored is the number of bytes that an entry takes.
func (e *entry) stored() int64 {
	return pad4(headerSize+int64(len(e.name))+1) + pad4(e.size)
}

// Size is the size of the archive in bytes.
func (a *Archive) Size() int64 {
	end := entry{name: trailer}
	return a.size + end.stored()
}

// Close closes the directories that the archive reads from.
func (a *Archive) Close() error {
	var errs []error
	for _, r := range a.roots {
		errs = append(errs, r.Close())
	}
	a.roots = nil
	return errors.Join(errs...)
}

// add appends an entry, or replaces one of the same name that is no directory.
func (a *Archive) add(e entry) {
	if a.names == nil {
		a.names = map[string]int{}
	}
	if e.ino == 0 {
		e.ino = uint32(len(a.entries)) + 1
	}
	if i, ok := a.names[e.name]; ok {
		a.size += e.stored() - a.entries[i].stored()
		a.entries[i] = e
		return
	}
	a.names[e.name] = len(a.entries)
	a.entries = append(a.entries, e)
	a.size += e.stored()
}

// AddFile adds a regular file with the given content, owned by root. Missing
// directories above it are added too. A file of that name is replaced.
func (a *Archive) AddFile(name string, perm fs.FileMode, content []byte) error {
	name, err := a.parents(name)
	if err != nil {
		return err
	}
	a.add(entry{name: name, mode: unix.S_IFREG | uint32(perm.Perm()), nlink: 1, size: int64(len(content)), content: content})
	return nil
}

// AddHostFile is AddFile with the content of a file of the host, which must
// not change until the archive is written.
func (a *Archive) AddHostFile(name string, perm fs.FileMode, hostPath string) error {
	name, err := a.parents(name)
	if err != nil {
		return err
	}
	fi, err := os.Stat(hostPath)
	if err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	if !fi.Mode().IsRegular() {
		return fmt.Errorf("initramfs: %s is not a regular file", hostPath)
	}
	a.add(entry{name: name, mode: unix.S_IFREG | uint32(perm.Perm()), nlink: 1, size: fi.Size(), source: hostPath})
	return nil
}

// AddCharDevice adds a character device node, owned by root.
func (a *Archive) AddCharDevice(name string, perm fs.FileMode, major, minor uint32) error {
	name, err := a.parents(name)
	if err != nil {
		return err
	}
	a.add(entry{name: name, mode: unix.S_IFCHR | uint32(perm.Perm()), nlink: 1, major: major, minor: minor})
	return nil
}

// Has says whether the archive has a file of that name.
func (a *Archive) Has(name string) bool {
	_, ok := a.names[name]
	return ok
}

// parents cleans a name and adds the directories above it.
func (a *Archive) parents(name string) (string, error) {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	if name == "" {
		return "", errors.New("initramfs: empty file name")
	}
	for i, c := range name {
		if c == '/' && !a.Has(name[:i]) {
			a.add(entry{name: name[:i], mode: unix.S_IFDIR | 0o755, nlink: 2})
		}
	}
	return name, nil
}

// AddTree adds everything below the directory dir of the host. It does not go
// into other file systems mounted there. Files must not change until the
// archive is written; a file that does makes WriteTo fail.
func (a *Archive) AddTree(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("initramfs: root directory: %w", err)
	}
	a.roots = append(a.roots, root)
	if a.links == nil {
		a.links = map[inode]uint32{}
	}
	var top unix.Stat_t
	if err := unix.Stat(dir, &top); err != nil {
		return fmt.Errorf("initramfs: stat %s: %w", dir, err)
	}
	return filepath.WalkDir(dir+"/", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("initramfs: %w", err)
		}
		name, err := filepath.Rel(dir, p)
		if err != nil {
			return fmt.Errorf("initramfs: %w", err)
		}
		if name == "." {
			return nil
		}
		return a.addHost(root, dir, name, top.Dev)
	})
}

// addHost adds one file of a tree.
func (a *Archive) addHost(root *os.Root, dir, name string, dev uint64) error {
	full := filepath.Join(dir, name)
	var st unix.Stat_t
	if err := unix.Lstat(full, &st); err != nil {
		return fmt.Errorf("initramfs: stat %s: %w", full, err)
	}
	e := entry{
		name: name, mode: st.Mode, uid: st.Uid, gid: st.Gid, nlink: uint32(st.Nlink),
		mtime: uint32(max(0, min(st.Mtim.Sec, math.MaxUint32))),
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		a.add(e)
		if st.Dev != dev {
			return fs.SkipDir
		}
		return nil
	case unix.S_IFREG:
		if st.Size > maxFileSize {
			return fmt.Errorf("initramfs: %s has %d MiB: an initramfs holds files of up to 4095 MiB", full, st.Size>>20)
		}
		e.size, e.root, e.source = st.Size, root, name
		if st.Nlink > 1 {
			// The first name carries the content; the kernel links
			// the others to it by their inode number.
			id := inode{st.Dev, st.Ino}
			if ino, ok := a.links[id]; ok {
				e.ino, e.size, e.root, e.source = ino, 0, nil, ""
			} else {
				e.ino = uint32(len(a.entries)) + 1
				a.links[id] = e.ino
			}
		}
	case unix.S_IFLNK:
		target, err := os.Readlink(full)
		if err != nil {
			return fmt.Errorf("initramfs: %w", err)
		}
		e.content, e.size = []byte(target), int64(len(target))
	case unix.S_IFCHR, unix.S_IFBLK:
		e.major, e.minor = unix.Major(st.Rdev), unix.Minor(st.Rdev)
	case unix.S_IFIFO:
	default:
		return nil // a socket without its process is of no use
	}
	a.add(e)
	return nil
}

// WriteTo implements io.WriterTo.
func (a *Archive) WriteTo(w io.Writer) (int64, error) {
	const bufSize = 1 << 20
	count := &counter{w: w}
	out := bufio.NewWriterSize(count, bufSize)
	buf := make([]byte, bufSize)
	for i := range a.entries {
		if err := a.entries[i].write(out, buf); err != nil {
			return count.n, err
		}
	}
	end := entry{name: trailer, nlink: 1}
	if err := end.write(out, buf); err != nil {
		return count.n, err
	}
	return count.n, out.Flush()
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

var zeros [4]byte

func (e *entry) write(w *bufio.Writer, buf []byte) error {
	h := fmt.Sprintf("%s%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00", magic,
		e.ino, e.mode, e.uid, e.gid, e.nlink, e.mtime, uint32(e.size), 0, 0, e.major, e.minor, len(e.name)+1, 0, e.name)
	if _, err := w.WriteString(h); err != nil {
		return err
	}
	if _, err := w.Write(zeros[:pad4(int64(len(h)))-int64(len(h))]); err != nil {
		return err
	}
	switch {
	case e.size == 0:
		return nil
	case e.content != nil:
		if _, err := w.Write(e.content); err != nil {
			return err
		}
	default:
		if err := e.copyFile(w, buf); err != nil {
			return err
		}
	}
	_, err := w.Write(zeros[:pad4(e.size)-e.size])
	return err
}

// copyFile copies exactly the size that the entry announces.
func (e *entry) copyFile(w io.Writer, buf []byte) error {
	const flags = os.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK
	var f *os.File
	var err error
	if e.root != nil {
		f, err = e.root.OpenFile(e.source, flags, 0)
	} else {
		f, err = os.Open(e.source)
	}
	if err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	defer f.Close()
	n, err := io.CopyBuffer(onlyWriter{w}, io.LimitReader(f, e.size), buf)
	if err != nil {
		return fmt.Errorf("initramfs: copy %s: %w", e.name, err)
	}
	if n != e.size {
		return fmt.Errorf("initramfs: %s changed while it was being packed", e.name)
	}
	return nil
}

// onlyWriter hides ReadFrom, so that io.CopyBuffer uses our buffer.
type onlyWriter struct{ io.Writer }
