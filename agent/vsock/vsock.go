// SPDX-License-Identifier: Apache-2.0

// Package vsock connects processes of a guest to the host side of their cell.
package vsock

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/paracell/paracell/agent/vsock/hostport"
)

// Conn is a stream to the host.
type Conn struct {
	*os.File
	port uint32
}

// Addr is an end of a Conn.
type Addr struct{ CID, Port uint32 }

// Network implements net.Addr.
func (Addr) Network() string { return "vsock" }

func (a Addr) String() string { return fmt.Sprintf("%d:%d", a.CID, a.Port) }

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr { return Addr{CID: unix.VMADDR_CID_ANY} }

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr { return Addr{unix.VMADDR_CID_HOST, c.port} }

// CloseWrite says that nothing more will be written.
func (c *Conn) CloseWrite() error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = unix.Shutdown(int(fd), unix.SHUT_WR) }); err != nil {
		return err
	}
	return failed
}

// Dial connects to a port of the host's side.
func Dial(port uint32) (*Conn, error) {
	f, err := hostport.Dial(port)
	if err != nil {
		return nil, err
	}
	return &Conn{f, port}, nil
}
