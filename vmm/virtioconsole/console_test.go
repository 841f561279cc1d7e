// SPDX-License-Identifier: Apache-2.0

package virtioconsole_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/paracell/paracell/vmm/virtio/virtiotest"
	"github.com/paracell/paracell/vmm/virtioconsole"
)

const (
	rx = 0
	tx = 1
)

func TestOutputInOrder(t *testing.T) {
	m := virtiotest.NewMachine(t, 8<<20)
	var out bytes.Buffer
	d := virtioconsole.New(virtioconsole.Options{Out: &out})
	q := virtiotest.Start(t, m, d)[tx]
	var want strings.Builder
	for i := range 200 {
		line := strings.Repeat("x", i%50) + "\n"
		want.WriteString(line)
		q.Add([][]byte{[]byte(line[:len(line)/2]), []byte(line[len(line)/2:])})
		d.Kick(tx)
		q.Wait()
	}
	if err := d.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if out.String() != want.String() {
		t.Errorf("got %d bytes, want %d", out.Len(), want.Len())
	}
}

func TestInputWaitsForBuffers(t *testing.T) {
	m := virtiotest.NewMachine(t, 8<<20)
	in, feed := io.Pipe()
	d := virtioconsole.New(virtioconsole.Options{In: in})
	q := virtiotest.Start(t, m, d)[rx]
	text := strings.Repeat("0123456789", 2000)
	go func() {
		io.WriteString(feed, text)
		feed.Close()
	}()
	var got []byte
	for len(got) < len(text) {
		q.Add(nil, 1000)
		d.Kick(rx)
		_, data := q.Wait()
		got = append(got, data...)
	}
	if string(got) != text {
		t.Error("input differs")
	}
}

func TestInputSurvivesReset(t *testing.T) {
	m := virtiotest.NewMachine(t, 1<<20)
	in, feed := io.Pipe()
	d := virtioconsole.New(virtioconsole.Options{In: in})
	virtiotest.Start(t, m, d)
	if _, err := io.WriteString(feed, "early"); err != nil {
		t.Fatal(err)
	}
	d.Reset()
	q := virtiotest.Start(t, m, d)[rx]
	q.Add(nil, 100)
	d.Kick(rx)
	if _, data := q.Wait(); string(data) != "early" {
		t.Errorf("got %q", data)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("gone") }

func TestFailedWriterDoesNotStopTheGuest(t *testing.T) {
	m := virtiotest.NewMachine(t, 1<<20)
	d := virtioconsole.New(virtioconsole.Options{Out: failing{}})
	q := virtiotest.Start(t, m, d)[tx]
	for range 3 {
		q.Add([][]byte{[]byte("x")})
		d.Kick(tx)
		q.Wait()
	}
}

func TestSizeIsOffered(t *testing.T) {
	d := virtioconsole.New(virtioconsole.Options{Cols: 80, Rows: 25})
	if d.Features()&1 == 0 || !bytes.HasPrefix(d.Config(), []byte{80, 0, 25, 0}) {
		t.Errorf("features %#x, config %v", d.Features(), d.Config())
	}
	var got []byte
	d.OnConfigChange(func(c []byte) { got = c })
	d.Resize(132, 50)
	if !bytes.HasPrefix(got, []byte{132, 0, 50, 0}) || !bytes.Equal(got, d.Config()) {
		t.Errorf("after a resize: %v", got)
	}
}

// stuck is a writer that blocks until it is let go.
type stuck chan struct{}

func (s stuck) Write(p []byte) (int, error) {
	<-s
	return len(p), nil
}

func TestStuckWriter(t *testing.T) {
	m := virtiotest.NewMachine(t, 64<<20)
	w := make(stuck)
	defer close(w)
	d := virtioconsole.New(virtioconsole.Options{Out: w})
	q := virtiotest.Start(t, m, d)[tx]
	page := bytes.Repeat([]byte("x"), 4096)
	// A slow writer does not stop the guest at once.
	for range 32 {
		q.Add([][]byte{page})
		d.Kick(tx)
		q.Wait()
	}
	for q.Room(1) {
		q.Add([][]byte{page})
		d.Kick(tx)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := d.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("drained: %v", err)
	}
	d.Reset() // does not wait for the writer
}
