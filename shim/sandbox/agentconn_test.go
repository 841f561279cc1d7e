// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/containerd/ttrpc"

	agent "github.com/paracell/paracell/protos/agent/v1"
)

// frame is a message of ttrpc with a body of so many bytes.
func frame(size int) []byte {
	b := make([]byte, frameHeader+size)
	binary.BigEndian.PutUint32(b, uint32(size))
	return b
}

func TestFrames(t *testing.T) {
	var stream []byte
	sizes := []int{0, 1, 9, 10, 11, 4096, 0, 0}
	for _, size := range sizes {
		stream = append(stream, frame(size)...)
	}
	for piece := 1; piece < 40; piece++ {
		var f frames
		var n uint64
		for b := stream; len(b) > 0; b = b[min(piece, len(b)):] {
			n += f.count(b[:min(piece, len(b))])
		}
		if n != uint64(len(sizes)) {
			t.Errorf("%d messages in pieces of %d bytes, want %d", n, piece, len(sizes))
		}
	}
}

// helloOnly answers one call.
type helloOnly struct{ agent.AgentService }

func (helloOnly) Hello(context.Context, *agent.HelloRequest) (*agent.HelloResponse, error) {
	return &agent.HelloResponse{Kernel: "6.12"}, nil
}

func TestAgentConnCarriesCalls(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	server, err := ttrpc.NewServer()
	if err != nil {
		t.Fatal(err)
	}
	agent.RegisterAgentService(server, helloOnly{})
	done := make(chan error)
	go func() { done <- server.Serve(t.Context(), l) }()
	host, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	client := ttrpc.NewClient(&agentConn{Conn: host, patience: 10 * time.Second})
	for range 3 {
		if r, err := agent.NewAgentClient(client).Hello(t.Context(), &agent.HelloRequest{}); err != nil || r.Kernel != "6.12" {
			t.Errorf("%v, %v", r, err)
		}
	}
	client.Close()
	server.Close()
	<-done
}

// TestAgentTakesNothing: who calls an agent that does not read is not kept waiting.
func TestAgentTakesNothing(t *testing.T) {
	host, guest := net.Pipe()
	defer guest.Close()
	client := ttrpc.NewClient(&agentConn{Conn: host, patience: 20 * time.Millisecond})
	defer client.Close()
	for range 2 {
		if r, err := agent.NewAgentClient(client).Hello(t.Context(), &agent.HelloRequest{}); err == nil {
			t.Errorf("an answer: %v", r)
		}
	}
}

// TestAgentAnswersTooMuch: an agent that sends what answers nothing is cut off.
func TestAgentAnswersTooMuch(t *testing.T) {
	for _, asked := range []int{0, 3} {
		host, guest := net.Pipe()
		c := &agentConn{Conn: host, patience: 10 * time.Second}
		go func() {
			for range asked {
				_, _ = io.ReadFull(guest, frame(5))
			}
			for {
				if _, err := guest.Write(frame(7)); err != nil {
					return
				}
			}
		}()
		for range asked {
			if _, err := c.Write(frame(5)); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(c)
		if !errors.Is(err, errUnasked) || len(got) != asked*len(frame(7)) {
			t.Errorf("%d calls: %d bytes, %v", asked, len(got), err)
		}
		guest.Close()
	}
}
