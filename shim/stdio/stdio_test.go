// SPDX-License-Identifier: Apache-2.0

package stdio

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/pkg/namespaces"
	"golang.org/x/sys/unix"

	"github.com/paracell/paracell/internal/leakcheck"
)

func TestMain(m *testing.M) { leakcheck.Main(m) }

const patience = 20 * time.Second

// guest stands for a cell: ports are sockets of a folder.
type guest struct {
	t   *testing.T
	dir string
}

func newGuest(t *testing.T) guest {
	dir, err := os.MkdirTemp("", "stdio") // socket paths are short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return guest{t, dir}
}

func (g guest) path(port uint32) string { return filepath.Join(g.dir, fmt.Sprint(port)) }

func (g guest) Listen(port uint32) (net.Listener, error) { return net.Listen("unix", g.path(port)) }

// agent connects to a stream as the agent does.
func (g guest) agent(s *IO, port uint32) *net.UnixConn {
	g.t.Helper()
	c := g.dial(port)
	if _, err := c.Write(s.Guest().Token); err != nil {
		g.t.Fatal(err)
	}
	return c
}

func (g guest) dial(port uint32) *net.UnixConn {
	g.t.Helper()
	c, err := net.Dial("unix", g.path(port))
	if err != nil {
		g.t.Fatal(err)
	}
	return c.(*net.UnixConn)
}

func (g guest) fifo(name string) string {
	g.t.Helper()
	path := filepath.Join(g.dir, name)
	if err := unix.Mkfifo(path, 0o600); err != nil {
		g.t.Fatal(err)
	}
	return path
}

func (g guest) open(c Config) *IO {
	g.t.Helper()
	s, err := Open(testContext(), c, "id", g, &Ports{})
	if err != nil {
		g.t.Fatal(err)
	}
	return s
}

func testContext() context.Context { return namespaces.WithNamespace(context.Background(), "test") }

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestOutput(t *testing.T) {
	g := newGuest(t)
	out, errs := g.fifo("out"), g.fifo("err")
	s := g.open(Config{Stdout: out, Stderr: errs})
	read := func(path string) <-chan string {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		text := make(chan string, 1)
		go func() {
			b, _ := io.ReadAll(f)
			f.Close()
			text <- string(b)
		}()
		return text
	}
	stdout, stderr := read(out), read(errs)
	c1, c2 := g.agent(s, s.Guest().Stdout), g.agent(s, s.Guest().Stderr)
	big := strings.Repeat("x", 300<<10)
	fmt.Fprint(c1, big)
	fmt.Fprint(c2, "error")
	if err := s.Drain(within(t, patience), uint64(len(big)), 5); err != nil {
		t.Error(err)
	}
	c1.CloseWrite()
	c2.CloseWrite()
	s.Finish(within(t, patience))
	if got := <-stdout; got != big {
		t.Errorf("%d bytes", len(got))
	}
	if got := <-stderr; got != "error" {
		t.Errorf("%q", got)
	}
	c1.Close()
	c2.Close()
}

// TestNobodyReads: waiting in vain ends, and is not done again.
func TestNobodyReads(t *testing.T) {
	g := newGuest(t)
	s := g.open(Config{Stdout: g.fifo("out")})
	c := g.agent(s, s.Guest().Stdout)
	go func() { _, _ = c.Write(make([]byte, 1<<20)) }()
	if err := s.Drain(within(t, 50*time.Millisecond), 1<<20, 0); err == nil {
		t.Error("drained by nobody")
	}
	begin := time.Now()
	s.Finish(within(t, patience))
	if time.Since(begin) > patience/2 {
		t.Error("waited again")
	}
	c.Close()
}

func TestInput(t *testing.T) {
	g := newGuest(t)
	in := g.fifo("in")
	s := g.open(Config{Stdin: in})
	c := g.agent(s, s.Guest().Stdin)
	s.Started()
	var w *os.File
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		var err error
		if w, err = os.OpenFile(in, os.O_WRONLY|unix.O_NONBLOCK, 0); err == nil {
			break
		} else if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	fmt.Fprint(w, "one")
	buf := make([]byte, 3)
	if _, err := io.ReadFull(c, buf); err != nil || string(buf) != "one" {
		t.Fatalf("%q, %v", buf, err)
	}
	w.Close()
	// The next client.
	w, err := os.OpenFile(in, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(w, "two")
	s.CloseStdin()
	w.Close()
	rest, err := io.ReadAll(c)
	if err != nil || string(rest) != "two" {
		t.Errorf("%q, %v", rest, err)
	}
	c.Close()
	s.Close()
}

func TestFileIsAppendedTo(t *testing.T) {
	g := newGuest(t)
	path := filepath.Join(g.dir, "new", "log")
	for range 2 {
		s := g.open(Config{Stdout: "file://" + path, Stderr: "file://" + path})
		c1, c2 := g.agent(s, s.Guest().Stdout), g.agent(s, s.Guest().Stderr)
		fmt.Fprint(c1, "out\n")
		c1.CloseWrite()
		fmt.Fprint(c2, "err\n")
		c2.CloseWrite()
		s.Finish(within(t, patience))
		c1.Close()
		c2.Close()
		os.Remove(g.path(s.Guest().Stdout))
		os.Remove(g.path(s.Guest().Stderr))
	}
	b, err := os.ReadFile(path)
	if err != nil || strings.Count(string(b), "out\n") != 2 || strings.Count(string(b), "err\n") != 2 {
		t.Errorf("%q, %v", b, err)
	}
}

// logger copies both streams into files and says how it was called.
func (g guest) logger(body string) string {
	g.t.Helper()
	path := filepath.Join(g.dir, "logger")
	if err := os.WriteFile(path, []byte("#!/bin/sh\ndir="+g.dir+"\n"+body), 0o700); err != nil {
		g.t.Fatal(err)
	}
	return path
}

func TestLogger(t *testing.T) {
	for _, scheme := range []string{"binary", "binary-v2"} {
		g := newGuest(t)
		path := g.logger(`echo "$CONTAINER_ID $CONTAINER_NAMESPACE $*" >$dir/called
printf x >&5; exec 5>&-
cat <&4 >$dir/err &
cat <&3 >$dir/out
wait
`)
		s := g.open(Config{Stdout: scheme + "://" + path + "?key=value", Stderr: scheme + "://" + path + "?key=value"})
		c1, c2 := g.agent(s, s.Guest().Stdout), g.agent(s, s.Guest().Stderr)
		fmt.Fprint(c1, "out")
		fmt.Fprint(c2, "err")
		c1.CloseWrite()
		c2.CloseWrite()
		s.Finish(within(t, patience))
		c1.Close()
		c2.Close()
		for name, want := range map[string]string{"called": "id test key value\n", "out": "out", "err": "err"} {
			if b, err := os.ReadFile(filepath.Join(g.dir, name)); err != nil || string(b) != want {
				t.Errorf("%s: %q, %v", name, b, err)
			}
		}
	}
}

func TestOpenFails(t *testing.T) {
	g := newGuest(t)
	for uri, want := range map[string]string{
		"binary:///no/such/program":                     "/no/such/program",
		"binary-v2://" + g.logger("exit 0\n"):           "before it wrote",
		"smtp://x/y":                                    "fifo, file and binary",
		filepath.Join(g.dir, "absent"):                  "absent",
		"file://" + filepath.Join(g.dir, "logger/file"): "logger",
	} {
		if s, err := Open(testContext(), Config{Stdout: uri}, "id", g, &Ports{}); err == nil {
			t.Errorf("%s: no error", uri)
			s.Close()
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", uri, err)
		}
	}
	if _, err := Open(context.Background(), Config{Stdout: "binary:///bin/true"}, "id", g, &Ports{}); err == nil {
		t.Error("without a namespace")
	}
}

// TestCloseEndsEverything: also when the guest never came.
func TestCloseEndsEverything(t *testing.T) {
	g := newGuest(t)
	s := g.open(Config{Stdin: g.fifo("in"), Stdout: g.fifo("out"), Stderr: g.fifo("err")})
	s.Close()
	s.Close()
	if _, err := net.Dial("unix", g.path(s.Guest().Stdout)); !errors.Is(err, unix.ECONNREFUSED) && !errors.Is(err, unix.ENOENT) {
		t.Errorf("still listening: %v", err)
	}
}

func TestOutputCounts(t *testing.T) {
	o := newOutput()
	ours, theirs := net.Pipe()
	var to bytes.Buffer
	done := make(chan struct{})
	go func() {
		o.copy(&to, ours)
		close(done)
	}()
	if err := o.wait(within(t, 10*time.Millisecond), 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	fmt.Fprint(theirs, "abc")
	if err := o.wait(within(t, patience), 3); err != nil {
		t.Error(err)
	}
	theirs.Close()
	if err := o.wait(within(t, patience), 1000); err != nil {
		t.Errorf("after the end: %v", err)
	}
	<-done
	ours.Close()
	if err := (*output)(nil).wait(context.Background(), 1); err != nil {
		t.Error(err)
	}
}

// TestStranger: a process of a container that connects to a stream gets nothing
// of it and keeps nobody out.
func TestStranger(t *testing.T) {
	g := newGuest(t)
	path := filepath.Join(g.dir, "log")
	s := g.open(Config{Stdin: g.fifo("in"), Stdout: "file://" + path})
	var strangers []*net.UnixConn
	for i := range 5 {
		for _, port := range []uint32{s.Guest().Stdin, s.Guest().Stdout} {
			c := g.dial(port)
			if i > 0 { // one says nothing
				fmt.Fprint(c, strings.Repeat("x", 2*tokenSize))
			}
			strangers = append(strangers, c)
		}
	}
	in, out := g.agent(s, s.Guest().Stdin), g.agent(s, s.Guest().Stdout)
	fmt.Fprint(out, "from the agent")
	if err := s.Drain(within(t, patience), 14, 0); err != nil {
		t.Error(err)
	}
	s.Started()
	w, err := os.OpenFile(filepath.Join(g.dir, "in"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(w, "secret")
	s.CloseStdin()
	w.Close()
	if b, err := io.ReadAll(in); err != nil || string(b) != "secret" {
		t.Errorf("%q, %v", b, err)
	}
	for _, c := range strangers {
		c.CloseWrite()
		if b, _ := io.ReadAll(c); len(b) != 0 {
			t.Errorf("a stranger got %q", b)
		}
		c.Close()
	}
	in.Close()
	out.Close()
	s.Close()
	if b, err := os.ReadFile(path); err != nil || string(b) != "from the agent" {
		t.Errorf("%q, %v", b, err)
	}
}
