// SPDX-License-Identifier: Apache-2.0

// Package reaper waits for all children of PID 1: the programs that it starts
// itself, the processes of containers, which become its children when the
// program that made them ends, and orphans.
package reaper

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"time"

	runc "github.com/containerd/go-runc"
	"golang.org/x/sys/unix"
)

// Reaper is a runc.ProcessMonitor. Its methods may be called by many goroutines.
type Reaper struct {
	mu      sync.Mutex
	waiters map[int]chan runc.Exit
	// recent has the exits that nobody waited for while a launch is under
	// way: the process that is being launched may be one of them.
	recent   map[int]runc.Exit
	launches int
}

// New starts to reap.
func New() *Reaper {
	r := &Reaper{waiters: map[int]chan runc.Exit{}, recent: map[int]runc.Exit{}}
	died := make(chan os.Signal, 1)
	signal.Notify(died, unix.SIGCHLD)
	go func() {
		for range died {
			r.reap()
		}
	}()
	return r
}

func (r *Reaper) reap() {
	for {
		r.mu.Lock()
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			r.mu.Unlock()
			continue
		}
		if err != nil || pid <= 0 {
			r.mu.Unlock()
			return
		}
		r.exitLocked(runc.Exit{Timestamp: time.Now(), Pid: pid, Status: status(ws)})
		r.mu.Unlock()
	}
}

// status is the exit status as shells give it.
func status(ws unix.WaitStatus) int {
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}

func (r *Reaper) exitLocked(e runc.Exit) {
	if c := r.waiters[e.Pid]; c != nil {
		delete(r.waiters, e.Pid)
		c <- e // has room
		return
	}
	if r.launches > 0 {
		r.recent[e.Pid] = e
	}
}

// Launch is called before a process is made whose number is known only later;
// what it returns is called after Watch.
func (r *Reaper) Launch() (done func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.launches++
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.launches--; r.launches == 0 {
			clear(r.recent)
		}
	}
}

// Watch returns where the exit of a process arrives, once, also if it was since
// Launch.
func (r *Reaper) Watch(pid int) <-chan runc.Exit {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.watchLocked(pid)
}

func (r *Reaper) watchLocked(pid int) chan runc.Exit {
	c := make(chan runc.Exit, 1)
	if e, ok := r.recent[pid]; ok {
		delete(r.recent, pid)
		c <- e
		return c
	}
	r.waiters[pid] = c
	return c
}

// Start implements runc.ProcessMonitor.
func (r *Reaper) Start(cmd *exec.Cmd) (chan runc.Exit, error) {
	// The lock keeps reap from taking the exit before anybody waits for it.
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return r.watchLocked(cmd.Process.Pid), nil
}

// StartLocked implements runc.ProcessMonitor. The death of a thread of PID 1 is
// of no concern.
func (r *Reaper) StartLocked(cmd *exec.Cmd) (chan runc.Exit, error) { return r.Start(cmd) }

// Wait implements runc.ProcessMonitor.
func (r *Reaper) Wait(cmd *exec.Cmd, c chan runc.Exit) (int, error) {
	e := <-c
	// Its output may still be on the way; the exit is not there any more.
	_ = cmd.Wait()
	return e.Status, nil
}
