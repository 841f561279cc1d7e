// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/paracell/paracell/integration/network/testnet"
)

// patience is how long a server may take to come up.
const patience = 30 * time.Second

type benchmark struct {
	name, unit string
	run        func(n *testnet.Network, address string, length time.Duration) (float64, error)
}

var benchmarks = []benchmark{
	{"TCP to the container", "MB/s", send},
	{"TCP from the container", "MB/s", receive},
	{"TCP request and answer of 1 byte", "us", ping("tcp")},
	{"UDP request and answer of 1 byte", "us", ping("udp")},
	{"TCP connect, request, answer, close", "us", connect},
}

// measure runs every benchmark once.
func (s *side) measure(ctx context.Context, n *testnet.Network, length time.Duration) error {
	address := net.JoinHostPort(s.host.IP, "5000")
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		c, err := n.Dial("tcp", address)
		if err == nil {
			c.Close()
			break
		}
		if time.Now().After(end) {
			return err
		}
	}
	for _, b := range benchmarks {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		v, err := b.run(n, address, length)
		if err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
		s.samples[b.name] = append(s.samples[b.name], v)
	}
	return nil
}

func dial(n *testnet.Network, address string, what byte) (net.Conn, error) {
	c, err := n.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	_, err = c.Write([]byte{what})
	return c, err
}

const megabyte = 1e6

func send(n *testnet.Network, address string, length time.Duration) (float64, error) {
	c, err := dial(n, address, 'r')
	if err != nil {
		return 0, err
	}
	defer c.Close()
	b := make([]byte, 256<<10)
	total, begin := 0, time.Now()
	for time.Since(begin) < length {
		k, err := c.Write(b)
		total += k
		if err != nil {
			return 0, err
		}
	}
	return float64(total) / megabyte / time.Since(begin).Seconds(), nil
}

func receive(n *testnet.Network, address string, length time.Duration) (float64, error) {
	c, err := dial(n, address, 's')
	if err != nil {
		return 0, err
	}
	defer c.Close()
	b := make([]byte, 256<<10)
	total, begin := 0, time.Now()
	for time.Since(begin) < length {
		k, err := c.Read(b)
		total += k
		if err != nil {
			return 0, err
		}
	}
	return float64(total) / megabyte / time.Since(begin).Seconds(), nil
}

// ping returns the time of a round trip in microseconds.
func ping(protocol string) func(*testnet.Network, string, time.Duration) (float64, error) {
	return func(n *testnet.Network, address string, length time.Duration) (float64, error) {
		c, err := n.Dial(protocol, address)
		if err != nil {
			return 0, err
		}
		defer c.Close()
		b := []byte{'e'}
		if protocol == "tcp" {
			if _, err := c.Write(b); err != nil {
				return 0, err
			}
		}
		count, begin := 0, time.Now()
		for time.Since(begin) < length {
			if err := c.SetDeadline(time.Now().Add(time.Second)); err != nil {
				return 0, err
			}
			if _, err := c.Write(b); err != nil {
				return 0, err
			}
			if _, err := io.ReadFull(c, b); err != nil {
				return 0, err
			}
			count++
		}
		return float64(time.Since(begin).Microseconds()) / float64(count), nil
	}
}

func connect(n *testnet.Network, address string, length time.Duration) (float64, error) {
	var us float64
	err := n.Hub.Do(func() error {
		count, begin := 0, time.Now()
		for time.Since(begin) < length {
			c, err := net.Dial("tcp", address)
			if err != nil {
				return err
			}
			b := []byte{'e', 0}
			if _, err := c.Write(b); err != nil {
				return err
			}
			if _, err := io.ReadFull(c, b[:1]); err != nil {
				return err
			}
			// No waiting state, of which there would be too many.
			if err := errors.Join(c.(*net.TCPConn).SetLinger(0), c.Close()); err != nil {
				return err
			}
			count++
		}
		us = float64(time.Since(begin).Microseconds()) / float64(count)
		return nil
	})
	return us, err
}
