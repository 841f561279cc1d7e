// SPDX-License-Identifier: Apache-2.0

package pid1

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/paracell/paracell/agent/vsock/hostport"
	"github.com/paracell/paracell/protos/boot"
)

// stdio is what the command is connected to.
type stdio struct {
	files    [3]*os.File // the command's
	terminal bool        // files are a terminal
	out      sync.WaitGroup
}

// openStdio connects the command's streams as the spec says. Without a terminal
// and streams they are what the kernel has opened for PID 1.
func openStdio(spec *boot.Spec) (*stdio, error) {
	s := &stdio{files: [3]*os.File{os.Stdin, os.Stdout, os.Stderr}}
	switch {
	case spec.Terminal != "":
		tty, err := os.OpenFile(filepath.Join("/dev", spec.Terminal), os.O_RDWR|unix.O_NOCTTY, 0)
		if err != nil {
			return nil, fmt.Errorf("terminal: %w", err)
		}
		s.files, s.terminal = [3]*os.File{tty, tty, tty}, true
	case spec.Streams:
		if err := s.connect(spec.Stdin); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// connect makes pipes for the command and copies between them and sockets.
func (s *stdio) connect(stdin bool) (err error) {
	if stdin {
		if s.files[0], err = s.input(); err != nil {
			return err
		}
	} else if s.files[0], err = os.Open(os.DevNull); err != nil {
		return err
	}
	if s.files[1], err = s.output(boot.PortStdout); err != nil {
		return err
	}
	s.files[2], err = s.output(boot.PortStderr)
	return err
}

func (s *stdio) input() (*os.File, error) {
	conn, err := hostport.Dial(boot.PortStdin)
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	go func() {
		// An error is the end of input, or of the command's interest in it.
		_, _ = io.Copy(w, conn)
		w.Close()
		conn.Close()
	}()
	return r, nil
}

func (s *stdio) output(port uint32) (*os.File, error) {
	conn, err := hostport.Dial(port)
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	s.out.Go(func() {
		defer conn.Close()
		if _, err := io.Copy(conn, r); err != nil {
			complain(fmt.Errorf("output of the command: %w", err))
			// The command must not block for ever on a pipe that nobody reads.
			_, _ = io.Copy(io.Discard, r)
			return
		}
		if raw, err := conn.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_WR) })
		}
		// The host closes when it has everything.
		_, _ = conn.Read(make([]byte, 1))
	})
	return w, nil
}

// started gives up the command's ends, so that its end is the end of its output.
func (s *stdio) started(spec *boot.Spec) {
	if spec.Streams {
		for _, f := range s.files {
			f.Close()
		}
	}
}

// drain ends all processes that could still write, and waits until the host has
// all output.
func (s *stdio) drain(spec *boot.Spec) {
	if !spec.Streams {
		return
	}
	_ = unix.Kill(-1, unix.SIGKILL)
	s.out.Wait()
}
