// SPDX-License-Identifier: Apache-2.0

package shim

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/oci"

	"github.com/paracell/paracell/integration/containerd/daemon"
)

func TestStreams(t *testing.T) {
	h := start(t, daemon.Options{})
	for name, test := range map[string]func(*testing.T, *harness){
		"drained": testDrained, "input": testInput, "input of an exec": testExecInput, "close": testCloseInput, "terminal": testTerminal,
		"terminal of an exec": testExecTerminal, "attach": testAttach, "file": testFile, "binary": testBinary,
		"binary fails": testBinaryFails, "reader gone": testReaderGone, "child keeps output": testChildKeepsOutput,
	} {
		t.Run(name, func(t *testing.T) { test(t, h) })
	}
}

// streams is IO over FIFOs of the daemon's folder.
func (h *harness) streams(in io.Reader, out, err io.Writer, opts ...cio.Opt) cio.Creator {
	return cio.NewCreator(append([]cio.Opt{cio.WithStreams(in, out, err), cio.WithFIFODir(h.Dir)}, opts...)...)
}

// testDrained: at the exit all output is there, and of both streams.
func testDrained(t *testing.T, h *harness) {
	task := h.running(t)
	const size = 3 << 20
	for range 3 {
		var out, errOut buffer
		p, exit := h.exec(t, task, h.streams(nil, &out, &errOut), "/bin/sh", "-c",
			fmt.Sprintf("head -c %d /dev/zero; head -c %d /dev/zero >&2; echo end; echo end >&2; exit 6", size, size))
		if code := status(t, exit); code != 6 {
			t.Errorf("status %d", code)
		}
		remove(t, h, p)
		for name, b := range map[string]*buffer{"output": &out, "errors": &errOut} {
			if s := b.String(); len(s) != size+4 || !strings.HasSuffix(s, "end\n") {
				t.Errorf("%d bytes of %s, want %d", len(s), name, size+4)
			}
		}
	}
}

func testInput(t *testing.T, h *harness) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	var out buffer
	task, exit := h.task(t, h.container(t, command("sha256sum")), h.streams(bytes.NewReader(data), &out, nil))
	must(t, task.Start(h.ctx))
	// As ctr does: the end of the input is told when all has been read.
	must(t, task.CloseIO(h.ctx, client.WithStdinCloser))
	status(t, exit)
	task.IO().Wait()
	if want := fmt.Sprintf("%x", sha256.Sum256(data)); !strings.HasPrefix(out.String(), want) {
		t.Errorf("%q, want %s", out.String(), want)
	}
}

func testExecInput(t *testing.T, h *harness) {
	task := h.running(t)
	var out buffer
	p, exit := h.exec(t, task, h.streams(strings.NewReader("some text\n"), &out, nil), "/bin/cat")
	must(t, p.CloseIO(h.ctx, client.WithStdinCloser))
	if code := status(t, exit); code != 0 {
		t.Errorf("status %d", code)
	}
	remove(t, h, p)
	if out.String() != "some text\n" {
		t.Errorf("%q", out.String())
	}
}

// testCloseInput: without CloseIO the input stays open, so that clients can come
// and go.
func testCloseInput(t *testing.T, h *harness) {
	task := h.running(t)
	r, w := io.Pipe()
	var out buffer
	p, exit := h.exec(t, task, h.streams(r, &out, nil), "/bin/sh", "-c", "while read line; do echo got $line; done; echo end")
	fmt.Fprintln(w, "one")
	out.await(t, "got one")
	fmt.Fprintln(w, "two")
	out.await(t, "got two")
	w.Close()
	h.output(t, task, "/bin/true") // long enough for an end that is wrong to show
	if strings.Contains(out.String(), "end") {
		t.Error("the input ended before CloseIO")
	}
	must(t, p.CloseIO(h.ctx, client.WithStdinCloser))
	status(t, exit)
	remove(t, h, p)
	if !strings.HasSuffix(out.String(), "end\n") {
		t.Errorf("%q", out.String())
	}
}

func testTerminal(t *testing.T, h *harness) {
	r, w := io.Pipe()
	defer w.Close()
	var out buffer
	task, exit := h.task(t, h.container(t, oci.WithProcessArgs("/bin/sh"), oci.WithTTY), h.streams(r, &out, nil, cio.WithTerminal))
	must(t, task.Start(h.ctx))
	must(t, task.Resize(h.ctx, 123, 45))
	fmt.Fprintln(w, "stty size; tty; test -t 0 && echo input")
	out.await(t, "45 123")
	out.await(t, "/dev/pts/")
	out.await(t, "\ninput")
	must(t, task.Resize(h.ctx, 77, 22))
	fmt.Fprintln(w, "stty size")
	out.await(t, "22 77")
	// What comes twice has been read: ^C finds cat in the foreground. A moment
	// earlier it would be the shell's, which then waits for cat.
	fmt.Fprintln(w, "echo begin; cat")
	out.await(t, "\nbegin")
	fmt.Fprintln(w, "seen")
	out.await(t, "seen\r\nseen")
	from := len(out.String())
	fmt.Fprint(w, "\x03")
	// Until the prompt cat could still read what comes, and die with it.
	eventually(t, func() error {
		if s := out.String()[from:]; !strings.Contains(s, "# ") {
			return fmt.Errorf("no prompt in %q", s)
		}
		return nil
	})
	fmt.Fprintln(w, "exit 8")
	if code := status(t, exit); code != 8 {
		t.Errorf("status %d\n%s", code, out.String())
	}
}

func testExecTerminal(t *testing.T, h *harness) {
	task := h.running(t)
	spec := processSpec("/bin/sh", "-c", "stty size; seq 20000; exit 3")
	spec.Terminal = true
	out, code := h.execute(t, task, spec, cio.WithTerminal)
	if code != 3 {
		t.Errorf("status %d", code)
	}
	if !strings.HasSuffix(out, "\r\n20000\r\n") {
		t.Errorf("%d bytes, not the last line", len(out))
	}
}

// testAttach: a client goes, output that nobody reads waits, another client gets
// it.
func testAttach(t *testing.T, h *harness) {
	r, w := io.Pipe()
	var first buffer
	c := h.container(t, command("while read line; do echo got $line; done"))
	task, exit := h.task(t, c, h.streams(r, &first, nil))
	must(t, task.Start(h.ctx))
	fmt.Fprintln(w, "one")
	first.await(t, "got one")
	task.IO().Cancel()
	task.IO().Wait()
	w.Close()

	r, w = io.Pipe()
	var second buffer
	again, err := c.Task(h.ctx, cio.NewAttach(cio.WithStreams(r, &second, nil)))
	must(t, err)
	fmt.Fprintln(w, "two")
	second.await(t, "got two")
	must(t, again.CloseIO(h.ctx, client.WithStdinCloser))
	w.Close()
	if code := status(t, exit); code != 0 {
		t.Errorf("status %d", code)
	}
	if strings.Contains(first.String(), "two") {
		t.Errorf("%q", first.String())
	}
}

func testFile(t *testing.T, h *harness) {
	path := filepath.Join(h.Dir, "logs", "new", "file.log")
	for range 2 {
		task, exit := h.task(t, h.container(t, command("echo out; echo err >&2")), cio.LogFile(path))
		must(t, task.Start(h.ctx))
		status(t, exit)
		_, err := task.Delete(h.ctx)
		must(t, err)
	}
	b, err := os.ReadFile(path)
	must(t, err)
	// It is appended to; the order of the two streams is not defined.
	if s := string(b); strings.Count(s, "out\n") != 2 || strings.Count(s, "err\n") != 2 || len(s) != 16 {
		t.Errorf("%q", s)
	}
}

// logger writes what it gets and how it was called into files beside it.
const logger = `#!/bin/sh
dir=$(dirname "$0")
echo "$CONTAINER_ID $CONTAINER_NAMESPACE $*" >"$dir/called"
cat <&3 >"$dir/out" 5>&- &
cat <&4 >"$dir/err" 5>&- &
exec 3<&- 4<&- 5>&-
wait
touch "$dir/ended"
`

func testBinary(t *testing.T, h *harness) {
	dir := t.TempDir()
	path := filepath.Join(dir, "logger")
	must(t, os.WriteFile(path, []byte(logger), 0o700))
	task, exit := h.task(t, h.container(t, command("echo out; seq 50000; echo err >&2; exit 2")),
		cio.BinaryIO(path, map[string]string{"key": "value"}))
	must(t, task.Start(h.ctx))
	if code := status(t, exit); code != 2 {
		t.Errorf("status %d", code)
	}
	_, err := task.Delete(h.ctx)
	must(t, err)
	if _, err := os.Stat(filepath.Join(dir, "ended")); err != nil {
		t.Errorf("the logging program was not waited for: %v", err)
	}
	for name, want := range map[string]string{"called": task.ID() + " " + daemon.Namespace + " key value\n", "err": "err\n"} {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(b) != want {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, "out"))
	if err != nil || !bytes.HasPrefix(b, []byte("out\n1\n")) || !bytes.HasSuffix(b, []byte("\n50000\n")) {
		t.Errorf("%d bytes of output, %v", len(b), err)
	}
}

func testBinaryFails(t *testing.T, h *harness) {
	_, err := h.container(t, command("true")).NewTask(h.ctx, cio.BinaryIO("/no/such/logger", nil))
	if err == nil || !strings.Contains(err.Error(), "/no/such/logger") {
		t.Errorf("a logging program that does not exist: %v", err)
	}
}

// testReaderGone: a client that does not read any more does not keep a container
// from ending.
func testReaderGone(t *testing.T, h *harness) {
	var out buffer
	task, exit := h.task(t, h.container(t, command("trap 'exit 4' TERM; echo ready; yes")), h.streams(nil, &out, nil))
	must(t, task.Start(h.ctx))
	out.await(t, "ready")
	task.IO().Cancel()
	task.IO().Wait()
	must(t, task.Kill(h.ctx, syscall.SIGKILL))
	if code := status(t, exit); code != 137 {
		t.Errorf("status %d", code)
	}
}

// testChildKeepsOutput: a process that leaves a child with its output behind
// ends without it.
func testChildKeepsOutput(t *testing.T, h *harness) {
	task := h.running(t)
	var out buffer
	begin := time.Now()
	p, exit := h.exec(t, task, h.streams(nil, &out, nil), "/bin/sh", "-c", "sleep 1000 & echo done; exit 5")
	if code := status(t, exit); code != 5 {
		t.Errorf("status %d", code)
	}
	if time.Since(begin) > wait/2 {
		t.Error("the exit waited for the child")
	}
	out.await(t, "done")
	_, err := p.Delete(h.ctx)
	must(t, err)
}
