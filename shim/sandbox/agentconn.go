// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"encoding/binary"
	"errors"
	"net"
	"sync/atomic"
	"time"
)

// errUnasked ends the connection with an agent that does not keep to the protocol.
var errUnasked = errors.New("the agent has answered what it was not asked")

// agentConn is the host's end of the connection with the agent, on which every
// message of the host is a call and every message of the agent the answer to one.
// ttrpc writes a line into the host's log for each message that is not, and the
// guest can send any number of them: the first ends the connection. So does a guest
// that does not take calls: ttrpc would wait for it with a lock held that the next
// call needs, whatever its context says. One goroutine may read while another writes.
type agentConn struct {
	net.Conn
	patience time.Duration // with a guest that takes nothing

	asked    atomic.Uint64
	out, in  frames
	answered uint64
}

// Write implements net.Conn.
func (c *agentConn) Write(b []byte) (int, error) {
	c.asked.Add(c.out.count(b)) // before the agent can know
	if err := c.SetWriteDeadline(time.Now().Add(c.patience)); err != nil {
		return 0, err
	}
	n, err := c.Conn.Write(b)
	if err != nil {
		// Part of a call may be on its way: no other can follow.
		return n, errors.Join(err, c.Conn.Close())
	}
	return n, c.SetWriteDeadline(time.Time{})
}

// Read implements net.Conn.
func (c *agentConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.answered += c.in.count(b[:n]); c.answered > c.asked.Load() {
		return 0, errors.Join(errUnasked, c.Conn.Close())
	}
	return n, err
}

// frameHeader is the size of the header of a message of ttrpc, in bytes: length of
// what follows (big endian, 4 bytes), stream, type, flags (ttrpc, PROTOCOL.md).
const frameHeader = 10

// frames finds the messages in a stream of bytes that comes in pieces.
type frames struct {
	header [frameHeader]byte
	have   int    // bytes of header
	skip   uint32 // bytes of the message after it
}

// count returns how many messages have got their header in the next piece.
func (f *frames) count(b []byte) uint64 {
	var n uint64
	for len(b) > 0 {
		if f.skip > 0 {
			k := min(uint64(f.skip), uint64(len(b)))
			f.skip -= uint32(k)
			b = b[k:]
			continue
		}
		k := copy(f.header[f.have:], b)
		f.have += k
		b = b[k:]
		if f.have == frameHeader {
			f.have, f.skip = 0, binary.BigEndian.Uint32(f.header[:])
			n++
		}
	}
	return n
}
