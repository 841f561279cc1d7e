// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// hugeFile is a file of total bytes in a tmpfs of its own, which gives huge pages
// to those who advise them. A memfd is in a tmpfs of the kernel's, for which the
// administrator decides, and has decided against them unless told otherwise
// (Documentation/admin-guide/mm/transhuge.rst). The file system is never in any
// directory, and ends with the file.
func hugeFile(name string, total uint64) (int, error) {
	const setting = "/sys/kernel/mm/transparent_hugepage/shmem_enabled"
	b, err := os.ReadFile(setting)
	if err == nil && bytes.Contains(b, []byte("[deny]")) {
		err = fmt.Errorf("%s is deny", setting)
	}
	if err != nil {
		return -1, fmt.Errorf("no huge pages for files: %w", err)
	}
	mount, err := tmpfs(map[string]string{
		"huge": "advise", "size": strconv.FormatUint(total, 10), "nr_inodes": "2", "mode": "0700",
	})
	if err != nil {
		return -1, err
	}
	defer unix.Close(mount)
	// As the name of a memfd shows in /proc.
	name = "memfd:" + strings.ReplaceAll(name, "/", "_")
	fd, err := unix.Openat(mount, name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return -1, fmt.Errorf("file of a tmpfs: %w", err)
	}
	if err = unix.Unlinkat(mount, name, 0); err == nil {
		err = unix.Ftruncate(fd, int64(total))
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("file of a tmpfs: %w", err)
	}
	return fd, nil
}

// tmpfs makes one that is mounted nowhere.
func tmpfs(options map[string]string) (mount int, err error) {
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("fsopen: %w", err)
	}
	defer unix.Close(fs)
	for key, value := range options {
		if err := unix.FsconfigSetString(fs, key, value); err != nil {
			return -1, fmt.Errorf("fsconfig %s=%s: %w", key, value, err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, fmt.Errorf("fsconfig: %w", err)
	}
	// The guest's programs are mapped from it, so it is not noexec.
	mount, err = unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
	if err != nil {
		return -1, fmt.Errorf("fsmount: %w", err)
	}
	return mount, nil
}
