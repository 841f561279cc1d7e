// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// smallDisk is a file system that a cell may fill.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("paracell-hostile", dir, "tmpfs", 0, "size=64m,nr_inodes=20000"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

// plant puts files beside the folder that the cell may change, and a way out
// that is a symbolic link.
func plant(t *testing.T, dir string) {
	t.Helper()
	for _, d := range []string{"root", "canary", "canary/dir"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"canary/file", "canary/dir/file", "file"} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte("untouched\n"), 0o640); err != nil {
			t.Fatal(err)
		}
	}
}

// empty gives the next cell a root like the first one's.
func empty(t *testing.T, root string) {
	t.Helper()
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		p := filepath.Join(root, e.Name())
		if err := os.RemoveAll(p); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../canary", filepath.Join(root, "out")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
}

// look takes down what a cell must not change: the files beside its folder and
// what the host has of its own.
func look(t *testing.T, dir string) map[string]string {
	t.Helper()
	seen := map[string]string{}
	take := func(p string) error {
		fi, err := os.Lstat(p)
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		s := fmt.Sprintf("%v %d:%d %d %v links %d", fi.Mode(), st.Uid, st.Gid, fi.Size(), fi.ModTime().UnixNano(), st.Nlink)
		if fi.Mode().IsRegular() {
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			s += fmt.Sprintf(" %x", sha256.Sum256(b))
		}
		seen[p] = s
		return nil
	}
	for _, d := range []string{"canary", "file"} {
		err := filepath.WalkDir(filepath.Join(dir, d), func(p string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return take(p)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []string{"/etc/passwd", "/etc/shadow", "/etc/hostname", "/etc/hosts"} {
		_ = take(p) // not every machine has all
	}
	for _, p := range []string{"/proc/sys/kernel/hostname", "/proc/sys/kernel/core_pattern", "/proc/sys/vm/overcommit_memory"} {
		b, _ := os.ReadFile(p)
		seen[p] = string(b)
	}
	// Others may mount on a shared machine; what a cell's is has a name.
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, dir) || strings.Contains(line, "paracell-root-") {
			seen["mounts"] += line
		}
	}
	return seen
}

func compare(t *testing.T, dir string, before map[string]string) {
	t.Helper()
	now := look(t, dir)
	if maps.Equal(before, now) {
		return
	}
	for p, s := range before {
		if now[p] != s {
			t.Errorf("%s was changed: %q, was %q", p, now[p], s)
		}
	}
	for p := range now {
		if _, ok := before[p]; !ok {
			t.Errorf("%s is new", p)
		}
	}
}

// left finds processes of hostile cells that have outlived them.
func left(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; {
		found := cellProcesses("hostile-")
		if found == nil {
			break
		}
		if time.Now().After(end) {
			t.Errorf("processes of hostile cells are left: %v", found)
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	roots, _ := filepath.Glob(filepath.Join(os.TempDir(), "paracell-root-*"))
	for _, r := range roots {
		if fi, err := os.Stat(r); err == nil && time.Since(fi.ModTime()) > time.Minute {
			t.Logf("a folder of a cell is left: %s", r)
		}
	}
}
