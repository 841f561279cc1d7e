// SPDX-License-Identifier: Apache-2.0

// Package hostport connects to vsock ports of the host's side. It does without
// package net, which would double the size of a program that needs no more than
// this.
package hostport

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Timeout is how long the host may take to accept a connection.
const Timeout = 10 * time.Second

// Dial connects to a port of the host. The file uses the poller: a blocked read
// or write costs no thread, deadlines work, and Close ends both.
//
// The socket does not block from the start. A connect that blocks is given up
// by the kernel on the first signal, and the Go runtime sends itself signals;
// the host would see a connection that is gone at once, and a second one.
func Dial(port uint32) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("socket to the host: %w", err)
	}
	err = unix.Connect(fd, &unix.SockaddrVM{CID: unix.VMADDR_CID_HOST, Port: port})
	if errors.Is(err, unix.EINPROGRESS) {
		err = connected(fd)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("connect to port %d of the host: %w", port, err)
	}
	return os.NewFile(uintptr(fd), fmt.Sprintf("vsock:%d", port)), nil
}

// connected waits for the end of a connect in progress and returns its result.
func connected(fd int) error {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	for end := time.Now().Add(Timeout); ; {
		n, err := unix.Poll(fds, max(1, int(time.Until(end).Milliseconds())))
		switch {
		case err != nil && !errors.Is(err, unix.EINTR):
			return err
		case n > 0:
			code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
			if err == nil && code != 0 {
				err = unix.Errno(code)
			}
			return err
		case time.Now().After(end):
			return unix.ETIMEDOUT
		}
	}
}
