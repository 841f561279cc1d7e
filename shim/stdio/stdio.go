// SPDX-License-Identifier: Apache-2.0

// Package stdio connects the streams of processes in a guest to what containerd
// asks for: FIFOs, files or a logging program. docs/streams.md has the protocol
// of the guest's side.
package stdio

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	agent "github.com/paracell/paracell/protos/agent/v1"
)

const (
	// tokenSize is that of the token with which the agent's connections begin,
	// in bytes.
	tokenSize = 16
	// tokenTimeout is how long one may take to say it.
	tokenTimeout = 10 * time.Second
)

// Config is what containerd asks for; an empty string is no stream.
type Config struct {
	Stdin, Stdout, Stderr string
	Terminal              bool
}

// Listener is where the guest connects.
type Listener interface {
	Listen(port uint32) (net.Listener, error)
}

// Ports hands out the ports of a cell, each once.
type Ports struct{ next atomic.Uint32 }

func (p *Ports) take() uint32 { return agent.FirstStreamPort + p.next.Add(1) }

// IO is the streams of one process.
type IO struct {
	config Config
	guest  agent.Stdio

	ended   atomic.Int32 // outputs into a shared file
	stuck   atomic.Bool  // nobody reads the output: Drain has waited in vain
	start   sync.Once
	started chan struct{}

	mu        sync.Mutex
	listeners []net.Listener
	writeEnd  *os.File // of stdin: keeps it open while nobody is attached
	inputEnds bool     // CloseStdin was called
	closers   []io.Closer

	stdout, stderr *output
	logger         *logger
}

// Open opens the host's side and waits for the guest in the background.
func Open(ctx context.Context, c Config, id string, l Listener, ports *Ports) (_ *IO, err error) {
	s := &IO{config: c, started: make(chan struct{})}
	s.guest.Terminal = c.Terminal
	s.guest.Token = make([]byte, tokenSize)
	_, _ = rand.Read(s.guest.Token) // never fails
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	stdout, stderr, err := s.openOutputs(ctx, id)
	if err != nil {
		return nil, err
	}
	if stdout != nil {
		s.stdout = newOutput()
		if s.guest.Stdout, err = s.serve(l, ports, func(c net.Conn) {
			s.stdout.copy(stdout, c)
			s.finished(stdout, stdout == stderr && !s.config.Terminal)
		}); err != nil {
			return nil, err
		}
	}
	if stderr != nil && !c.Terminal {
		s.stderr = newOutput()
		if s.guest.Stderr, err = s.serve(l, ports, func(c net.Conn) {
			s.stderr.copy(stderr, c)
			s.finished(stderr, stdout == stderr)
		}); err != nil {
			return nil, err
		}
	}
	if c.Stdin == "" {
		return s, nil
	}
	s.guest.Stdin, err = s.serve(l, ports, func(c net.Conn) { s.send(c) })
	return s, err
}

// Started begins to read the input. Not before: clients that come to the end of
// theirs call CloseStdin, but forget it while the process is being created.
func (s *IO) Started() { s.start.Do(func() { close(s.started) }) }

// finished closes a file to which nothing more is written: clients wait for
// its end before they delete the process. A shared one is closed by the second.
func (s *IO) finished(f *os.File, shared bool) {
	if shared && s.ended.Add(1) == 1 {
		return
	}
	f.Close()
}

// Guest is what the agent has to be told.
func (s *IO) Guest() *agent.Stdio { return &s.guest }

// Config is what Open was given.
func (s *IO) Config() Config { return s.config }

func (s *IO) keep(c io.Closer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closers = append(s.closers, c)
}

// serve takes one connection of the guest to a port of its own.
func (s *IO) serve(l Listener, ports *Ports, use func(net.Conn)) (uint32, error) {
	port := ports.take()
	listener, err := l.Listen(port)
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	s.listeners = append(s.listeners, listener)
	s.mu.Unlock()
	go func() {
		conn := s.accept(listener)
		if conn == nil {
			return
		}
		defer conn.Close()
		s.keep(conn)
		use(conn)
	}()
	return port, nil
}

// accept takes the connection that begins with the token, which is the agent's,
// and stops to listen. Others are made by processes of containers, which have no
// business here. nil is the end of the listener.
func (s *IO) accept(l net.Listener) net.Conn {
	found := make(chan net.Conn)
	done, ended := make(chan struct{}), make(chan struct{})
	defer close(done)
	defer l.Close()
	go func() {
		defer close(ended)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			// All at the same time: who says nothing keeps nobody waiting.
			go func() {
				if s.genuine(conn) {
					select {
					case found <- conn:
						return
					case <-done:
					}
				}
				conn.Close()
			}()
		}
	}()
	select {
	case conn := <-found:
		return conn
	case <-ended:
		return nil
	}
}

// genuine says whether a connection begins with the token.
func (s *IO) genuine(conn net.Conn) bool {
	if err := conn.SetReadDeadline(time.Now().Add(tokenTimeout)); err != nil {
		return false
	}
	token := make([]byte, tokenSize)
	if _, err := io.ReadFull(conn, token); err != nil || subtle.ConstantTimeCompare(token, s.guest.Token) != 1 {
		return false
	}
	return conn.SetReadDeadline(time.Time{}) == nil
}

// openInput opens a FIFO without waiting for somebody who writes.
func (s *IO) openInput() (*os.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := os.OpenFile(s.config.Stdin, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if !s.inputEnds {
		if s.writeEnd, err = os.OpenFile(s.config.Stdin, os.O_WRONLY|unix.O_NONBLOCK, 0); err != nil {
			r.Close()
			return nil, err
		}
	}
	s.closers = append(s.closers, r)
	return r, nil
}

// openOutputs opens what the URIs name.
func (s *IO) openOutputs(ctx context.Context, id string) (stdout, stderr *os.File, err error) {
	if u, err := url.Parse(s.config.Stdout); err == nil && (u.Scheme == schemeBinary || u.Scheme == schemeBinary2) {
		if s.logger, err = startLogger(ctx, u, id); err != nil {
			return nil, nil, fmt.Errorf("logging program %s: %w", u.Path, err)
		}
		return s.logger.stdout, s.logger.stderr, nil
	}
	if stdout, err = s.openOutput(s.config.Stdout); err != nil {
		return nil, nil, fmt.Errorf("standard output: %w", err)
	}
	if s.config.Terminal {
		return stdout, nil, nil // some clients name a file for what a terminal does not have
	}
	if s.config.Stderr == s.config.Stdout {
		return stdout, stdout, nil
	}
	if stderr, err = s.openOutput(s.config.Stderr); err != nil {
		return nil, nil, fmt.Errorf("standard error: %w", err)
	}
	return stdout, stderr, nil
}

func (s *IO) openOutput(uri string) (*os.File, error) {
	if uri == "" {
		return nil, nil
	}
	u, err := url.Parse(uri)
	if err != nil {
		return nil, err
	}
	var f *os.File
	switch u.Scheme {
	case "", "fifo":
		f, err = openFIFO(u.Path)
	case "file":
		if err := os.MkdirAll(filepath.Dir(u.Path), 0o755); err != nil {
			return nil, err
		}
		f, err = os.OpenFile(u.Path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	default:
		return nil, fmt.Errorf("%q: fifo, file and binary are what can be written to", uri)
	}
	if err == nil {
		s.keep(f)
	}
	return f, err
}

// openFIFO opens both ends, so that the writer neither waits for a reader nor
// fails when the reader goes and comes back. A file that is no FIFO is written to.
func openFIFO(path string) (*os.File, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if fi.Mode()&os.ModeNamedPipe == 0 {
		return os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	}
	return os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
}

// CloseStdin lets the process see the end of its input when the others who
// write to it have closed it too.
func (s *IO) CloseStdin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inputEnds = true
	if s.writeEnd != nil {
		s.writeEnd.Close()
		s.writeEnd = nil
	}
}

// send copies the input to the guest.
func (s *IO) send(conn net.Conn) {
	<-s.started
	if from, err := s.openInput(); err == nil {
		// An error of either side is the end of the input.
		_, _ = io.Copy(conn, from)
	}
	if c, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
	}
	// The connection stays until the guest closes it: closing resets it.
	_, _ = io.Copy(io.Discard, conn)
}

// Drain waits until that many bytes have been written, or nothing more comes. It
// waits in vain only once.
func (s *IO) Drain(ctx context.Context, stdout, stderr uint64) error {
	if s.stuck.Load() {
		return context.DeadlineExceeded
	}
	err := errors.Join(s.stdout.wait(ctx, stdout), s.stderr.wait(ctx, stderr))
	if err != nil {
		s.stuck.Store(true)
	}
	return err
}

// Finish waits for the end of the output, closes everything and waits for the
// end of the logging program, which the context does not bound.
func (s *IO) Finish(ctx context.Context) {
	_ = s.Drain(ctx, ^uint64(0), ^uint64(0))
	s.mu.Lock()
	l := s.logger
	s.mu.Unlock()
	s.Close()
	if l != nil {
		l.end()
	}
}

// Close closes everything at once.
func (s *IO) Close() {
	s.CloseStdin()
	s.Started() // there is nothing to wait for any more
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.listeners {
		l.Close()
	}
	for _, c := range s.closers {
		c.Close()
	}
	if s.logger != nil {
		s.logger.close()
	}
	s.listeners, s.closers, s.logger = nil, nil, nil
}

// output copies and counts what a process writes.
type output struct {
	mu      sync.Mutex
	changed chan struct{} // closed and replaced
	written uint64
	ended   bool
}

func newOutput() *output { return &output{changed: make(chan struct{})} }

func (o *output) copy(to io.Writer, from net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 && to != nil {
			if _, err := to.Write(buf[:n]); err != nil {
				to = nil // the process must not block for ever
			}
		}
		o.progress(uint64(n), err != nil)
		if err != nil {
			return
		}
	}
}

func (o *output) progress(n uint64, end bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.written += n
	o.ended = o.ended || end
	close(o.changed)
	o.changed = make(chan struct{})
}

func (o *output) wait(ctx context.Context, bytes uint64) error {
	if o == nil {
		return nil
	}
	for {
		o.mu.Lock()
		done, changed := o.ended || o.written >= bytes, o.changed
		o.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// DrainTimeout is how long an exit waits for a reader of the output that has
// stopped to read.
const DrainTimeout = 5 * time.Second
