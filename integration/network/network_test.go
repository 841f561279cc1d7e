// SPDX-License-Identifier: Apache-2.0

package network

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/paracell/paracell/integration/containerd/daemon"
	"github.com/paracell/paracell/integration/network/testnet"
)

// run is "ctr run --rm" of a shell command in a cell with a network.
func run(t *testing.T, d *daemon.Daemon, h *testnet.Host, name, script string) string {
	t.Helper()
	out, errOut, err := ctrRun(t, d, h, name, script)
	if err != nil {
		t.Errorf("%s: %v\n%s%s", name, err, out, errOut)
	}
	return out
}

func ctrRun(t *testing.T, d *daemon.Daemon, h *testnet.Host, name, script string) (out, errOut string, err error) {
	t.Helper()
	return d.CTR(t, "", "run", "--rm", "--runtime", daemon.Runtime, "--with-ns", "network:"+h.Path,
		"--mount", "type=bind,src="+echoProgram(t)+",dst=/udpecho,options=bind:ro",
		daemon.Image, name, "/bin/sh", "-c", script)
}

var built struct {
	sync.Once
	path string
	err  error
}

// echoProgram builds testdata/udpecho.go: busybox serves no UDP.
func echoProgram(t *testing.T) string {
	t.Helper()
	built.Do(func() {
		dir, err := os.MkdirTemp("", "udpecho-")
		if err != nil {
			built.err = err
			return
		}
		built.path = filepath.Join(dir, "udpecho")
		cmd := exec.Command("go", "build", "-o", built.path, "testdata/udpecho.go")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("%w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.path != "" {
		os.RemoveAll(filepath.Dir(built.path))
	}
	os.Exit(code)
}

// begin is run in the background; the function that it returns waits for the end.
func begin(t *testing.T, d *daemon.Daemon, h *testnet.Host, name, script string) func() string {
	done := make(chan string, 1)
	go func() {
		out, errOut, err := ctrRun(t, d, h, name, script)
		if err != nil {
			out += fmt.Sprintf("%v\n%s", err, errOut)
		}
		done <- out
	}()
	return func() string { return <-done }
}

// dial waits until somebody listens.
func dial(t *testing.T, n *testnet.Network, address string) net.Conn {
	t.Helper()
	for end := time.Now().Add(daemon.Deadline); ; time.Sleep(20 * time.Millisecond) {
		c, err := n.Dial("tcp", address)
		if err == nil {
			return c
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// checkUDP sends a packet to a server that sends it back.
func checkUDP(t *testing.T, n *testnet.Network, address string) {
	t.Helper()
	c, err := n.Dial("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b := make([]byte, 10)
	// It may not listen yet: then a try fails at once.
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if _, err := io.WriteString(c, "packet"); err != nil {
			continue
		}
		if err := c.SetReadDeadline(time.Now().Add(500 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if size, err := c.Read(b); err == nil && string(b[:size]) == "packet" {
			return
		}
	}
	t.Errorf("no answer from %s", address)
}

func checkClean(t *testing.T, h *testnet.Host) {
	t.Helper()
	var left string
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if left = h.Leftovers(); left == "" {
			return
		}
	}
	t.Errorf("left in the container's namespace:\n%s", left)
}

// echo serves connections until its listener is closed.
func echo(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			_, _ = io.Copy(c, c)
		}()
	}
}

// answer is a name server that knows one address.
func answer(c net.PacketConn) {
	b := make([]byte, 512)
	for {
		n, from, err := c.ReadFrom(b)
		if err != nil {
			return
		}
		reply := append([]byte(nil), b[:n]...)
		reply[2], reply[3] = 0x81, 0x80 // an answer
		reply[7] = 1                    // one record
		reply = append(reply, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 20, 30, 40)
		_, _ = c.WriteTo(reply, from)
	}
}

func TestNetwork(t *testing.T) {
	d := daemon.Start(t, daemon.Options{Debug: true})
	n := testnet.New(t, 1400)
	h := n.Host()

	t.Run("configuration", func(t *testing.T) {
		out := run(t, d, h, "config", "ip addr; cat /sys/class/net/eth0/mtu /sys/class/net/eth0/address; ip route; ip -6 route")
		for _, want := range []string{h.IP + "/24", h.IP6 + "/64", "1400\n" + h.MAC.String(), "default via " + testnet.HubIP, "default via " + testnet.HubIP6, "inet6 fe80::"} {
			if !strings.Contains(out, want) {
				t.Errorf("%q is missing in\n%s", want, out)
			}
		}
		checkClean(t, h)
	})

	t.Run("out", func(t *testing.T) {
		go echo(n.Listen("tcp", ":7"))
		go answer(n.ListenPacket("udp", ":53"))
		for _, ip := range []string{testnet.HubIP, testnet.HubIP6} {
			out := run(t, d, h, "out", fmt.Sprintf(
				"set -e; ping -c 3 -i 0.1 -s 1300 %[1]s >/dev/null; echo tcp | nc %[1]s 7; nslookup -type=a cell.test %[1]s", ip))
			if !strings.HasPrefix(out, "tcp\n") || !strings.Contains(out, "10.20.30.40") {
				t.Errorf("%s: %q", ip, out)
			}
		}
	})

	t.Run("in", func(t *testing.T) {
		wait := begin(t, d, h, "in", "/udpecho :82 & nc -l -p 80 -e /bin/cat; nc -l -p 81 -e /bin/cat")
		for _, address := range []string{net.JoinHostPort(h.IP, "80"), net.JoinHostPort(h.IP6, "81")} {
			c := dial(t, n, address)
			if _, err := io.WriteString(c, "hello\n"); err != nil {
				t.Error(err)
			}
			b := make([]byte, 6)
			if _, err := io.ReadFull(c, b); err != nil || string(b) != "hello\n" {
				t.Errorf("%s: %q, %v", address, b, err)
			}
			c.Close()
			if strings.HasPrefix(address, h.IP) {
				checkUDP(t, n, net.JoinHostPort(h.IP, "82"))
			}
		}
		if out := wait(); out != "" {
			t.Error(out)
		}
	})

	t.Run("large", func(t *testing.T) {
		const size = 64 << 20
		data := make([]byte, size)
		source := rand.New(rand.NewPCG(1, 2))
		for i := 0; i < size; i += 8 {
			v := source.Uint64()
			for k := range 8 {
				data[i+k] = byte(v >> (8 * k))
			}
		}
		sum := sha256.Sum256(data)
		l := n.Listen("tcp", ":1000")
		back := n.Listen("tcp", ":1001")
		result := make(chan string, 1)
		go func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(c, bytes.NewReader(data))
			c.Close()
			if c, err = back.Accept(); err != nil {
				return
			}
			defer c.Close()
			h := sha256.New()
			_, err = io.Copy(h, c)
			result <- fmt.Sprintf("%x %v", h.Sum(nil), err)
		}()
		out := run(t, d, h, "large", fmt.Sprintf("nc %[1]s 1000 </dev/null >/tmp/x; sha256sum </tmp/x; nc %[1]s 1001 </tmp/x", testnet.HubIP))
		if !strings.HasPrefix(out, hex.EncodeToString(sum[:])) {
			t.Errorf("to the cell: %s, want %x", out, sum)
		}
		select {
		case got := <-result:
			if got != fmt.Sprintf("%x <nil>", sum) {
				t.Errorf("from the cell: %s, want %x", got, sum)
			}
		case <-time.After(daemon.Deadline):
			t.Error("nothing came back")
		}
	})

	t.Run("two cells", func(t *testing.T) {
		other := n.Host()
		wait := begin(t, d, h, "server", "nc -l -p 90 -e /bin/cat")
		out := run(t, d, other, "client", fmt.Sprintf(
			"i=0; until echo between | nc %s 90 2>/dev/null; do i=$((i+1)); [ $i -lt 600 ] || exit 1; sleep 0.05; done", h.IP))
		if out != "between\n" {
			t.Errorf("%q", out)
		}
		if out := wait(); out != "" {
			t.Error(out)
		}
		checkClean(t, other)
	})

	t.Run("taken", func(t *testing.T) {
		wait := begin(t, d, h, "owner", "nc -l -p 80 -e /bin/cat")
		c := dial(t, n, net.JoinHostPort(h.IP, "80"))
		_, errOut, err := ctrRun(t, d, h, "second", "true")
		if err == nil || !strings.Contains(errOut, "connected with another cell") {
			t.Errorf("a second cell: %v\n%s", err, errOut)
		}
		c.Close()
		if out := wait(); out != "" {
			t.Error(out)
		}
	})

	t.Run("none", func(t *testing.T) {
		out, errOut, status := d.Run(t, "", "none", "/bin/sh", "-c", "ls /sys/class/net; ping -c 1 127.0.0.1 >/dev/null && echo yes")
		if status != 0 || strings.Fields(out)[0] != "lo" || !strings.HasSuffix(out, "yes\n") || strings.Contains(out, "eth") {
			t.Errorf("status %d: %s%s", status, out, errOut)
		}
	})

	t.Run("host", func(t *testing.T) {
		for _, args := range [][]string{{"--net-host"}, {"--with-ns", fmt.Sprintf("network:/proc/%d/ns/net", os.Getpid())}} {
			_, errOut, err := d.CTR(t, "", append(append([]string{"run", "--rm", "--runtime", daemon.Runtime}, args...), daemon.Image, "host", "/bin/true")...)
			if err == nil || !strings.Contains(errOut, "host's") {
				t.Errorf("%v: %v, %s", args, err, errOut)
			}
		}
	})

	t.Run("killed shim", func(t *testing.T) {
		wait := begin(t, d, h, "victim", "nc -l -p 80 -e /bin/cat")
		c := dial(t, n, net.JoinHostPort(h.IP, "80"))
		defer c.Close()
		for _, pid := range d.Shims() {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Error(err)
			}
		}
		wait()
		checkClean(t, h)
	})
	checkClean(t, h)
}
