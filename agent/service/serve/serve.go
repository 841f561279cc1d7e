// SPDX-License-Identifier: Apache-2.0

// Package serve is the life of the agent: it prepares the guest, connects to
// the host, answers it until the connection ends and then powers the cell off.
package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path"
	"sync"

	"github.com/containerd/ttrpc"
	"golang.org/x/sys/unix"

	"github.com/paracell/paracell/agent/guest"
	"github.com/paracell/paracell/agent/reaper"
	"github.com/paracell/paracell/agent/service"
	"github.com/paracell/paracell/agent/signals"
	"github.com/paracell/paracell/agent/vsock"
	agent "github.com/paracell/paracell/protos/agent/v1"
)

// Main does not return.
func Main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "paracell-agent: has to be started by the kernel of a cell as PID 1")
		os.Exit(2)
	}
	// The host re-emits what is on the console.
	slog.SetDefault(slog.New(slog.NewJSONHandler(os.Stderr, nil)))
	signals.Survive(func(s os.Signal) { slog.Warn("the agent was sent a signal, and lives on", "signal", s.String()) })
	if err := run(); err != nil {
		slog.Error("the agent cannot go on", "error", err)
		guest.Fail()
	}
	guest.PowerOff()
}

func run() error {
	if err := guest.Prepare(); err != nil {
		return err
	}
	unix.Umask(0o022)
	if err := os.Setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"); err != nil {
		return err
	}
	conn, err := vsock.Dial(agent.PortAgent)
	if err != nil {
		return err
	}
	server, err := ttrpc.NewServer()
	if err != nil {
		return err
	}
	agent.RegisterAgentService(server, service.New(service.Config{
		Reaper:   reaper.New(),
		Dial:     dial,
		PowerOff: guest.PowerOff,
		Runtime:  path.Join(guest.RootsDir, agent.Programs, agent.CrunProgram),
		RunDir:   guest.RunDir,
		RootsDir: guest.RootsDir,
		Cgroups:  guest.Cgroups,
		Spare:    "/proc/paracell/spare",
	}))
	err = server.Serve(context.Background(), &single{conn: conn, closed: make(chan struct{})})
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func dial(port uint32) (service.Stream, error) {
	conn, err := vsock.Dial(port)
	if err != nil {
		return nil, err // not a Stream that holds nil
	}
	return conn, nil
}

// single is a listener with one connection, whose end is the listener's.
type single struct {
	conn   *vsock.Conn
	taken  bool
	once   sync.Once
	closed chan struct{}
}

func (s *single) Accept() (net.Conn, error) {
	if !s.taken {
		s.taken = true
		return closing{s.conn, s}, nil
	}
	<-s.closed
	return nil, net.ErrClosed
}

func (s *single) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

func (s *single) Addr() net.Addr { return s.conn.LocalAddr() }

// closing is the connection, which the server closes when the host does.
type closing struct {
	*vsock.Conn
	listener *single
}

func (c closing) Close() error {
	c.listener.Close()
	return c.Conn.Close()
}
