// SPDX-License-Identifier: Apache-2.0

package service

import (
	"io"
	"os"
	"testing"
	"time"
)

// slowHost takes what it is given when it is told to.
type slowHost struct {
	Stream
	take chan struct{}
}

func (h slowHost) Write(b []byte) (int, error) {
	<-h.take
	return len(b), nil
}
func (h slowHost) CloseWrite() error { return nil }

func newDrained(t *testing.T) (*output, *os.File, slowHost) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	h := slowHost{take: make(chan struct{})}
	o := newOutput(r, h)
	go o.copy()
	return o, w, h
}

const tick = time.Millisecond

// A host that is slow does not end the wait for what has not been read yet.
func TestDrainWaitsForTheHost(t *testing.T) {
	o, w, h := newDrained(t)
	if _, err := w.Write(make([]byte, 50<<10)); err != nil { // two reads
		t.Fatal(err)
	}
	w.Close()
	drained := make(chan struct{})
	go func() {
		o.drain(100 * time.Millisecond)
		close(drained)
	}()
	for range 2 {
		select {
		case <-drained:
			t.Fatal("not all has been read")
		case h.take <- struct{}{}:
		}
	}
	<-drained
	if total := o.total(); total != 50<<10 {
		t.Errorf("%d bytes", total)
	}
}

// Neither a host that takes nothing nor a process that was left behind keep it
// waiting for ever.
func TestDrainEnds(t *testing.T) {
	o, w, h := newDrained(t)
	if _, err := io.WriteString(w, "x"); err != nil {
		t.Fatal(err)
	}
	o.drain(tick)
	close(h.take)
	o.drain(tick) // quiet, and open
	stop := make(chan struct{})
	go func() {
		for {
			select {
			case <-stop:
				return
			default:
				_, _ = w.Write(make([]byte, 100))
			}
		}
	}()
	o.drain(tick)
	close(stop)
}
