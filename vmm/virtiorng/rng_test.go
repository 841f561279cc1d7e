// SPDX-License-Identifier: Apache-2.0

package virtiorng_test

import (
	"bytes"
	"testing"

	"github.com/paracell/paracell/vmm/virtio/virtiotest"
	"github.com/paracell/paracell/vmm/virtiorng"
)

func TestFillsBuffers(t *testing.T) {
	m := virtiotest.NewMachine(t, 1<<20)
	d := virtiorng.New()
	q := virtiotest.Start(t, m, d)[0]

	q.Add(nil, 16, 48)
	d.Kick(0)
	_, first := q.Wait()
	q.Add(nil, 64)
	d.Kick(0)
	_, second := q.Wait()
	if len(first) != 64 || len(second) != 64 || bytes.Equal(first, second) {
		t.Fatalf("got %x and %x", first, second)
	}

	q.Add(nil, 100<<10)
	d.Kick(0)
	if _, data := q.Wait(); len(data) != 4096 {
		t.Fatalf("a large buffer got %d bytes, want 4096", len(data))
	}

	// A buffer that cannot be written is the driver's loss.
	q.Add([][]byte{{1}})
	d.Kick(0)
	if _, data := q.Wait(); len(data) != 0 {
		t.Fatal("bytes in a buffer that is to be read")
	}
}

func TestResetAndStartAgain(t *testing.T) {
	d := virtiorng.New()
	d.Reset()
	m := virtiotest.NewMachine(t, 1<<20)
	virtiotest.Start(t, m, d)
	d.Reset()
	q := virtiotest.Start(t, m, d)[0]
	q.Add(nil, 8)
	d.Kick(0)
	q.Wait()
}
