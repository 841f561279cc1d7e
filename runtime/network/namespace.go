// SPDX-License-Identifier: Apache-2.0

// Package network connects the network namespace that the host gives a container
// with the cell in which the container runs: for each interface of the
// namespace it makes a tap, and has the host's kernel pass on what comes in at
// one to the other (tc, mirred). The cell then has an interface with the same
// hardware address and all else that is configured, so it answers for it: for
// the rest of the network nothing has changed. docs/network.md has the picture.
package network

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Namespace is a network namespace of the host. Close must be called.
type Namespace struct {
	file *os.File
	id   id
	path string // empty: only this process holds it
}

// id is what a namespace is recognised by.
type id struct{ dev, ino uint64 }

// Open opens the network namespace that a path stands for: a bind mount, or a
// file below /proc.
func Open(path string) (*Namespace, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("network namespace: %w", err)
	}
	ns, err := newNamespace(f, path)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("network namespace %s: %w", path, err)
	}
	return ns, nil
}

func newNamespace(f *os.File, path string) (*Namespace, error) {
	kind, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_NSTYPE)
	if err != nil || kind != unix.CLONE_NEWNET {
		return nil, errors.New("the file is not a network namespace")
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, err
	}
	return &Namespace{file: f, id: id{st.Dev, st.Ino}, path: path}, nil
}

// Current opens the namespace of the calling thread.
func Current() (*Namespace, error) { return Open("/proc/thread-self/ns/net") }

// New makes a namespace without interfaces.
func New() (*Namespace, error) {
	var made *Namespace
	before, err := Current()
	if err != nil {
		return nil, err
	}
	defer before.Close()
	err = before.Do(func() error { // on a thread that comes back
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		var err error
		made, err = Current()
		return err
	})
	if err == nil {
		made.path = ""
	}
	return made, err
}

// Same says whether two are one.
func (n *Namespace) Same(other *Namespace) bool { return n.id == other.id }

func (n *Namespace) String() string {
	if n.path == "" {
		return fmt.Sprintf("of the cell (inode %d)", n.id.ino)
	}
	return n.path
}

// Do calls f on a thread that is in the namespace.
func (n *Namespace) Do(f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		before, err := Current()
		if err != nil {
			runtime.UnlockOSThread()
			result <- err
			return
		}
		defer before.Close()
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			runtime.UnlockOSThread()
			result <- fmt.Errorf("enter the network namespace %s: %w", n, err)
			return
		}
		err = f()
		// A thread that cannot go back stays locked, and ends with the goroutine.
		if unix.Setns(int(before.file.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		result <- err
	}()
	return <-result
}

// Close gives the file back; a namespace that nobody else holds goes away.
func (n *Namespace) Close() error { return n.file.Close() }

// Fd is the open file of the namespace.
func (n *Namespace) Fd() int { return int(n.file.Fd()) }
