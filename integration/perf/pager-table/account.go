// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// account is a control group that counts the processor time of a cell, all its
// host processes and the pager included.
type account struct{ dir, usage string }

// openAccount makes one, in either version of control groups.
func openAccount() (*account, error) {
	name := fmt.Sprintf("pager-table-%d", os.Getpid())
	a := &account{filepath.Join("/sys/fs/cgroup/cpuacct", name), "cpuacct.usage"}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		a = &account{filepath.Join("/sys/fs/cgroup", name), "cpu.stat"}
	}
	return a, os.MkdirAll(a.dir, 0o755)
}

// wrap is the command that runs another one in the group.
func (a *account) wrap(line ...string) []string {
	return append([]string{"/bin/sh", "-c", `echo $$ >"$0" && exec "$@"`, filepath.Join(a.dir, "cgroup.procs")}, line...)
}

// used is the processor time so far.
func (a *account) used() (time.Duration, error) {
	b, err := os.ReadFile(filepath.Join(a.dir, a.usage))
	if err != nil {
		return 0, err
	}
	text, unit := strings.TrimSpace(string(b)), time.Nanosecond
	if rest, ok := strings.CutPrefix(text, "usage_usec "); ok {
		text, _, _ = strings.Cut(rest, "\n")
		unit = time.Microsecond
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return time.Duration(n) * unit, err
}

// close removes the group, whose processes have ended.
func (a *account) close() error {
	var err error
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if err = os.Remove(a.dir); err == nil {
			return nil
		}
	}
	return err
}
