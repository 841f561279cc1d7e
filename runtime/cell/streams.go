// SPDX-License-Identifier: Apache-2.0

package cell

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"

	"github.com/paracell/paracell/protos/boot"
	"github.com/paracell/paracell/vmm/virtiovsock"
)

// streams carries the standard streams of a command that has no terminal over
// the socket device.
type streams struct {
	done sync.WaitGroup // output is complete
	mu   sync.Mutex
	err  error // of a writer
}

// newStreams listens for the guest's PID 1. A closed device ends everything.
func newStreams(d *virtiovsock.Device, stdio IO) (*streams, error) {
	s := &streams{}
	outputs := map[uint32]io.Writer{boot.PortStdout: stdio.Stdout, boot.PortStderr: stdio.Stderr}
	for port, w := range outputs {
		l, err := d.Listen(port)
		if err != nil {
			return nil, err
		}
		s.done.Go(func() { s.fail(receive(l, w)) })
	}
	if stdio.Stdin == nil {
		return s, nil
	}
	l, err := d.Listen(boot.PortStdin)
	if err != nil {
		return nil, err
	}
	go send(l, stdio.Stdin)
	return s, nil
}

// receive copies the guest's output. When the writer fails the rest is thrown
// away, so that the command does not hang.
func receive(l net.Listener, w io.Writer) error {
	conn, err := l.Accept()
	if err != nil {
		return nil // the guest never came
	}
	defer conn.Close()
	if w == nil {
		w = io.Discard
	}
	out := &remember{w: w}
	_, _ = io.Copy(out, conn)
	if out.err != nil {
		_, _ = io.Copy(io.Discard, conn)
	}
	return out.err
}

// remember keeps the error of a writer, which io.Copy mixes with the reader's.
type remember struct {
	w   io.Writer
	err error
}

func (r *remember) Write(p []byte) (int, error) {
	n, err := r.w.Write(p)
	r.err = err
	return n, err
}

// send copies input until it ends or the guest has enough.
func send(l net.Listener, r io.Reader) {
	conn, err := l.Accept()
	if err != nil {
		return
	}
	// An error of either side is the end of the input.
	_, _ = io.Copy(conn, r)
	if c, ok := conn.(*virtiovsock.Conn); ok {
		_ = c.CloseWrite()
	}
}

func (s *streams) fail(err error) {
	s.mu.Lock()
	s.err = errors.Join(s.err, err)
	s.mu.Unlock()
}

// drain waits for the end of the output of a guest whose devices are closed.
func (s *streams) drain(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		s.done.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}
