// SPDX-License-Identifier: Apache-2.0

package virtioconsole

import (
	"context"
	"io"
	"sync"
)

// spoolSize is how much output may wait for the writer, in bytes. The guest's
// driver spins while its output is not taken, so it must not wait for a writer
// that is just a bit slow.
const spoolSize = 256 << 10

// spool decouples the guest from the writer: a goroutine of its own writes.
type spool struct {
	w io.Writer

	mu      sync.Mutex
	change  sync.Cond // any of the below
	buf     []byte
	writing bool
	paused  bool // add gives up
	closed  bool // write gives up too
	failed  bool // output is thrown away
}

func newSpool(w io.Writer) *spool {
	s := &spool{w: w}
	s.change.L = &s.mu
	go s.run()
	return s
}

// add copies parts to the spool and waits while it is full. It returns false
// when it was told to give up.
func (s *spool) add(parts [][]byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range parts {
		for len(p) > 0 {
			for len(s.buf) >= spoolSize && !s.paused && !s.failed {
				s.change.Wait()
			}
			if s.paused {
				return false
			}
			n := min(len(p), spoolSize-len(s.buf))
			if s.failed {
				n = len(p)
			} else {
				s.buf = append(s.buf, p[:n]...)
				s.change.Broadcast()
			}
			p = p[n:]
		}
	}
	return true
}

// run writes until the spool is closed.
func (s *spool) run() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for len(s.buf) == 0 && !s.closed {
			s.change.Wait()
		}
		if s.closed {
			return
		}
		out := s.buf
		s.buf, s.writing = nil, true
		s.mu.Unlock()
		_, err := s.w.Write(out)
		s.mu.Lock()
		s.writing = false
		if err != nil {
			s.failed, s.buf = true, nil
		}
		s.change.Broadcast()
	}
}

// pause makes add give up, or lets it work again.
func (s *spool) pause(on bool) {
	s.mu.Lock()
	s.paused = on
	s.change.Broadcast()
	s.mu.Unlock()
}

// drain waits until all output has been written.
func (s *spool) drain(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		s.change.Broadcast()
		s.mu.Unlock()
	})
	defer stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for (len(s.buf) > 0 || s.writing) && !s.closed && ctx.Err() == nil {
		s.change.Wait()
	}
	return ctx.Err()
}

// close throws away what has not been written.
func (s *spool) close() {
	s.mu.Lock()
	s.closed, s.buf = true, nil
	s.change.Broadcast()
	s.mu.Unlock()
}
