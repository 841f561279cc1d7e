// SPDX-License-Identifier: Apache-2.0

package service

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// freezeTimeout bounds the wait for processes to stop.
const freezeTimeout = 10 * time.Second

// cgroup is the directory of a container's control group.
type cgroup string

func (c cgroup) write(file, value string) error {
	return os.WriteFile(filepath.Join(string(c), file), []byte(value), 0)
}

func (c cgroup) read(file string) (string, error) {
	b, err := os.ReadFile(filepath.Join(string(c), file))
	return string(b), err
}

// value returns a field of a file of lines "name value".
func (c cgroup) value(file, name string) (uint64, error) {
	text, err := c.read(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), " "); ok && k == name {
			return strconv.ParseUint(v, 10, 64)
		}
	}
	return 0, nil
}

// freeze stops or continues all processes.
func (c cgroup) freeze(on bool) error {
	want, value := uint64(0), "0"
	if on {
		want, value = 1, "1"
	}
	if err := c.write("cgroup.freeze", value); err != nil {
		return err
	}
	for end := time.Now().Add(freezeTimeout); ; time.Sleep(time.Millisecond) {
		got, err := c.value("cgroup.events", "frozen")
		if err != nil || got == want {
			return err
		}
		if time.Now().After(end) {
			return errors.New("not all processes have stopped")
		}
	}
}

// pids are the processes of the group and those below it.
func (c cgroup) pids() ([]int, error) {
	var pids []int
	err := filepath.WalkDir(string(c), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		text, err := cgroup(path).read("cgroup.procs")
		if err != nil {
			return err
		}
		for _, f := range strings.Fields(text) {
			pid, err := strconv.Atoi(f)
			if err != nil {
				return err
			}
			pids = append(pids, pid)
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return pids, nil // a group that ended meanwhile
	}
	return pids, err
}

// kill sends a signal to all processes.
func (c cgroup) kill(signal unix.Signal) error {
	if signal == unix.SIGKILL {
		return c.write("cgroup.kill", "1")
	}
	pids, err := c.pids()
	for _, pid := range pids {
		if e := unix.Kill(pid, signal); e != nil && !errors.Is(e, unix.ESRCH) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// statFiles are what the host makes its statistics of.
var statFiles = []string{
	"cpu.stat", "cpu.pressure", "memory.current", "memory.max", "memory.peak", "memory.stat", "memory.events",
	"memory.swap.current", "memory.swap.max", "memory.pressure", "pids.current", "pids.max", "io.stat", "io.pressure",
}

func (c cgroup) stats() map[string]string {
	files := map[string]string{}
	for _, f := range statFiles {
		if text, err := c.read(f); err == nil {
			files[f] = text
		}
	}
	return files
}
