// SPDX-License-Identifier: Apache-2.0

package service

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/containerd/console"
	"github.com/containerd/errdefs"
	runc "github.com/containerd/go-runc"
	"golang.org/x/sys/unix"

	agent "github.com/paracell/paracell/protos/agent/v1"
)

// The end of a terminal's output is waited for after its process has ended. In
// ticks: one in which nothing comes can be one in which the guest did not run.
const (
	terminalTick = 250 * time.Millisecond
	quietTicks   = 4
	// stuckTicks is the patience with a host that takes nothing.
	stuckTicks = 20
	// maxTicks is for a process that was left behind and goes on writing.
	maxTicks = 20
	// terminalRoom is more than a terminal holds, in bytes.
	terminalRoom = 256 << 10
)

// Stream is a connection to the host.
type Stream interface {
	io.ReadWriteCloser
	// CloseWrite says that nothing more will be written.
	CloseWrite() error
}

// streams connects a process to the host. The process has pipes or a terminal,
// not the sockets themselves: programs open /dev/stdout, which a socket refuses.
type streams struct {
	stdin, stdout, stderr Stream

	// The process's ends and ours, without a terminal.
	theirs [3]*os.File
	input  *os.File
	out    [2]*output

	socket *runc.Socket
	tty    console.Console
}

// openStreams connects to the ports of the host and makes what the process gets.
func (v *Service) openStreams(io *agent.Stdio) (s *streams, err error) {
	s = &streams{}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	for _, d := range []struct {
		port uint32
		conn *Stream
	}{{io.GetStdin(), &s.stdin}, {io.GetStdout(), &s.stdout}, {io.GetStderr(), &s.stderr}} {
		if d.port == 0 {
			continue
		}
		if *d.conn, err = v.Dial(d.port); err != nil {
			return s, err
		}
		if _, err = (*d.conn).Write(io.GetToken()); err != nil {
			return s, fmt.Errorf("stream at port %d of the host: %w", d.port, err)
		}
	}
	if io.GetTerminal() {
		s.socket, err = runc.NewTempConsoleSocket()
		return s, err
	}
	return s, s.pipes()
}

func (s *streams) pipes() (err error) {
	if s.stdin == nil {
		s.theirs[0], err = os.Open(os.DevNull)
	} else {
		s.theirs[0], s.input, err = os.Pipe()
	}
	if err != nil {
		return err
	}
	for i, conn := range []Stream{s.stdout, s.stderr} {
		if conn == nil {
			if s.theirs[i+1], err = os.OpenFile(os.DevNull, os.O_WRONLY, 0); err != nil {
				return err
			}
			continue
		}
		var r *os.File
		if r, s.theirs[i+1], err = os.Pipe(); err != nil {
			return err
		}
		s.out[i] = newOutput(r, conn)
	}
	return nil
}

// started begins to copy, when the process has been made.
func (s *streams) started() error {
	if s.socket != nil {
		tty, err := s.socket.ReceiveMaster()
		if err != nil {
			return fmt.Errorf("terminal of the process: %w", err)
		}
		s.tty = tty
		// A file of its own, with the poller: reads of a console block a thread.
		fd, err := unix.FcntlInt(tty.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return err
		}
		if err := unix.SetNonblock(fd, true); err != nil {
			return err
		}
		f := os.NewFile(uintptr(fd), "terminal")
		if s.stdin != nil {
			go copyInput(f, s.stdin, false)
		}
		s.out[0] = newOutput(f, s.stdout)
		go s.out[0].copy()
		return nil
	}
	s.closeTheirs()
	if s.stdin != nil {
		go copyInput(s.input, s.stdin, true)
	}
	for _, o := range s.out {
		if o != nil {
			go o.copy()
		}
	}
	return nil
}

func (s *streams) closeTheirs() {
	for i, f := range s.theirs {
		if f != nil {
			f.Close()
			s.theirs[i] = nil
		}
	}
}

// written returns how much the process has written, when it has ended.
func (s *streams) written() (stdout, stderr uint64) {
	if s.tty != nil {
		s.out[0].drain(terminalTick)
		return s.out[0].total(), 0
	}
	if s.out[0] != nil {
		stdout = s.out[0].total()
	}
	if s.out[1] != nil {
		stderr = s.out[1].total()
	}
	return stdout, stderr
}

func (s *streams) resize(width, height uint32) error {
	if s.tty == nil {
		return fmt.Errorf("the process has no terminal, or not yet: %w", errdefs.ErrFailedPrecondition)
	}
	return s.tty.Resize(console.WinSize{Width: uint16(width), Height: uint16(height)})
}

func (s *streams) close() {
	s.closeTheirs()
	if s.socket != nil {
		s.socket.Close()
	}
	if s.tty != nil {
		s.tty.Close()
	}
	for _, o := range s.out {
		if o != nil {
			o.from.Close()
		}
	}
	if s.input != nil {
		s.input.Close()
	}
	for _, c := range []Stream{s.stdin, s.stdout, s.stderr} {
		if c != nil {
			c.Close()
		}
	}
}

// console is what a runtime's command line gets.
func (s *streams) console() runc.ConsoleSocket {
	if s.socket == nil {
		return nil
	}
	return s.socket
}

// io is what a runtime's command inherits and hands to the process.
func (s *streams) io() runc.IO {
	if s.socket != nil {
		return nil
	}
	return inherited{s}
}

type inherited struct{ s *streams }

func (i inherited) Close() error          { return nil }
func (i inherited) Stdin() io.WriteCloser { return nil }
func (i inherited) Stdout() io.ReadCloser { return nil }
func (i inherited) Stderr() io.ReadCloser { return nil }
func (i inherited) Set(cmd *exec.Cmd) {
	cmd.Stdin, cmd.Stdout, cmd.Stderr = i.s.theirs[0], i.s.theirs[1], i.s.theirs[2]
}

// copyInput ends the process's input when the host does. A terminal has no end.
func copyInput(to *os.File, from Stream, end bool) {
	_, _ = io.Copy(struct{ io.Writer }{to}, from)
	if end {
		to.Close()
	}
}

// output copies what a process writes and counts it.
type output struct {
	from *os.File
	to   Stream // nil throws it away
	done chan struct{}

	sending atomic.Bool // a write to the host is under way
	sent    atomic.Uint64

	mu   sync.Mutex // held while reading, so that total is exact
	read uint64
}

func newOutput(from *os.File, to Stream) *output {
	return &output{from: from, to: to, done: make(chan struct{})}
}

func (o *output) copy() {
	defer close(o.done)
	buf := make([]byte, 32<<10)
	for {
		n := o.next(buf)
		if n <= 0 {
			break
		}
		if o.to == nil {
			continue
		}
		o.sending.Store(true)
		if _, err := o.to.Write(buf[:n]); err != nil {
			o.to = nil // the process must not block because nobody listens
		}
		o.sent.Add(uint64(n))
		o.sending.Store(false)
	}
	if o.to != nil {
		_ = o.to.CloseWrite()
	}
}

func (o *output) next(buf []byte) int {
	raw, err := o.from.SyscallConn()
	if err != nil {
		return 0
	}
	n := 0
	err = raw.Read(func(fd uintptr) bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		for {
			n, err = syscall.Read(int(fd), buf)
			if !errors.Is(err, unix.EINTR) {
				break
			}
		}
		if n > 0 {
			o.read += uint64(n)
		}
		return !errors.Is(err, unix.EAGAIN)
	})
	if err != nil {
		return 0
	}
	return n
}

// drain waits for the end of the output. What the kernel has not yet handed to a
// terminal's other side is in no figure, so a slow reader may not cut it off; but
// a process that was left behind with the terminal may keep it open for ever.
func (o *output) drain(tick time.Duration) {
	read, sent := o.progress()
	first := read
	for quiet, stuck, ticks := 0, 0, 0; quiet < quietTicks && stuck < stuckTicks && ticks < maxTicks; {
		select {
		case <-o.done:
			return
		case <-time.After(tick):
		}
		r, s := o.progress()
		if r-first > terminalRoom {
			return // more than can have been on its way when the process ended
		}
		moved := r != read || s != sent
		read, sent = r, s
		switch {
		case o.sending.Load() && moved:
			quiet, stuck = 0, 0
		case o.sending.Load():
			quiet, stuck = 0, stuck+1 // nobody reads
		case moved:
			quiet, stuck, ticks = 0, 0, ticks+1
		default:
			quiet, ticks = quiet+1, ticks+1
		}
	}
}

// progress is how many bytes have been read and handed on.
func (o *output) progress() (read, sent uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.read, o.sent.Load()
}

// total is what has been written so far, copied or not.
func (o *output) total() uint64 {
	raw, err := o.from.SyscallConn()
	if err != nil {
		return o.read
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	waiting := 0
	_ = raw.Control(func(fd uintptr) {
		if n, err := unix.IoctlGetInt(int(fd), unix.TIOCINQ); err == nil {
			waiting = n
		}
	})
	return o.read + uint64(waiting)
}
