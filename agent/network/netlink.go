// SPDX-License-Identifier: Apache-2.0

package network

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Netlink as far as the agent needs it (man 7 rtnetlink): one request, one
// answer. A library would be a fifth of the agent.

var le = binary.LittleEndian

// message is a request: type, flags, the fixed part, attributes.
type message struct {
	kind, flags uint16
	body        []byte
}

func newMessage(kind, flags int, fixed ...byte) *message {
	return &message{uint16(kind), uint16(flags) | unix.NLM_F_REQUEST | unix.NLM_F_ACK, append([]byte(nil), fixed...)}
}

// attr appends an attribute, padded to 4 bytes.
func (m *message) attr(kind int, value []byte) *message {
	m.body = le.AppendUint16(m.body, uint16(4+len(value)))
	m.body = le.AppendUint16(m.body, uint16(kind))
	m.body = append(m.body, value...)
	for len(m.body)%4 != 0 {
		m.body = append(m.body, 0)
	}
	return m
}

func (m *message) attr32(kind int, value uint32) *message {
	return m.attr(kind, le.AppendUint32(nil, value))
}

// nested makes attributes the value of one.
func nested(kind int, value []byte) []byte {
	return new(message).attr(kind|unix.NLA_F_NESTED, value).body
}

func (m *message) encode(seq uint32) []byte {
	b := le.AppendUint32(nil, uint32(unix.NLMSG_HDRLEN+len(m.body)))
	b = le.AppendUint16(b, m.kind)
	b = le.AppendUint16(b, m.flags)
	b = le.AppendUint32(b, seq)
	b = le.AppendUint32(b, 0)
	return append(b, m.body...)
}

// conn is a netlink socket.
type conn struct {
	fd  int
	seq uint32
}

func dial() (*conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("netlink: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("netlink: %w", err)
	}
	return &conn{fd: fd}, nil
}

func (c *conn) close() { unix.Close(c.fd) }

// do sends a request and returns the error that the kernel answers with.
func (c *conn) do(m *message) error {
	c.seq++
	if err := unix.Sendto(c.fd, m.encode(c.seq), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	b := make([]byte, 4096)
	n, _, err := unix.Recvfrom(c.fd, b, 0)
	if err != nil {
		return err
	}
	return acknowledgement(b[:n], c.seq)
}

var errAnswer = errors.New("the kernel's answer is not an acknowledgement")

// acknowledgement is the error in an answer: a struct nlmsgerr.
func acknowledgement(b []byte, seq uint32) error {
	if len(b) < unix.NLMSG_HDRLEN+4 || le.Uint16(b[4:]) != unix.NLMSG_ERROR || le.Uint32(b[8:]) != seq {
		return errAnswer
	}
	if code := int32(le.Uint32(b[unix.NLMSG_HDRLEN:])); code != 0 {
		return unix.Errno(-code)
	}
	return nil
}
