// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/cgroups/v3"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/paracell/paracell/integration/containerd/daemon"
)

// groupDir is the directory of a control group of the host, in the hierarchy of
// a controller where there are several.
func groupDir(controller, path string) string {
	if cgroups.Mode() == cgroups.Unified {
		return filepath.Join("/sys/fs/cgroup", path)
	}
	return filepath.Join("/sys/fs/cgroup", controller, path)
}

// members are the processes of a group.
func members(controller, path string) string {
	b, _ := os.ReadFile(filepath.Join(groupDir(controller, path), "cgroup.procs"))
	return strings.Join(strings.Fields(string(b)), " ")
}

func limitFile(path string) string {
	if cgroups.Mode() == cgroups.Unified {
		return filepath.Join(groupDir("memory", path), "memory.max")
	}
	return filepath.Join(groupDir("memory", path), "memory.limit_in_bytes")
}

// eventually polls until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// detach starts a container that goes on.
func detach(t *testing.T, d *daemon.Daemon, name string, s *specs.Spec) {
	t.Helper()
	if r := ctrRun(t, d, name, s, "--detach"); r.status != 0 {
		t.Fatal(r.errOut)
	}
}

// remove ends and deletes a container.
func remove(t *testing.T, d *daemon.Daemon, name string) {
	t.Helper()
	_, _, _ = d.CTR(t, "", "task", "kill", "-s", "KILL", name)
	if _, out, err := d.CTR(t, "", "task", "delete", "--force", name); err != nil {
		t.Logf("task delete: %v %s", err, out)
	}
	if _, out, err := d.CTR(t, "", "container", "delete", name); err != nil {
		t.Errorf("container delete: %v %s", err, out)
	}
}

// TestHostGroup looks at the control group of a cell on the host.
func TestHostGroup(t *testing.T) {
	d := daemon.Start(t, daemon.Options{})
	path := fmt.Sprintf("/paracell-test-%d/box", os.Getpid())
	t.Cleanup(func() {
		for _, c := range []string{"systemd", "freezer", "pids", "net_cls", "net_prio", "perf_event", "cpuset", "cpu", "cpuacct", "memory", "blkio", "rdma", "devices", "hugetlb"} {
			_ = os.Remove(filepath.Dir(groupDir(c, path)))
		}
	})
	sleeper := func() *specs.Spec {
		s := base(root(t))
		s.Linux.CgroupsPath = path
		s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: pointer(int64(64 << 20))}
		s.Linux.Resources.CPU = &specs.LinuxCPU{Shares: pointer(uint64(256)), Cpus: "0"}
		s.Process.OOMScoreAdj = pointer(500)
		s.Process.Args = []string{"sleep", "1000"}
		return s
	}
	gone := func() bool {
		_, err := os.Stat(groupDir("memory", path))
		_, err2 := os.Stat(groupDir("pids", path))
		return os.IsNotExist(err) && os.IsNotExist(err2)
	}
	t.Run("placed and removed", func(t *testing.T) {
		detach(t, d, "placed", sleeper())
		shims := d.Shims()
		if len(shims) != 1 {
			t.Fatalf("shims %v", shims)
		}
		for _, c := range []string{"memory", "pids", "cpu"} {
			pids := strings.Fields(members(c, path))
			if len(pids) < 3 || !strings.Contains(" "+strings.Join(pids, " ")+" ", fmt.Sprintf(" %d ", shims[0])) {
				t.Errorf("%s: processes %v; the shim is %d and the cell has several", c, pids, shims[0])
			}
			for _, pid := range pids {
				score, err := os.ReadFile("/proc/" + pid + "/oom_score_adj")
				if want := "500\n"; err == nil && pid != strconv.Itoa(shims[0]) && string(score) != want {
					t.Errorf("process %s of the cell has the OOM score %q", pid, score)
				}
			}
		}
		if b, err := os.ReadFile(limitFile(path)); err != nil || strings.TrimSpace(string(b)) != strconv.Itoa((64+64+1+1+128)<<20) {
			t.Errorf("memory limit on the host %q, %v", b, err)
		}
		if b, err := os.ReadFile(filepath.Join(groupDir("cpuset", path), "cpuset.cpus")); err != nil || strings.TrimSpace(string(b)) != "0" {
			t.Errorf("processors %q, %v", b, err)
		}
		remove(t, d, "placed")
		eventually(t, "the control group is removed", gone)
	})
	t.Run("killed shim", func(t *testing.T) {
		detach(t, d, "killed", sleeper())
		for _, pid := range d.Shims() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		eventually(t, "the control group is removed", gone)
		remove(t, d, "killed")
	})
	t.Run("out of memory on the host", func(t *testing.T) {
		s := sleeper()
		s.Process.Args = []string{"sh", "-c", "while ! test -e /tmp/go; do sleep 0.1; done; tail /dev/zero; sleep 1000"}
		detach(t, d, "oom", s)
		// Less than the cell is going to use.
		usage := "memory.usage_in_bytes"
		if cgroups.Mode() == cgroups.Unified {
			usage = "memory.current"
		}
		b, err := os.ReadFile(filepath.Join(groupDir("memory", path), usage))
		if err != nil {
			t.Fatal(err)
		}
		used, err := strconv.Atoi(strings.TrimSpace(string(b)))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(limitFile(path), []byte(strconv.Itoa(used+8<<20)), 0); err != nil {
			t.Skip(err)
		}
		if err := os.WriteFile(filepath.Join(s.Root.Path, "tmp/go"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the container ends", func() bool {
			out, _, _ := d.CTR(t, "", "task", "ls")
			return strings.Contains(out, "STOPPED") || !strings.Contains(out, "oom")
		})
		eventually(t, "containerd's log says why", func() bool {
			return strings.Contains(d.Log(), "OOM killer has ended the cell")
		})
		remove(t, d, "oom")
		eventually(t, "the control group is removed", gone)
	})
}

// TestHooks runs a hook of every kind, where it belongs.
func TestHooks(t *testing.T) {
	d := daemon.Start(t, daemon.Options{})
	out := t.TempDir()
	hook := func(name, more string) []specs.Hook {
		return []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", fmt.Sprintf("cat >%s/%s; echo %s >>%s/order; %s", out, name, name, out, more)}, Env: []string{"PATH=/bin:/usr/bin"}}}
	}
	s := base(root(t))
	s.Annotations = map[string]string{"who": "me"}
	s.Process.Args = []string{"cat", "/tmp/state"}
	s.Hooks = &specs.Hooks{
		Prestart: hook("prestart", ""), CreateRuntime: hook("createRuntime", ""), Poststart: hook("poststart", ""), Poststop: hook("poststop", ""),
		StartContainer: []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "/bin/cat >/tmp/state; /bin/uname -r >>/tmp/state"}}},
	}
	r := run(t, d, "hooks", s)
	if r.status != 0 || !strings.Contains(r.out, `"id":"hooks"`) && !strings.Contains(r.out, `"id": "hooks"`) || !strings.Contains(r.out, "6.12.") {
		t.Errorf("startContainer: %+v", r)
	}
	if b, _ := os.ReadFile(filepath.Join(out, "order")); string(b) != "prestart\ncreateRuntime\npoststart\npoststop\n" {
		t.Errorf("order %q", b)
	}
	for name, status := range map[string]specs.ContainerState{"prestart": "creating", "createRuntime": "creating", "poststart": "running", "poststop": "stopped"} {
		var state specs.State
		b, err := os.ReadFile(filepath.Join(out, name))
		if err == nil {
			err = json.Unmarshal(b, &state)
		}
		if err != nil || state.ID != "hooks" || state.Status != status || state.Annotations["who"] != "me" || (state.Pid == 0) != (name == "poststop") {
			t.Errorf("%s: %s, %v", name, b, err)
		}
	}
	// The process in the state stands for the cell: its network is not the host's.
	s = base(root(t))
	s.Process.Args = []string{"true"}
	s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c",
		"pid=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/'); test $(readlink /proc/$pid/ns/net) != $(readlink /proc/self/ns/net)"}, Env: []string{"PATH=/bin:/usr/bin"}}}}
	if r := run(t, d, "pid", s); r.status != 0 {
		t.Errorf("%+v", r)
	}
	for kind, h := range map[string]*specs.Hooks{
		"createRuntime": {CreateRuntime: hook("x", "echo no luck; exit 3"), Poststop: hook("cleanup", "")},
		"poststart":     {Poststart: hook("x", "echo no luck; exit 3"), Poststop: hook("cleanup", "")},
	} {
		_ = os.Remove(filepath.Join(out, "cleanup"))
		s := base(root(t))
		s.Process.Args = []string{"sleep", "1000"}
		s.Hooks = h
		r := run(t, d, "fails-"+kind, s)
		if r.status == 0 || !strings.Contains(r.errOut, "hook /bin/sh: exit status 3: no luck") {
			t.Errorf("%s: %+v", kind, r)
		}
		if _, err := os.Stat(filepath.Join(out, "cleanup")); err != nil {
			t.Errorf("%s: poststop has not run: %v", kind, err)
		}
		_, _, _ = d.CTR(t, "", "container", "delete", "fails-"+kind)
	}
}
