// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/paracell/paracell/agent/reaper"
	agent "github.com/paracell/paracell/protos/agent/v1"
)

const patience = 20 * time.Second

// sharedReaper is one per process, as in a cell.
var sharedReaper = sync.OnceValue(reaper.New)

// rig is a service with a fake crun and a host that records streams.
type rig struct {
	*Service
	t   *testing.T
	dir string
	ctx context.Context

	mu    sync.Mutex
	conns map[uint32]*net.UnixConn // the host's ends
}

func newRig(t *testing.T) *rig {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent") // socket paths are short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	r := &rig{t: t, dir: dir, ctx: ctx, conns: map[uint32]*net.UnixConn{}}
	r.Service = New(Config{
		Reaper: sharedReaper(), Dial: r.dial, PowerOff: func() {}, Runtime: self,
		RunDir: dir, RootsDir: "/roots", Cgroups: filepath.Join(dir, "cgroup"),
	})
	t.Cleanup(func() {
		for _, c := range r.conns {
			c.Close()
		}
	})
	return r
}

func (r *rig) dial(port uint32) (Stream, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	var ends [2]*net.UnixConn
	for i, fd := range pair {
		f := os.NewFile(uintptr(fd), "stream")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			return nil, err
		}
		ends[i] = c.(*net.UnixConn)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns[port] = ends[0]
	return ends[1], nil
}

func (r *rig) host(port uint32) *net.UnixConn {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.conns[port]
}

// create makes a container; its output is port 2 and 3, its input port 1.
func (r *rig) create(id string, terminal bool, args ...string) error {
	r.t.Helper()
	spec, err := json.Marshal(specs.Spec{
		Version: "1.0.2", Root: &specs.Root{Path: "x"}, Linux: &specs.Linux{}, Process: &specs.Process{Args: args, Cwd: "/", Terminal: terminal},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	io := &agent.Stdio{Stdin: 1, Stdout: 2, Stderr: 3, Terminal: terminal}
	if terminal {
		io.Stderr = 0
	}
	_, err = r.Create(r.ctx, &agent.CreateRequest{Container: id, Spec: spec, Root: &agent.Root{Path: id}, Stdio: io})
	return errgrpc.ToNative(err)
}

func (r *rig) must(_ any, err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) exit(id, exec string) *agent.WaitResponse {
	r.t.Helper()
	w, err := r.Wait(r.ctx, &agent.ProcessRequest{Container: id, Exec: exec})
	if err != nil {
		r.t.Fatal(err)
	}
	return w
}

// read reads that many bytes of a stream.
func (r *rig) read(port uint32, n uint64) string {
	r.t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(r.host(port), b); err != nil {
		r.t.Errorf("%q, %v", b, err)
	}
	return string(b)
}

func TestContainer(t *testing.T) {
	r := newRig(t)
	if err := r.create("c", false, "sh", "-c", "cat; echo out; echo err >&2; exit 7"); err != nil {
		t.Fatal(err)
	}
	is := func(what string, err error, class func(error) bool) {
		t.Helper()
		if !class(err) && !class(errgrpc.ToNative(err)) {
			t.Errorf("%s: %v", what, err)
		}
	}
	is("the same name", r.create("c", false, "true"), errdefs.IsAlreadyExists)
	_, err := r.Delete(r.ctx, &agent.ProcessRequest{Container: "other"})
	is("no container", err, errdefs.IsNotFound)
	r.must(r.Start(r.ctx, &agent.ProcessRequest{Container: "c"}))
	_, err = r.Start(r.ctx, &agent.ProcessRequest{Container: "c"})
	is("start again", err, errdefs.IsFailedPrecondition)
	_, err = r.Delete(r.ctx, &agent.ProcessRequest{Container: "c"})
	is("delete while running", err, errdefs.IsFailedPrecondition)
	fmt.Fprintln(r.host(1), "in")
	r.must(nil, r.host(1).CloseWrite())
	w := r.exit("c", "")
	if w.Status != 7 || w.Stdout != 7 || w.Stderr != 4 || w.ExitedAt == 0 {
		t.Errorf("%v", w)
	}
	if out, errs := r.read(2, w.Stdout), r.read(3, w.Stderr); out != "in\nout\n" || errs != "err\n" {
		t.Errorf("%q, %q", out, errs)
	}
	_, err = r.Kill(r.ctx, &agent.KillRequest{Container: "c", Signal: 9})
	is("kill what has ended", err, errdefs.IsNotFound)
	if b, err := os.ReadFile(filepath.Join(r.dir, "cgroup", "c", "cgroup.kill")); err != nil || string(b) != "1" {
		t.Errorf("what is left was not killed: %q, %v", b, err)
	}
	r.must(r.Delete(r.ctx, &agent.ProcessRequest{Container: "c"}))
	if left, _ := filepath.Glob(filepath.Join(r.dir, "containers", "*")); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestExec(t *testing.T) {
	r := newRig(t)
	r.must(nil, r.create("c", false, "sleep", "1000"))
	r.must(r.Start(r.ctx, &agent.ProcessRequest{Container: "c"}))
	spec := func(args ...string) []byte {
		b, err := json.Marshal(specs.Process{Args: args, Cwd: "/"})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for i := range uint32(20) {
		name := fmt.Sprint("e", i)
		r.must(r.Exec(r.ctx, &agent.ExecRequest{Container: "c", Exec: name, Process: spec("sh", "-c", fmt.Sprint("exit ", i)), Stdio: &agent.Stdio{}}))
		r.must(r.Start(r.ctx, &agent.ProcessRequest{Container: "c", Exec: name}))
		if w := r.exit("c", name); w.Status != i {
			t.Errorf("status %d, want %d", w.Status, i)
		}
		r.must(r.Delete(r.ctx, &agent.ProcessRequest{Container: "c", Exec: name}))
	}
	r.must(r.Exec(r.ctx, &agent.ExecRequest{Container: "c", Exec: "bad", Process: spec("refuse"), Stdio: &agent.Stdio{}}))
	if _, err := r.Start(r.ctx, &agent.ProcessRequest{Container: "c", Exec: "bad"}); err == nil || !strings.Contains(err.Error(), "`refuse` not found") {
		t.Errorf("what crun says is lost: %v", err)
	}
	_, err := r.Kill(r.ctx, &agent.KillRequest{Container: "c", Exec: "bad", Signal: 9})
	if !errdefs.IsFailedPrecondition(errgrpc.ToNative(err)) {
		t.Errorf("kill of what does not run: %v", err)
	}
	r.must(r.Delete(r.ctx, &agent.ProcessRequest{Container: "c", Exec: "bad"}))
	for _, name := range []string{"", ".", "..", "a/b", "a\x00"} {
		if _, err := r.Exec(r.ctx, &agent.ExecRequest{Container: "c", Exec: name, Process: spec("true")}); !errdefs.IsInvalidArgument(errgrpc.ToNative(err)) {
			t.Errorf("name %q: %v", name, err)
		}
	}
	pids, err := r.Pids(r.ctx, &agent.ContainerRequest{Container: "c"})
	if err != nil || len(pids.Processes) == 0 {
		t.Errorf("%v, %v", pids, err)
	}
	r.must(r.Kill(r.ctx, &agent.KillRequest{Container: "c", Signal: 9}))
	if w := r.exit("c", ""); w.Status != 137 {
		t.Errorf("%v", w)
	}
	r.must(r.Delete(r.ctx, &agent.ProcessRequest{Container: "c"}))
}

func TestTerminal(t *testing.T) {
	r := newRig(t)
	r.must(nil, r.create("c", true, "sh", "-c", "read x; stty size; exit 4"))
	r.must(r.Start(r.ctx, &agent.ProcessRequest{Container: "c"}))
	r.must(r.ResizePty(r.ctx, &agent.ResizePtyRequest{Container: "c", Width: 99, Height: 33}))
	fmt.Fprintln(r.host(1), "go")
	w := r.exit("c", "")
	if out := r.read(2, w.Stdout); w.Status != 4 || !strings.Contains(out, "33 99") {
		t.Errorf("%v, %q", w, out)
	}
	r.must(r.Delete(r.ctx, &agent.ProcessRequest{Container: "c"}))
}

func TestCreateFails(t *testing.T) {
	r := newRig(t)
	if err := r.create("c", false, "refuse"); err == nil || !strings.Contains(err.Error(), "`refuse` not found") {
		t.Error(err)
	}
	for what, request := range map[string]*agent.CreateRequest{
		"a name":          {Container: "../c", Spec: []byte("{}")},
		"a specification": {Container: "d", Spec: []byte("{")},
		"all of it":       {Container: "d", Spec: []byte("{}")},
	} {
		if _, err := r.Create(r.ctx, request); !errdefs.IsInvalidArgument(errgrpc.ToNative(err)) {
			t.Errorf("without %s: %v", what, err)
		}
	}
	r.must(nil, r.create("c", false, "true")) // the name is free
	r.must(r.Delete(r.ctx, &agent.ProcessRequest{Container: "c"}))
}

func TestControlGroup(t *testing.T) {
	r := newRig(t)
	r.must(nil, r.create("c", false, "sleep", "1000"))
	r.must(r.Start(r.ctx, &agent.ProcessRequest{Container: "c"}))
	group := filepath.Join(r.dir, "cgroup", "c")
	put := func(name, text string) { r.must(nil, os.WriteFile(filepath.Join(group, name), []byte(text), 0o600)) }

	put("cgroup.events", "populated 1\nfrozen 1\n")
	r.must(r.Pause(r.ctx, &agent.ContainerRequest{Container: "c"}))
	if b, _ := os.ReadFile(filepath.Join(group, "cgroup.freeze")); string(b) != "1" {
		t.Errorf("%q", b)
	}
	put("cgroup.events", "frozen 0\n")
	r.must(r.Resume(r.ctx, &agent.ContainerRequest{Container: "c"}))

	r.must(r.Update(r.ctx, &agent.UpdateRequest{Container: "c", Resources: []byte(`{"pids":{"limit":5}}`)}))
	if b, _ := os.ReadFile(filepath.Join(group, "updated")); !strings.Contains(string(b), `"limit":5`) {
		t.Errorf("%q", b)
	}
	put("memory.max", "max\n")
	s, err := r.Stats(r.ctx, &agent.ContainerRequest{Container: "c"})
	if err != nil || s.Files["memory.max"] != "max\n" {
		t.Errorf("%v, %v", s, err)
	}

	kills := make(chan uint64)
	go func() {
		w, err := r.WaitOOM(r.ctx, &agent.WaitOOMRequest{Container: "c"})
		if err != nil {
			t.Error(err)
		}
		kills <- w.GetKills()
	}()
	// It may not look yet: what it sees first counts too.
	put("memory.events", "oom 1\noom_kill 2\n")
	if n := <-kills; n != 2 {
		t.Errorf("%d kills", n)
	}
	go func() {
		_, err := r.WaitOOM(r.ctx, &agent.WaitOOMRequest{Container: "c", Seen: 2})
		if !errdefs.IsNotFound(errgrpc.ToNative(err)) {
			t.Errorf("after the end: %v", err)
		}
		kills <- 0
	}()
	r.must(r.Kill(r.ctx, &agent.KillRequest{Container: "c", Signal: 9}))
	<-kills
	r.exit("c", "")
	r.must(r.Delete(r.ctx, &agent.ProcessRequest{Container: "c"}))
}

func TestCgroupPids(t *testing.T) {
	dir := t.TempDir()
	for path, text := range map[string]string{"cgroup.procs": "1\n2\n", "sub/cgroup.procs": "3\n", "sub/deep/cgroup.procs": ""} {
		p := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pids, err := cgroup(dir).pids()
	if err != nil || !slices.Equal(pids, []int{1, 2, 3}) {
		t.Errorf("%v, %v", pids, err)
	}
	if pids, err := cgroup(filepath.Join(dir, "gone")).pids(); err != nil || len(pids) != 0 {
		t.Errorf("%v, %v", pids, err)
	}
}
