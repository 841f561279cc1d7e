// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/containerd/errdefs"
)

// waitOOM waits until the kernel has killed more processes of the container
// than seen. The kernel reports changes of the file with inotify.
func (c *container) waitOOM(ctx context.Context, seen uint64) (uint64, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return 0, err
	}
	f := os.NewFile(uintptr(fd), "inotify")
	defer f.Close()
	if _, err := unix.InotifyAddWatch(fd, filepath.Join(string(c.cgroup), "memory.events"), unix.IN_MODIFY); err != nil {
		return 0, err
	}
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-ctx.Done():
		case <-c.exited:
		case <-ended:
		}
		f.Close()
	}()
	buf := make([]byte, 4096)
	for {
		kills, err := c.cgroup.value("memory.events", "oom_kill")
		if err != nil {
			return 0, err
		}
		if kills > seen {
			return kills, nil
		}
		if _, err := f.Read(buf); errors.Is(err, os.ErrClosed) {
			// What killed the first process has to be told too.
			if kills, err := c.cgroup.value("memory.events", "oom_kill"); err == nil && kills > seen {
				return kills, nil
			}
			return 0, errdefs.ErrNotFound
		} else if err != nil {
			return 0, err
		}
	}
}
