// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// serving lists the processes that serve containers of the containerd whose
// files are in dir: its shims and all their descendants.
func serving(dir string) ([]int, error) {
	children := map[int][]int{}
	var queue []int
	procs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	for _, p := range procs {
		pid, _ := strconv.Atoi(filepath.Base(p))
		stat, err := os.ReadFile(p + "/stat")
		if err != nil {
			continue // has ended
		}
		// The name, in parentheses, may have any character in it.
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		parent, _ := strconv.Atoi(fields[1])
		children[parent] = append(children[parent], pid)
		line, _ := os.ReadFile(p + "/cmdline")
		if bytes.Contains(line, []byte("containerd-shim-")) && bytes.Contains(line, []byte(dir+"/")) {
			queue = append(queue, pid)
		}
	}
	var all []int
	seen := map[int]bool{}
	for len(queue) > 0 {
		pid := queue[0]
		queue = queue[1:]
		if seen[pid] {
			continue
		}
		seen[pid] = true
		all = append(all, pid)
		queue = append(queue, children[pid]...)
	}
	return all, nil
}

// memory is the memory of processes in bytes: their proportional shares (PSS),
// but memory files with all that is allocated in them, also where nothing maps it.
func memory(pids []int) (int64, error) {
	var sum int64
	// Inodes have numbers of their own on every file system.
	type inode struct{ device, number uint64 }
	files := map[inode]int64{} // size
	for _, pid := range pids {
		n, err := mapped(pid)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue
		}
		if err != nil {
			return 0, err
		}
		sum += n
		fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		if err != nil {
			return 0, err
		}
		for _, fd := range fds {
			target, err := os.Readlink(fd)
			if err != nil || !strings.HasPrefix(target, "/memfd:") {
				continue
			}
			var st unix.Stat_t
			if err := unix.Stat(fd, &st); err == nil {
				files[inode{st.Dev, st.Ino}] = st.Blocks * 512
			}
		}
	}
	for _, n := range files {
		sum += n
	}
	return sum, nil
}

// mapped is the PSS of a process, without its mappings of memory files.
func mapped(pid int) (int64, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var sum int64
	file := false
	s := bufio.NewScanner(f)
	for s.Scan() {
		fields := strings.Fields(s.Text())
		switch {
		case len(fields) >= 5 && !strings.HasSuffix(fields[0], ":"):
			file = len(fields) > 5 && strings.HasPrefix(fields[5], "/memfd:")
		case len(fields) >= 2 && fields[0] == "Pss:" && !file:
			n, err := strconv.ParseInt(fields[1], 10, 64)
			if err != nil {
				return 0, err
			}
			sum += n << 10
		}
	}
	return sum, s.Err()
}
