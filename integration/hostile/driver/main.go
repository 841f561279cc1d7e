// SPDX-License-Identifier: Apache-2.0

// Driver is the host side of one cell with a hostile kernel: what a shim does
// with a cell, without containerd. It wants a network namespace of its own.
//
//	driver --kernel FILE --dir DIR [--platform NAME] [--isolation MODE] [--kind KIND] [--for TIME] SEED
//
// KIND is how the cell is used: command, terminal or agent. It prints one line,
// "ended: " and why, or "alive" when the time was over, and what the kernel says
// it has done.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/containerd/ttrpc"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	agent "github.com/paracell/paracell/protos/agent/v1"
	"github.com/paracell/paracell/runtime/cell"
	"github.com/paracell/paracell/runtime/config"
	"github.com/paracell/paracell/runtime/network"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "driver:", err)
		os.Exit(3)
	}
}

func run() error {
	c := config.Default()
	flag.StringVar(&c.Kernel, "kernel", "", "hostile kernel")
	flag.StringVar(&c.Platform, "platform", "process", "what runs the cell")
	flag.StringVar(&c.Isolation, "isolation", "none", "isolation mode")
	dir := flag.String("dir", "", "folder that the cell may change")
	kind := flag.String("kind", "command", "command, terminal or agent")
	flag.IntVar(&c.HostProcesses, "host-processes", 64, "processes of the host that the cell may have for address spaces")
	extra := flag.String("arg", "", "one more word for the kernel")
	patience := flag.Duration("for", time.Second, "how long the cell may run")
	flag.Parse()
	seed := flag.Arg(0)
	c.Name = "hostile-" + seed
	c.Memory = 64 << 20
	c.KernelArgs = []string{"hostile=" + seed}
	if *extra != "" {
		c.KernelArgs = append(c.KernelArgs, *extra)
	}
	c.Pager, c.ColdCache = "page", true
	console := &console{}
	stdio := cell.IO{Stdin: endless{}, Stdout: io.Discard, Stderr: io.Discard, Log: console}
	switch *kind {
	case "agent":
		c.Agent = true
	case "terminal":
		c.Terminal, c.Rootfs, c.Args = true, *dir, []string{"/program"}
	case "command":
		c.Interactive, c.Rootfs, c.Args = true, *dir, []string{"/program"}
	default:
		return fmt.Errorf("kind %q", *kind)
	}
	cl, err := cell.Create(context.Background(), c, stdio)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), *patience)
	defer cancel()
	var users sync.WaitGroup
	if c.Agent {
		if err := cl.AddRoot("one", *dir); err != nil {
			return err
		}
		if err := cl.AddVolume("ro", filepath.Join(filepath.Dir(*dir), "canary"), true); err != nil {
			return err
		}
		l, err := cl.Listen(agent.PortAgent)
		if err != nil {
			return err
		}
		users.Go(func() { talk(ctx, l) })
	}
	if err := cl.Start(ctx); err != nil && ctx.Err() == nil {
		return err
	}
	if c.Agent {
		if err := addNIC(ctx, cl); err != nil {
			fmt.Fprintln(os.Stderr, "driver: no network interface:", err)
		}
	}
	exit, err := cl.Wait(ctx)
	outcome := "ended: " + exit.Message
	switch {
	case ctx.Err() != nil:
		outcome = "alive"
	case err != nil:
		outcome = "ended: " + err.Error()
	}
	cancel()
	if err := cl.Close(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("close: %w", err)
	}
	users.Wait()
	fmt.Printf("%s\n%s\n", strings.ReplaceAll(outcome, "\n", " "), console.done())
	return nil
}

// talk is the host's side of the agent's protocol: a call of each kind, again
// and again, some at once.
func talk(ctx context.Context, l net.Listener) {
	defer l.Close()
	context.AfterFunc(ctx, func() { l.Close() })
	conn, err := l.Accept()
	if err != nil {
		return
	}
	client := ttrpc.NewClient(conn)
	defer client.Close()
	c := agent.NewAgentClient(client)
	calls := []func(context.Context) error{
		func(ctx context.Context) error {
			_, err := c.Hello(ctx, &agent.HelloRequest{Hostname: "h"})
			return err
		},
		func(ctx context.Context) error { _, err := c.Pod(ctx, &agent.PodRequest{}); return err },
		func(ctx context.Context) error { _, err := c.Network(ctx, &agent.NetworkRequest{}); return err },
		func(ctx context.Context) error { _, err := c.Create(ctx, &agent.CreateRequest{}); return err },
		func(ctx context.Context) error { _, err := c.Exec(ctx, &agent.ExecRequest{}); return err },
		func(ctx context.Context) error { _, err := c.Start(ctx, &agent.ProcessRequest{}); return err },
		func(ctx context.Context) error { _, err := c.Wait(ctx, &agent.ProcessRequest{}); return err },
		func(ctx context.Context) error { _, err := c.Kill(ctx, &agent.KillRequest{}); return err },
		func(ctx context.Context) error { _, err := c.Delete(ctx, &agent.ProcessRequest{}); return err },
		func(ctx context.Context) error { _, err := c.Pids(ctx, &agent.ContainerRequest{}); return err },
		func(ctx context.Context) error { _, err := c.Stats(ctx, &agent.ContainerRequest{}); return err },
		func(ctx context.Context) error { _, err := c.WaitOOM(ctx, &agent.WaitOOMRequest{}); return err },
		func(ctx context.Context) error { _, err := c.Shutdown(ctx, &agent.Empty{}); return err },
	}
	for ctx.Err() == nil {
		var all sync.WaitGroup
		for _, call := range calls {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
				defer cancel()
				_ = call(ctx) // any answer will do
			})
		}
		all.Wait()
	}
}

// addNIC gives the cell a network interface whose tap is in this process's own
// network namespace, with somebody who sends packets.
func addNIC(ctx context.Context, c *cell.Cell) error {
	const name, mtu = "tap0", 1500
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR | unix.IFF_TUN_EXCL)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, network.TapHeaderSize)
	}
	tap := os.NewFile(uintptr(fd), name)
	if err != nil {
		return errors.Join(err, tap.Close())
	}
	link, err := netlink.LinkByName(name)
	if err == nil {
		address := &net.IPNet{IP: net.IPv4(10, 0, 0, 1), Mask: net.CIDRMask(24, 32)}
		err = errors.Join(netlink.AddrAdd(link, &netlink.Addr{IPNet: address, Broadcast: net.IPv4(10, 0, 0, 255)}), netlink.LinkSetUp(link))
	}
	if err != nil {
		return errors.Join(err, tap.Close())
	}
	peer, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(10, 0, 0, 255), Port: 9})
	if err != nil {
		return errors.Join(err, tap.Close())
	}
	go func() {
		defer peer.Close()
		for every := time.NewTicker(time.Millisecond); ctx.Err() == nil; <-every.C {
			_, _ = peer.Write(make([]byte, 1000))
		}
	}()
	return c.AddNIC(tap, net.HardwareAddr{2, 0, 0, 0, 0, 1}, mtu)
}

// endless is input without end.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	time.Sleep(time.Millisecond)
	return min(len(p), 1000), nil
}

// console keeps the last line in which the kernel says what it has done.
type console struct {
	mu   sync.Mutex
	rest []byte
	last string
}

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rest = append(c.rest, p...)
	for {
		line, rest, found := bytes.Cut(c.rest, []byte("\n"))
		if !found {
			break
		}
		if done, ok := bytes.CutPrefix(line, []byte("hostile: ")); ok && len(done) < 200 {
			c.last = string(done)
		}
		c.rest = rest
	}
	if len(c.rest) > 1<<20 {
		c.rest = nil
	}
	return len(p), nil
}

func (c *console) done() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}
