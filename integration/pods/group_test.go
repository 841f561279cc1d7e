// SPDX-License-Identifier: Apache-2.0

package pods

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/cgroups/v3/cgroup2/stats"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/typeurl/v2"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/paracell/paracell/integration/containerd/daemon"
	"github.com/paracell/paracell/integration/network/testnet"
)

const (
	kind    = "io.kubernetes.cri.container-type"
	sandbox = "io.kubernetes.cri.sandbox-id"
)

// pod makes containers with the annotations of the CRI plugin.
type pod struct {
	*daemon.Daemon
	ctx  context.Context
	t    *testing.T
	id   string
	path string // network namespace
	pid  uint32 // of the first task
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// start makes and starts a container; the first one is the sandbox.
func (p *pod) start(id, script string, opts ...oci.SpecOpts) (client.Task, <-chan client.ExitStatus) {
	p.t.Helper()
	c := p.Client(p.t)
	image, err := c.GetImage(p.ctx, daemon.Image)
	must(p.t, err)
	all := []oci.SpecOpts{
		oci.WithImageConfig(image), oci.WithProcessArgs("/bin/sh", "-c", script),
		oci.WithAnnotations(map[string]string{kind: "container", sandbox: p.id}),
	}
	if id == p.id {
		all = append(all, oci.WithAnnotations(map[string]string{kind: "sandbox"}), oci.WithHostname(p.id),
			oci.WithLinuxNamespace(specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: p.path}))
	} else {
		for ns, file := range map[specs.LinuxNamespaceType]string{specs.NetworkNamespace: "net", specs.IPCNamespace: "ipc", specs.UTSNamespace: "uts"} {
			all = append(all, oci.WithLinuxNamespace(specs.LinuxNamespace{Type: ns, Path: fmt.Sprintf("/proc/%d/ns/%s", p.pid, file)}))
		}
	}
	container, err := c.NewContainer(p.ctx, id, client.WithImage(image), client.WithNewSnapshot(id, image),
		client.WithNewSpec(append(all, opts...)...), client.WithRuntime(daemon.Runtime, nil))
	must(p.t, err)
	p.t.Cleanup(func() {
		if err := container.Delete(p.ctx, client.WithSnapshotCleanup); err != nil {
			p.t.Errorf("delete container %s: %v", id, err)
		}
	})
	task, err := container.NewTask(p.ctx, cio.NullIO)
	must(p.t, err)
	p.t.Cleanup(func() {
		if task, err := container.Task(p.ctx, nil); err == nil {
			if _, err := task.Delete(p.ctx, client.WithProcessKill); err != nil {
				p.t.Errorf("delete task %s: %v", id, err)
			}
		}
	})
	if id == p.id {
		p.pid = task.Pid()
	}
	exit, err := task.Wait(p.ctx)
	must(p.t, err)
	must(p.t, task.Start(p.ctx))
	return task, exit
}

// exec runs a command in a task and returns its output.
func (p *pod) exec(task client.Task, script string) string {
	p.t.Helper()
	var out, errOut bytes.Buffer
	process, err := task.Exec(p.ctx, fmt.Sprintf("e%d", time.Now().UnixNano()), &specs.Process{
		Args: []string{"/bin/sh", "-c", script}, Cwd: "/", Env: []string{"PATH=/bin"},
	}, cio.NewCreator(cio.WithStreams(nil, &out, &errOut)))
	must(p.t, err)
	exit, err := process.Wait(p.ctx)
	must(p.t, err)
	must(p.t, process.Start(p.ctx))
	if s := <-exit; s.ExitCode() != 0 {
		p.t.Errorf("%s: status %d\n%s", script, s.ExitCode(), errOut.String())
	}
	process.IO().Wait() // Delete would cut the output off
	_, err = process.Delete(p.ctx)
	must(p.t, err)
	return strings.TrimSpace(out.String())
}

const forever = "sleep infinity"

func TestGroup(t *testing.T) {
	d := daemon.Start(t, daemon.Options{})
	n := testnet.New(t, 1500)
	h := n.Host()
	p := &pod{Daemon: d, ctx: daemon.Context(t), t: t, id: "pod", path: h.Path}
	first, _ := p.start("pod", forever)
	server, served := p.start("server", "nc -l -p 80 -e /bin/cat; exit 5")
	other, _ := p.start("other", forever)
	sees, _ := p.start("sees", forever, oci.WithLinuxNamespace(specs.LinuxNamespace{Type: specs.PIDNamespace, Path: fmt.Sprintf("/proc/%d/ns/pid", p.pid)}))

	if shims := d.Shims(); len(shims) != 1 {
		t.Errorf("shims: %v, want one for the pod", shims)
	}
	all := []client.Task{first, server, other, sees}
	for _, task := range all[1:] {
		if got := p.exec(task, "hostname"); got != "pod" {
			t.Errorf("%s: host name %q", task.ID(), got)
		}
		if got := p.exec(task, "ip -4 -o addr show eth0"); !strings.Contains(got, h.IP) {
			t.Errorf("%s: address %q", task.ID(), got)
		}
		for _, ns := range []string{"ipc", "uts", "net"} {
			if a, b := p.exec(first, "readlink /proc/self/ns/"+ns), p.exec(task, "readlink /proc/self/ns/"+ns); a != b {
				t.Errorf("%s: %s, that of the pod is %s", task.ID(), b, a)
			}
		}
	}
	// Files are a container's own.
	p.exec(other, "echo mine >/tmp/file")
	if got := p.exec(sees, "ls /tmp"); got != "" {
		t.Errorf("files of another container: %q", got)
	}
	// So are processes, but where they are to be the pod's.
	if got := p.exec(other, "ls -d /proc/[0-9]* | wc -l"); got > "5" || len(got) > 1 {
		t.Errorf("%s processes are seen", got)
	}
	if a, b := p.exec(first, "readlink /proc/self/ns/pid"), p.exec(sees, "readlink /proc/self/ns/pid"); a != b {
		t.Errorf("pid namespace %s, that of the pod is %s", b, a)
	}
	// The network is the pod's.
	if got := p.exec(other, "echo hello | nc 127.0.0.1 80"); got != "hello" {
		t.Errorf("over the loopback: %q", got)
	}
	if s := <-served; s.ExitCode() != 5 {
		t.Errorf("status %d, want 5", s.ExitCode())
	}
	// Statistics are a container's.
	p.exec(other, "head -c 30000000 /dev/zero >/dev/shm/x")
	if a, b := memory(p, other), memory(p, sees); a < 30000000 || b > 15000000 {
		t.Errorf("memory of two containers: %d and %d", a, b)
	}
	pids, err := other.Pids(p.ctx)
	if err != nil || len(pids) != 1 {
		t.Errorf("processes: %v, %v", pids, err)
	}
	// One can be deleted, and made again, while the others go on.
	_, err = server.Delete(p.ctx)
	must(t, err)
	must(t, other.Kill(p.ctx, syscall.SIGKILL))
	if got := p.exec(sees, "echo on"); got != "on" {
		t.Errorf("%q", got)
	}
	again, exit := p.start("again", "exit 7")
	if s := <-exit; s.ExitCode() != 7 {
		t.Errorf("status %d, want 7", s.ExitCode())
	}
	_, err = again.Delete(p.ctx)
	must(t, err)
}

func memory(p *pod, task client.Task) uint64 {
	p.t.Helper()
	m, err := task.Metrics(p.ctx)
	must(p.t, err)
	data, err := typeurl.UnmarshalAny(m.Data)
	must(p.t, err)
	return data.(*stats.Metrics).Memory.Usage
}

// What cannot be is refused, and the cell goes on.
func TestGroupRefusals(t *testing.T) {
	d := daemon.Start(t, daemon.Options{})
	n := testnet.New(t, 1500)
	h, elsewhere := n.Host(), n.Host()
	p := &pod{Daemon: d, ctx: daemon.Context(t), t: t, id: "pod", path: h.Path}
	first, _ := p.start("pod", forever)
	c := d.Client(t)
	image, err := c.GetImage(p.ctx, daemon.Image)
	must(t, err)
	for what, opt := range map[string]oci.SpecOpts{
		"is not that of the cell": oci.WithLinuxNamespace(specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: elsewhere.Path}),
		"host's network":          oci.WithHostNamespace(specs.NetworkNamespace),
	} {
		container, err := c.NewContainer(p.ctx, "refused", client.WithImage(image), client.WithNewSnapshot("refused", image),
			client.WithNewSpec(oci.WithImageConfig(image), oci.WithAnnotations(map[string]string{kind: "container", sandbox: "pod"}), opt),
			client.WithRuntime(daemon.Runtime, nil))
		must(t, err)
		if _, err := container.NewTask(p.ctx, cio.NullIO); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
		must(t, container.Delete(p.ctx, client.WithSnapshotCleanup))
	}
	if got := p.exec(first, "echo on"); got != "on" {
		t.Errorf("%q", got)
	}
}
