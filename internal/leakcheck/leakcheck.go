// SPDX-License-Identifier: Apache-2.0

// Package leakcheck fails a test binary that leaves files, child processes or
// goroutines behind.
package leakcheck

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Main is the body of TestMain. The allowed strings are substrings of links in
// /proc/self/fd that may stay open for the life of the process.
func Main(m *testing.M, allowed ...string) {
	before := openFiles()
	code := m.Run()
	if code == 0 {
		if leaks := find(before, allowed); leaks != "" {
			fmt.Fprintln(os.Stderr, "FAIL: the tests left behind:\n"+leaks)
			code = 1
		}
	}
	os.Exit(code)
}

// find describes what is left. Goroutines and files get a moment to go away:
// their end is not always waited for.
func find(before map[string]string, allowed []string) string {
	var leaks string
	for range 1500 {
		leaks = files(before, allowed) + goroutines() + children()
		if leaks == "" {
			return ""
		}
		time.Sleep(20 * time.Millisecond)
	}
	return leaks
}

// openFiles maps descriptors to what they are.
func openFiles() map[string]string {
	files := map[string]string{}
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return files
	}
	for _, e := range entries {
		// The descriptor of the directory itself is gone by now.
		if target, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil {
			files[e.Name()] = target
		}
	}
	return files
}

func files(before map[string]string, allowed []string) string {
	var b strings.Builder
next:
	for fd, target := range openFiles() {
		if before[fd] == target || strings.HasPrefix(target, "anon_inode:[eventpoll]") || strings.HasPrefix(target, "anon_inode:[eventfd]") && runtimeFile(fd, before) {
			continue
		}
		for _, a := range allowed {
			if strings.Contains(target, a) {
				continue next
			}
		}
		fmt.Fprintf(&b, "file %s: %s\n", fd, target)
	}
	return b.String()
}

// runtimeFile recognises the Go runtime's own wake-up descriptor: it is made
// together with its poller, right after it.
func runtimeFile(fd string, before map[string]string) bool {
	var n int
	if _, err := fmt.Sscan(fd, &n); err != nil {
		return false
	}
	now := openFiles()
	prev := fmt.Sprint(n - 1)
	return before[fd] == "" && strings.HasPrefix(now[prev], "anon_inode:[eventpoll]")
}

// goroutines returns the stacks of all but the runtime's and this one.
func goroutines() string {
	buf := make([]byte, 1<<20)
	stacks := strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n")
	var b strings.Builder
	for _, s := range stacks[1:] {
		if strings.Contains(s, "testing.(*M).") || strings.Contains(s, "os/signal.") || strings.Contains(s, "runtime.ensureSigM") {
			continue
		}
		b.WriteString(s + "\n\n")
	}
	return b.String()
}

// children says whether there are child processes.
func children() string {
	var ws syscall.WaitStatus
	pid, err := syscall.Wait4(-1, &ws, syscall.WNOHANG, nil)
	switch {
	case err != nil: // ECHILD
		return ""
	case pid == 0:
		return "a running child process\n"
	default:
		return fmt.Sprintf("child process %d that was not waited for\n", pid)
	}
}
