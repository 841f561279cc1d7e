// SPDX-License-Identifier: Apache-2.0

// Package record is what a shim leaves in the bundle of a container for who
// cleans up when the shim has died: which process it was and how the container
// has ended, if it had. The file is there from before a container is made until
// it is deleted.
package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// file in the bundle.
const file = "paracell.json"

// Record of a container.
type Record struct {
	// Shim is the process of the shim, which started at Start (clock ticks
	// since boot: /proc/PID/stat): a number alone may have become another's.
	Shim  int    `json:"shim"`
	Start uint64 `json:"start"`
	// Task is the process that the container was known by; 0 before it is made.
	Task int `json:"task,omitempty"`
	// Sandbox is set for a sandbox that is no container, and so has no
	// specification.
	Sandbox *Sandbox `json:"sandbox,omitempty"`
	// Exit is how it ended; nil before.
	Exit *Exit `json:"exit,omitempty"`
}

// Sandbox is what a sandbox has on the host: paths of its network namespace and
// of its control group, empty if it has none.
type Sandbox struct {
	Network string `json:"network,omitempty"`
	Group   string `json:"group,omitempty"`
}

// Exit of a container.
type Exit struct {
	Status uint32    `json:"status"`
	At     time.Time `json:"at"`
}

// New returns the record of a container of this process.
func New() (Record, error) {
	start, err := startOf(os.Getpid())
	return Record{Shim: os.Getpid(), Start: start}, err
}

// Write replaces the record in a bundle.
func (r Record) Write(bundle string) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	path := filepath.Join(bundle, file)
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// Read returns the record of a bundle; an error of os.ErrNotExist if there is none.
func Read(bundle string) (Record, error) {
	b, err := os.ReadFile(filepath.Join(bundle, file))
	if err != nil {
		return Record{}, err
	}
	var r Record
	if err := json.Unmarshal(b, &r); err != nil {
		return Record{}, fmt.Errorf("%s: %w", filepath.Join(bundle, file), err)
	}
	return r, nil
}

// Remove removes the record of a bundle, if there is one.
func Remove(bundle string) error {
	if err := os.Remove(filepath.Join(bundle, file)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// KillShim kills the shim if it still lives, and with it its cell, and waits for
// its end.
func (r Record) KillShim(timeout time.Duration) error {
	if r.Shim <= 1 {
		return nil
	}
	// The descriptor stands for the process even after its end.
	fd, err := unix.PidfdOpen(r.Shim, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("shim %d: %w", r.Shim, err)
	}
	defer unix.Close(fd)
	if start, err := startOf(r.Shim); err != nil || start != r.Start {
		return nil // another process by now
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
		if errors.Is(err, unix.ESRCH) {
			return nil
		}
		return fmt.Errorf("kill shim %d: %w", r.Shim, err)
	}
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for end := time.Now().Add(timeout); ; {
		left := time.Until(end)
		if left <= 0 {
			return fmt.Errorf("shim %d does not end: %w", r.Shim, os.ErrDeadlineExceeded)
		}
		n, err := unix.Poll(poll, int(left.Milliseconds())+1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		if n > 0 {
			return nil
		}
	}
}

// startOf is the time at which a process started.
func startOf(pid int) (uint64, error) {
	path := fmt.Sprintf("/proc/%d/stat", pid)
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return parseStat(b)
}

// startField is the number of starttime in /proc/PID/stat, counted from after
// the name, which may hold anything.
const startField = 22 - 3

func parseStat(b []byte) (uint64, error) {
	i := bytes.LastIndexByte(b, ')')
	if i < 0 {
		return 0, errors.New("/proc/PID/stat: no name")
	}
	fields := bytes.Fields(b[i+1:])
	if len(fields) <= startField {
		return 0, fmt.Errorf("/proc/PID/stat: %d fields after the name", len(fields))
	}
	return strconv.ParseUint(string(fields[startField]), 10, 64)
}
