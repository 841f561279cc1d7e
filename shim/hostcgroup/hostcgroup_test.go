// SPDX-License-Identifier: Apache-2.0

package hostcgroup

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/containerd/cgroups/v3"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/paracell/paracell/internal/testenv"
)

func TestPath(t *testing.T) {
	for in, want := range map[string]string{
		"/default/box":          "/default/box",
		"/../../etc":            "/etc",
		"box":                   "/box",
		"system.slice:docker:1": "/system.slice/docker-1.scope",
		":runc:1":               "/system.slice/runc-1.scope",
		"kubepods-burstable-pod1_2.slice:cri-containerd:77": "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice/cri-containerd-77.scope",
		"-.slice::x":        "/x.scope",
		"a.slice:p:b.slice": "/a.slice/b.slice",
	} {
		if got, err := Path(in); err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"", "/", "//", "/..", "a:b", "a.slice:b:", "a:b:c", "a--b.slice:p:n", ".slice:p:n", "a.slice:/:n", "a.slice:..:../../n", "a:b:c:d"} {
		if got, err := Path(in); err == nil {
			t.Errorf("%q: %q", in, got)
		}
	}
}

func FuzzPath(f *testing.F) {
	f.Add("a-b.slice:p:n")
	f.Add("/a/../b")
	f.Fuzz(func(t *testing.T, in string) {
		if got, err := Path(in); err == nil && (got == "/" || !strings.HasPrefix(got, "/") || got != filepath.Clean(got)) {
			t.Errorf("%q: %q", in, got)
		}
	})
}

func pointer[T any](v T) *T { return &v }

// TestGroup makes a group, moves this process there and back, and removes it. It
// runs on hosts with version 1 and with version 2.
func TestGroup(t *testing.T) {
	testenv.Root(t)
	if cgroups.Mode() == cgroups.Unavailable {
		t.Skip("no control groups are mounted")
	}
	name := "/paracell-test-" + strconv.Itoa(os.Getpid())
	g, err := Create(name, &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: pointer(int64(1 << 30))},
		CPU:    &specs.LinuxCPU{Shares: pointer(uint64(512)), Cpus: "0"},
		Pids:   &specs.LinuxPids{Limit: pointer(int64(1000))},
	})
	if err != nil {
		t.Fatal(err)
	}
	before, err := own()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := g.Delete(); err != nil {
			t.Error(err)
		}
		after, err := own()
		if err != nil {
			t.Fatal(err)
		}
		for c, p := range before {
			if after[c] != p {
				t.Errorf("%s: this process was in %s and is in %s", c, p, after[c])
			}
		}
		for _, d := range g.dirs {
			if _, err := os.Stat(d.path); err == nil {
				t.Errorf("%s is left", d.path)
			}
		}
		if err := Remove(name); err != nil {
			t.Errorf("one that is gone: %v", err)
		}
	}()
	if err := g.Enter(); err != nil {
		t.Fatal(err)
	}
	child, err := exec.Command("cat", "/proc/self/cgroup").Output()
	if err != nil || strings.Count(string(child), ":"+name+"\n") != len(g.dirs) {
		t.Errorf("a child is in\n%s%v; there are %d hierarchies", child, err, len(g.dirs))
	}
	limit := "memory.max"
	if cgroups.Mode() != cgroups.Unified {
		limit = "memory.limit_in_bytes"
	}
	read := func() string {
		for _, d := range g.dirs {
			if b, err := os.ReadFile(filepath.Join(d.path, limit)); err == nil {
				return strings.TrimSpace(string(b))
			}
		}
		return ""
	}
	if got := read(); got != strconv.Itoa(1<<30) {
		t.Errorf("limit %s", got)
	}
	if err := g.Update(&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: pointer(int64(2 << 30))}}); err != nil {
		t.Error(err)
	}
	if got := read(); got != strconv.Itoa(2<<30) {
		t.Errorf("limit %s after the update", got)
	}
	if n := g.Kills(); n != 0 {
		t.Errorf("%d kills", n)
	}
}
