// SPDX-License-Identifier: Apache-2.0

package shim

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/opencontainers/runtime-spec/specs-go/features"

	"github.com/paracell/paracell/integration/containerd/daemon"
)

// TestClients makes the calls of nerdctl and of the CRI plugin that other tests
// do not make.
func TestClients(t *testing.T) {
	h := start(t, daemon.Options{})
	for name, test := range map[string]func(*testing.T, *harness){
		"info": testInfo, "labels": testLabels, "copy into a running container": testCopyRunning, "copy from a stopped container": testCopyStopped,
		"copy from a paused container": testCopyPaused,
		"process of the host":          testHostProcess, "agent's memory": testAgentMemory,
	} {
		t.Run(name, func(t *testing.T) { test(t, h) })
	}
}

// testInfo: containerd runs the shim with -info.
func testInfo(t *testing.T, h *harness) {
	info, err := h.Client(t).RuntimeInfo(h.ctx, daemon.Runtime, nil)
	must(t, err)
	f, ok := info.Features.(*features.Features)
	if info.Name != daemon.Runtime || info.Version.Version == "" || !ok || f.Linux == nil {
		t.Errorf("%+v", info)
	}
}

func testLabels(t *testing.T, h *harness) {
	c := h.container(t, command(forever))
	_, err := c.SetLabels(h.ctx, map[string]string{"nerdctl/name": "x", "nerdctl/networks": "[]"})
	must(t, err)
	task, _ := h.task(t, c, cio.NullIO)
	must(t, task.Start(h.ctx))
	labels, err := c.Labels(h.ctx)
	if err != nil || labels["nerdctl/name"] != "x" {
		t.Errorf("%v, %v", labels, err)
	}
}

// testCopyRunning copies as kubectl cp does: with tar in the container.
func testCopyRunning(t *testing.T, h *harness) {
	task := h.running(t)
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	must(t, w.WriteHeader(&tar.Header{Name: "tmp/copied", Mode: 0o640, Size: 4, Typeflag: tar.TypeReg}))
	_, err := io.WriteString(w, "text")
	must(t, err)
	must(t, w.Close())
	p, exit := h.exec(t, task, h.streams(&archive, &buffer{}, nil), "/bin/tar", "xf", "-", "-C", "/")
	must(t, p.CloseIO(h.ctx, client.WithStdinCloser))
	if code := status(t, exit); code != 0 {
		t.Errorf("tar: status %d", code)
	}
	_, err = p.Delete(h.ctx)
	must(t, err)

	var out buffer
	p, exit = h.exec(t, task, h.streams(nil, &out, nil), "/bin/tar", "cf", "-", "-C", "/tmp", "copied")
	status(t, exit)
	remove(t, h, p)
	r := tar.NewReader(strings.NewReader(out.String()))
	header, err := r.Next()
	must(t, err)
	if b, err := io.ReadAll(r); err != nil || string(b) != "text" || header.Mode != 0o640 {
		t.Errorf("%q, mode %o, %v", b, header.Mode, err)
	}
}

// testCopyStopped copies as nerdctl cp does: from the mounted snapshot.
func testCopyStopped(t *testing.T, h *harness) {
	c := h.container(t, command("echo text >/root/file; chmod 640 /root/file"))
	task, exit := h.task(t, c, cio.NullIO)
	must(t, task.Start(h.ctx))
	if code := status(t, exit); code != 0 {
		t.Errorf("status %d", code)
	}
	_, err := task.Delete(h.ctx)
	must(t, err)
	copied(t, h, c)
}

// testCopyPaused: of a container that is paused nerdctl mounts the snapshot too.
func testCopyPaused(t *testing.T, h *harness) {
	c := h.container(t, command(forever))
	task, exit := h.task(t, c, cio.NullIO)
	must(t, task.Start(h.ctx))
	h.output(t, task, "/bin/sh", "-c", "echo text >/root/file; chmod 640 /root/file")
	must(t, task.Pause(h.ctx))
	copied(t, h, c)
	must(t, task.Resume(h.ctx))
	must(t, task.Kill(h.ctx, syscall.SIGKILL))
	status(t, exit)
}

// copied finds what the container has written in its snapshot.
func copied(t *testing.T, h *harness, c client.Container) {
	t.Helper()
	info, err := c.Info(h.ctx)
	must(t, err)
	mounts, err := h.Client(t).SnapshotService(info.Snapshotter).Mounts(h.ctx, info.SnapshotKey)
	must(t, err)
	must(t, mount.WithTempMount(h.ctx, mounts, func(root string) error {
		path := filepath.Join(root, "root/file")
		fi, err := os.Stat(path)
		if err != nil {
			return err
		}
		b, err := os.ReadFile(path)
		if err == nil && (string(b) != "text\n" || fi.Mode().Perm() != 0o640) {
			err = fmt.Errorf("%q, %v", b, fi.Mode())
		}
		return err
	}))
}

// testHostProcess: the process that a task has on the host is the cell's, not
// one through which tools would look at the host's own files, and killing it is
// killing the container.
func testHostProcess(t *testing.T, h *harness) {
	task := h.running(t)
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/root", task.Pid()))
	if err != nil || len(entries) != 0 {
		t.Errorf("its root has %v, %v", entries, err)
	}
	pids, err := task.Pids(h.ctx)
	must(t, err)
	for _, p := range pids {
		if p.Pid != task.Pid() && p.Pid < 1<<22 {
			t.Errorf("process %d of the guest looks like one of the host", p.Pid)
		}
	}
	exit, err := task.Wait(h.ctx)
	must(t, err)
	must(t, syscall.Kill(int(task.Pid()), syscall.SIGKILL))
	if code := status(t, exit); code != 137 {
		t.Errorf("status %d", code)
	}
}

// agentMemory is what the agent may keep in a cell's memory, in KiB: its program
// and what it allocates.
const agentMemory = 10 << 10

func testAgentMemory(t *testing.T, h *harness) {
	task, _ := h.inCell(t, forever)
	for range 20 {
		h.output(t, task, "/bin/true")
	}
	var rss, anonymous int
	for line := range strings.Lines(h.output(t, task, "/bin/cat", "/proc/1/status")) {
		_, _ = fmt.Sscanf(line, "VmRSS: %d kB", &rss)
		_, _ = fmt.Sscanf(line, "RssAnon: %d kB", &anonymous)
	}
	t.Logf("%d KiB, %d KiB of it allocated", rss, anonymous)
	if rss == 0 || rss > agentMemory {
		t.Errorf("the agent uses %d KiB, more than %d", rss, agentMemory)
	}
}
