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

	"github.com/paracell/paracell/integration/containerd/instance"
	"github.com/paracell/paracell/integration/images"
	"github.com/paracell/paracell/internal/testenv"
	"github.com/paracell/paracell/vmm/platform"
)

const (
	// Runtime is the name of the runtime under test.
	Runtime = instance.Runtime
	// Namespace of containerd that tests use.
	Namespace = "default"
	// Deadline is how long a command of a healthy containerd may take.
	Deadline = 60 * time.Second
)

// Image is the name of the image that Start imports: busybox with all its
// applets in /bin.
var Image = images.Ref("busybox")

// Daemon is a running containerd. Its methods may be called by one goroutine at
// a time, but for CTR, Run and Client.
type Daemon struct {
	*instance.Instance

	mu     sync.Mutex
	client *client.Client
}

// Options of a daemon.
type Options struct {
	// Config is added to the configuration of the runtime (TOML).
	Config string
	// Isolation of the cells; empty is the strongest of platform process.
	Isolation platform.Isolation
	// Env is added to the daemon's environment, which shims inherit.
	Env []string
	// Images are imported beside busybox's.
	Images []string
	// Debug makes containerd and its shims say more.
	Debug bool
	// CRI leaves the CRI plugin on.
	CRI bool
	// Containerd is added to containerd's configuration.
	Containerd string
	// Wrap is a command that runs containerd.
	Wrap []string
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
	set, err := images.Build(t.Context(), t.Output(), append([]string{"busybox"}, o.Images...)...)
	if err != nil {
		t.Fatal(err)
	}
	if o.Isolation == "" {
		o.Isolation = testenv.Isolation()
	}
	level := "info"
	if o.Debug {
		level = "debug"
	}
	i, err := instance.Start(t.Context(), instance.Options{
		Log: t.Output(), Path: []string{filepath.Dir(shim)}, Env: o.Env,
		CRI: o.CRI, Wrap: o.Wrap,
		Config: fmt.Sprintf("[debug]\n  level = %q\n%s", level, o.Containerd),
		Cells:  fmt.Sprintf("isolation = %q\n%s", o.Isolation, o.Config),
	})
	if err != nil {
		t.Fatal(err)
	}
	d := &Daemon{Instance: i}
	t.Cleanup(func() { d.end(t) })
	if err := d.Import(t.Context(), set.Write); err != nil {
		t.Fatal(err)
	}
	return d
}

// Address is the socket of the daemon.
func (d *Daemon) Address() string { return d.Instance.Address }

// Restart ends the daemon and starts it again. Its shims live on.
func (d *Daemon) Restart(t testing.TB) {
	t.Helper()
	d.disconnect()
	if err := d.Instance.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Stop ends the daemon until Restart.
func (d *Daemon) Stop(t testing.TB) {
	t.Helper()
	d.disconnect()
	if err := d.Instance.Stop(); err != nil {
		t.Fatal(err)
	}
}

func (d *Daemon) disconnect() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.client != nil {
		d.client.Close()
		d.client = nil
	}
}

// end stops the daemon and says what the test has left.
func (d *Daemon) end(t testing.TB) {
	d.disconnect()
	if left := d.Left(); left != "" {
		t.Errorf("the test has left:\n%s", left)
	}
	if t.Failed() {
		t.Logf("containerd's log:\n%s", d.Log())
	}
	shims := d.Shims()
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	for _, pid := range shims {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// Log is what the daemon and its shims have said.
func (d *Daemon) Log() string {
	b, _ := os.ReadFile(d.LogFile())
	return string(b)
}

// Left describes what should not be there when no container is: processes,
// mounts, bundles. It waits a moment: shims end after the call that ends them.
func (d *Daemon) Left() string {
	var b strings.Builder
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
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

// Mounts are the mount points below the daemon's folder.
func (d *Daemon) Mounts() []string {
	list, _ := instance.Mounts(d.Dir)
	return list
}

// Context is for calls of the client: with the namespace and a deadline.
func Context(t testing.TB) context.Context {
	// Not t.Context, which has ended when tests clean up.
	ctx, cancel := context.WithTimeout(namespaces.WithNamespace(context.Background(), Namespace), time.Hour)
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

// CTR runs a command of ctr.
func (d *Daemon) CTR(t testing.TB, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Deadline)
	defer cancel()
	cmd := d.Ctr(ctx, append([]string{"--namespace", Namespace}, args...)...)
	var out, errOut bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errOut
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
