// SPDX-License-Identifier: Apache-2.0

// Netload is the server of net-table: it runs in the container. The first byte
// of a connection says what the rest is.
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: netload ADDRESS")
		os.Exit(2)
	}
	if err := serve(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "netload:", err)
		os.Exit(1)
	}
}

func serve(address string) error {
	packets, err := net.ListenPacket("udp", address)
	if err != nil {
		return err
	}
	go func() {
		b := make([]byte, 2048)
		for {
			n, from, err := packets.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = packets.WriteTo(b[:n], from)
		}
	}()
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	for {
		c, err := l.Accept()
		if errors.Is(err, syscall.EMFILE) {
			time.Sleep(time.Millisecond) // ends of connections are on their way
			continue
		}
		if err != nil {
			return err
		}
		go handle(c)
	}
}

// handle ends a connection with its client.
func handle(c net.Conn) {
	defer c.Close()
	b := make([]byte, 256<<10)
	if _, err := io.ReadFull(c, b[:1]); err != nil {
		return
	}
	switch b[0] {
	case 'r': // receive
		for {
			if _, err := c.Read(b); err != nil {
				return
			}
		}
	case 's': // send
		for {
			if _, err := c.Write(b); err != nil {
				return
			}
		}
	case 'e': // answer each byte
		for {
			if _, err := c.Read(b[:1]); err != nil {
				return
			}
			if _, err := c.Write(b[:1]); err != nil {
				return
			}
		}
	}
}
