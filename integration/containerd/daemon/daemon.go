// SPDX-License-Identifier: Apache-2.0

// Package daemon runs a private containerd for tests: its own root, state and
// sockets, built from its Go module, with the shim of this tree on its PATH and
// an image made from Debian's busybox. Nothing of the system's is touched, and
// a test that leaves a shim, a mount or a bundle behind fails.
package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"

	"github.com/paracell/paracell/internal/testenv"
	"github.com/paracell/paracell/vmm/platform"
)

const (
	// Version of containerd.
	Version = "v2.4.2"
	// Runtime is the name of the runtime under test.
	Runtime = "io.containerd.paracell.v2"
	// Image is the name of the image that Start imports: busybox with all its
	// applets in /bin.
	Image = "localhost/busybox:test"
	// Namespace of containerd that tests use.
	Namespace = "default"
	// Deadline is how long a command of a healthy containerd may take.
	Deadline = 60 * time.Second
)

// Daemon is a running containerd. Its methods may be called by one goroutine at
// a time, but for CTR, Run and Client.
type Daemon struct {
	// Dir is the folder of everything that belongs to it.
	Dir string

	bin, path string
	env       []string
	cmd       *exec.Cmd

	mu     sync.Mutex
	client *client.Client
}

// Programs builds programs of containerd once per machine and returns their
// folder.
func Programs(t testing.TB, names ...string) string {
	t.Helper()
	cache := os.Getenv("PARACELL_CACHE")
	if cache == "" {
		cache = "/var/cache/paracell"
	}
	dir := filepath.Join(cache, "containerd", Version)
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			continue
		}
		t.Logf("building %s %s", name, Version)
		cmd := exec.Command("go", "install", "github.com/containerd/containerd/v2/cmd/"+name+"@"+Version)
		cmd.Dir = t.TempDir() // outside the module
		cmd.Env = append(os.Environ(), "GOBIN="+dir, "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", name, err, out)
		}
	}
	return dir
}

// Options of a daemon.
type Options struct {
	// Config is added to the configuration of the runtime (TOML).
	Config string
	// Env is added to the daemon's environment, which shims inherit.
	Env []string
	// Debug makes containerd and its shims say more.
	Debug bool
}

// Start starts a daemon that ends with the test.
func Start(t testing.TB, o Options) *Daemon {
	t.Helper()
	testenv.Root(t)
	testenv.ProcessPlatform(t, platform.IsolationNone)
	shim := testenv.Built(t, "containerd-shim-paracell-v2")
	for _, name := range []string{"paracell-kernel", "paracell-agent", "paracell-crun"} {
		testenv.Built(t, name)
	}
	busybox := testenv.Program(t, "busybox", "busybox-static")
	d := &Daemon{bin: Programs(t, "containerd", "ctr"), path: filepath.Dir(shim) + ":" + os.Getenv("PATH")}
	// Socket paths are short, so not t.TempDir.
	var err error
	if d.Dir, err = os.MkdirTemp("/run", "paracell-test-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(d.Dir) })
	d.env = append(os.Environ(), "PARACELL_CONFIG="+filepath.Join(d.Dir, "paracell.toml"), "PATH="+d.path)
	d.env = append(d.env, o.Env...)
	write(t, filepath.Join(d.Dir, "paracell.toml"), fmt.Appendf(nil, "isolation = %q\n%s", testenv.Isolation(), o.Config))
	level := "info"
	if o.Debug {
		level = "debug"
	}
	write(t, filepath.Join(d.Dir, "config.toml"), fmt.Appendf(nil, `version = 3
root = %q
state = %q
disabled_plugins = [
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.blockfile",
  "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime",
]
[grpc]
  address = %q
[ttrpc]
  address = %q
[debug]
  level = %q
`, d.Dir+"/root", d.Dir+"/state", d.Address(), d.Dir+"/t.sock", level))
	t.Cleanup(func() { d.end(t) })
	d.launch(t)
	archive := filepath.Join(d.Dir, "image.tar")
	write(t, archive, Archive(t, busybox))
	if _, out, err := d.CTR(t, "", "image", "import", archive); err != nil {
		t.Fatalf("import: %v\n%s", err, out)
	}
	return d
}

// Address is the socket of the daemon.
func (d *Daemon) Address() string { return d.Dir + "/c.sock" }

// Pid is the process of the daemon.
func (d *Daemon) Pid() int { return d.cmd.Process.Pid }

// launch starts the program and waits until it answers.
func (d *Daemon) launch(t testing.TB) {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(d.Dir, "log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(filepath.Join(d.bin, "containerd"), "-c", filepath.Join(d.Dir, "config.toml"))
	cmd.Env, cmd.Stdout, cmd.Stderr = d.env, log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d.cmd = cmd
	for end := time.Now().Add(Deadline); ; time.Sleep(20 * time.Millisecond) {
		if _, _, err := d.CTR(t, "", "version"); err == nil {
			return
		} else if time.Now().After(end) {
			t.Fatalf("containerd does not answer: %v", err)
		}
	}
}

// Restart ends the daemon and starts it again. Its shims live on.
func (d *Daemon) Restart(t testing.TB) {
	t.Helper()
	d.stop()
	d.launch(t)
}

func (d *Daemon) stop() {
	if d.cmd == nil {
		return
	}
	d.mu.Lock()
	if d.client != nil {
		d.client.Close()
		d.client = nil
	}
	d.mu.Unlock()
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	_ = d.cmd.Wait()
	d.cmd = nil
}

// end stops the daemon and says what the test has left.
func (d *Daemon) end(t testing.TB) {
	left := d.Left()
	d.stop()
	for _, pid := range d.Shims() {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	for _, m := range d.Mounts() {
		_ = syscall.Unmount(m, syscall.MNT_DETACH)
	}
	if left != "" {
		t.Errorf("the test has left:\n%s", left)
	}
	if t.Failed() {
		t.Logf("containerd's log:\n%s", d.Log())
	}
}

// Log is what the daemon and its shims have said.
func (d *Daemon) Log() string {
	b, _ := os.ReadFile(filepath.Join(d.Dir, "log"))
	return string(b)
}

// Left describes what should not be there when no container is: processes,
// mounts, bundles. It waits a moment: shims end after the call that ends them.
func (d *Daemon) Left() string {
	var b strings.Builder
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		b.Reset()
		for _, pid := range d.Shims() {
			fmt.Fprintf(&b, "shim: process %d\n", pid)
		}
		for _, m := range d.Mounts() {
			fmt.Fprintf(&b, "mount: %s\n", m)
		}
		bundles, _ := filepath.Glob(d.Dir + "/state/io.containerd.runtime.v2.task/*/*")
		for _, p := range bundles {
			fmt.Fprintf(&b, "bundle: %s\n", p)
		}
		if b.Len() == 0 || time.Now().After(end) {
			return b.String()
		}
	}
}

// Shims are the processes of shims of this daemon. Those of their cells are
// their children.
func (d *Daemon) Shims() []int {
	var pids []int
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		b, err := os.ReadFile(dir + "/cmdline")
		if err != nil || !bytes.Contains(b, []byte("shim-paracell")) || !bytes.Contains(b, []byte(d.Dir)) {
			continue
		}
		var pid int
		if _, err := fmt.Sscan(filepath.Base(dir), &pid); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Mounts are the mount points below the daemon's folder, the deepest first.
func (d *Daemon) Mounts() []string {
	b, _ := os.ReadFile("/proc/self/mountinfo")
	var list []string
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], d.Dir+"/") {
			list = append([]string{f[4]}, list...)
		}
	}
	return list
}

// Context is for calls of the client: with the namespace and a deadline.
func Context(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(namespaces.WithNamespace(t.Context(), Namespace), 10*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// Client is connected to the daemon until it is restarted.
func (d *Daemon) Client(t testing.TB) *client.Client {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.client == nil {
		c, err := client.New(d.Address(), client.WithDefaultRuntime(Runtime), client.WithDefaultNamespace(Namespace))
		if err != nil {
			t.Fatal(err)
		}
		d.client = c
	}
	return d.client
}

// CTR runs a command of ctr; KILL at the deadline, because ctr hands TERM on to
// its container.
func (d *Daemon) CTR(t testing.TB, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Deadline)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(d.bin, "ctr"),
		append([]string{"--address", d.Address(), "--namespace", Namespace}, args...)...)
	var out, errOut bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errOut
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	return out.String(), errOut.String(), err
}

// Run is "ctr run --rm" of a command in Image.
func (d *Daemon) Run(t testing.TB, stdin, name string, command ...string) (stdout, stderr string, status int) {
	t.Helper()
	out, errOut, err := d.CTR(t, stdin, append([]string{"run", "--rm", "--runtime", Runtime, Image, name}, command...)...)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return out, errOut, exit.ExitCode()
	}
	if err != nil {
		t.Fatalf("ctr run %v: %v\n%s%s", command, err, out, errOut)
	}
	return out, errOut, 0
}

func write(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}
