// SPDX-License-Identifier: Apache-2.0

package task

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	sandboxapi "github.com/containerd/containerd/api/runtime/sandbox/v1"
	api "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/paracell/paracell/internal/leakcheck"
	"github.com/paracell/paracell/shim/record"
)

func TestMain(m *testing.M) { leakcheck.Main(m) }

func anyOf(b []byte) *anypb.Any { return &anypb.Any{TypeUrl: "x", Value: b} }

var bg = context.Background()

func TestLife(t *testing.T) {
	r := newRig(t)
	p := r.made("c")
	if s, err := r.State(bg, &api.StateRequest{ID: "c"}); err != nil || s.Status != task.Status_CREATED || s.Pid != 4711 {
		t.Errorf("%v, %v", s, err)
	}
	r.run("c", "")
	e := r.added("c", "e")
	r.run("c", "e")
	e.exit(5)
	if code := r.waited("c", "e"); code != 5 {
		t.Errorf("status %d", code)
	}
	if _, err := r.Delete(bg, &api.DeleteRequest{ID: "c", ExecID: "e"}); err != nil {
		t.Error(err)
	}
	if _, err := r.Pause(bg, &api.PauseRequest{ID: "c"}); err != nil {
		t.Error(err)
	}
	_, err := r.Exec(bg, &api.ExecProcessRequest{ID: "c", ExecID: "x", Spec: anyOf([]byte(`{"args":["true"],"cwd":"/"}`))})
	r.class("exec while paused", err, errdefs.IsFailedPrecondition)
	if _, err := r.Resume(bg, &api.ResumeRequest{ID: "c"}); err != nil {
		t.Error(err)
	}
	p.exit(3)
	if code := r.waited("c", ""); code != 3 {
		t.Errorf("status %d", code)
	}
	bundle := r.containers["c"].bundle
	if rec, err := record.Read(bundle); err != nil || rec.Exit == nil || rec.Exit.Status != 3 || rec.Task != 4711 {
		t.Errorf("record %+v, %v", rec, err)
	}
	d, err := r.Delete(bg, &api.DeleteRequest{ID: "c"})
	if err != nil || d.ExitStatus != 3 || d.ExitedAt == nil {
		t.Errorf("%v, %v", d, err)
	}
	if _, err := record.Read(bundle); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the record of a deleted container: %v", err)
	}
	r.await("/tasks/create", "/tasks/start", "/tasks/exec-added", "/tasks/exec-started", "/tasks/exit e 5",
		"/tasks/paused", "/tasks/resumed", "/tasks/exit c 3", "/tasks/delete")
	if r.boots != 1 || !slices.Equal(r.box.shared, r.box.removed) {
		t.Errorf("%d boots, %q and %q", r.boots, r.box.shared, r.box.removed)
	}
}

// TestExitBeforeStartReturns: the events of a process that ends at once are in
// order, and its status is not lost.
func TestExitBeforeStartReturns(t *testing.T) {
	r := newRig(t)
	r.made("c")
	r.run("c", "")
	r.box.mu.Lock()
	r.box.onStart = func(p *fakeProcess) error {
		p.exit(7)
		return nil
	}
	r.box.mu.Unlock()
	const n = 500
	var all sync.WaitGroup
	for i := range n {
		name := fmt.Sprint("e", i)
		r.added("c", name)
		all.Go(func() {
			if _, err := r.Start(bg, &api.StartRequest{ID: "c", ExecID: name}); err != nil {
				t.Error(err)
			}
			if w, err := r.Wait(bg, &api.WaitRequest{ID: "c", ExecID: name}); err != nil || w.ExitStatus != 7 {
				t.Errorf("%v, %v", w, err)
			}
		})
	}
	all.Wait()
	r.stop.Shutdown()
	<-r.stop.Done()
	exits, started := 0, 0
	for _, e := range r.events.seen() {
		switch {
		case strings.HasPrefix(e, "/tasks/exec-started"):
			started++
		case strings.HasPrefix(e, "/tasks/exit e"):
			if exits++; exits > started {
				t.Fatal("an exit before its start")
			}
		}
	}
	if exits != n || started != n {
		t.Errorf("%d starts, %d exits", started, exits)
	}
}

// TestFirstLast: the exit of the first process waits for a process that is just
// being started.
func TestFirstLast(t *testing.T) {
	r := newRig(t)
	p := r.made("c")
	r.run("c", "")
	e := r.added("c", "e")
	late := r.added("c", "late")
	begun, goOn := make(chan struct{}), make(chan struct{})
	r.box.mu.Lock()
	r.box.onStart = func(*fakeProcess) error {
		close(begun)
		<-goOn
		return nil
	}
	r.box.mu.Unlock()
	done := make(chan error)
	go func() {
		_, err := r.Start(bg, &api.StartRequest{ID: "c", ExecID: "e"})
		done <- err
	}()
	<-begun
	p.exit(1)
	for end := time.Now().Add(patience); !r.containers["c"].isEnding(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the end is not noticed")
		}
	}
	_, err := r.Start(bg, &api.StartRequest{ID: "c", ExecID: "late"})
	r.class("start after the end", err, errdefs.IsFailedPrecondition)
	close(goOn)
	if err := <-done; err != nil {
		t.Error(err)
	}
	e.exit(2)
	late.exit(0)
	r.waited("c", "")
	r.await("/tasks/create", "/tasks/start", "/tasks/exec-added", "/tasks/exec-added", "/tasks/exec-started", "/tasks/exit e 2", "/tasks/exit c 1")
}

func TestCellEnds(t *testing.T) {
	r := newRig(t)
	r.made("c")
	r.run("c", "")
	r.added("c", "e")
	r.run("c", "e")
	r.box.Close()
	if code := r.waited("c", ""); code != 137 {
		t.Errorf("status %d", code)
	}
	_, err := r.Kill(bg, &api.KillRequest{ID: "c", Signal: 9})
	r.class("kill", err, errdefs.IsNotFound)
	_, err = r.Pids(bg, &api.PidsRequest{ID: "nothing"})
	r.class("pids", err, errdefs.IsNotFound)
	_, err = r.Start(bg, &api.StartRequest{ID: "c"})
	r.class("start", err, errdefs.IsFailedPrecondition)
	if d, err := r.Delete(bg, &api.DeleteRequest{ID: "c"}); err != nil || d.ExitStatus != 137 {
		t.Errorf("%v, %v", d, err)
	}
	r.await("/tasks/create", "/tasks/start", "/tasks/exec-added", "/tasks/exec-started", "/tasks/exit e 137", "/tasks/exit c 137", "/tasks/delete")
}

func TestCreateFails(t *testing.T) {
	r := newRig(t)
	r.box.failCreate = errors.New("crun says no")
	dir := r.bundle()
	_, err := r.Create(bg, &api.CreateTaskRequest{ID: "c", Bundle: dir})
	if err == nil || !strings.Contains(err.Error(), "crun says no") {
		t.Error(err)
	}
	if _, err := record.Read(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("record: %v", err)
	}
	if !slices.Equal(r.box.removed, []string{"c"}) {
		t.Errorf("removed %q", r.box.removed)
	}
	if _, err := r.Create(bg, &api.CreateTaskRequest{ID: "c", Bundle: filepath.Join(dir, "none")}); err == nil {
		t.Error("a bundle that does not exist")
	}
	r.box.failCreate = nil
	r.made("c") // the name is free
	_, err = r.Create(bg, &api.CreateTaskRequest{ID: "c", Bundle: dir})
	r.class("the same name", err, errdefs.IsAlreadyExists)
	_, err = r.Create(bg, &api.CreateTaskRequest{ID: "d", Bundle: dir, Checkpoint: "x"})
	r.class("from a checkpoint", err, errdefs.IsNotImplemented)
}

// TestErrorsOfTheGuest: what a guest says arrives as harmless text.
func TestErrorsOfTheGuest(t *testing.T) {
	r := newRig(t)
	r.box.failCreate = errors.New("first\nsecond \x1b[2J\u202e\xff " + strings.Repeat("long ", 1<<16))
	_, err := r.Create(bg, &api.CreateTaskRequest{ID: "c", Bundle: r.bundle()})
	if err == nil {
		t.Fatal("no error")
	}
	text := err.Error()
	if !strings.Contains(text, "first; second ?[2J?\ufffd long") || len(text) > 2*maxError {
		t.Errorf("%d bytes: %.200q", len(text), text)
	}
}

func TestStartFails(t *testing.T) {
	r := newRig(t)
	r.made("c")
	r.run("c", "")
	r.added("c", "e")
	r.box.mu.Lock()
	r.box.onStart = func(*fakeProcess) error { return errors.New("no such program") }
	r.box.mu.Unlock()
	if _, err := r.Start(bg, &api.StartRequest{ID: "c", ExecID: "e"}); err == nil || !strings.Contains(err.Error(), "no such program") {
		t.Error(err)
	}
	if code := r.waited("c", "e"); code != notStartedStatus {
		t.Errorf("status %d", code)
	}
	if _, err := r.Delete(bg, &api.DeleteRequest{ID: "c", ExecID: "e"}); err != nil {
		t.Error(err)
	}
	r.await("/tasks/create", "/tasks/start", "/tasks/exec-added")
}

func TestErrors(t *testing.T) {
	r := newRig(t)
	r.made("c")
	r.added("c", "e")
	for what, call := range map[string]func(id, exec string) error{
		"state": func(id, exec string) error {
			_, err := r.State(bg, &api.StateRequest{ID: id, ExecID: exec})
			return err
		},
		"start": func(id, exec string) error {
			_, err := r.Start(bg, &api.StartRequest{ID: id, ExecID: exec})
			return err
		},
		"delete": func(id, exec string) error {
			_, err := r.Delete(bg, &api.DeleteRequest{ID: id, ExecID: exec})
			return err
		},
		"kill": func(id, exec string) error { _, err := r.Kill(bg, &api.KillRequest{ID: id, ExecID: exec}); return err },
		"wait": func(id, exec string) error { _, err := r.Wait(bg, &api.WaitRequest{ID: id, ExecID: exec}); return err },
		"resize": func(id, exec string) error {
			_, err := r.ResizePty(bg, &api.ResizePtyRequest{ID: id, ExecID: exec})
			return err
		},
		"close": func(id, exec string) error {
			_, err := r.CloseIO(bg, &api.CloseIORequest{ID: id, ExecID: exec})
			return err
		},
	} {
		r.class(what+" of no container", call("none", ""), errdefs.IsNotFound)
		r.class(what+" of no process", call("c", "none"), errdefs.IsNotFound)
	}
	_, err := r.Kill(bg, &api.KillRequest{ID: "c", ExecID: "e", Signal: 9})
	r.class("kill before the start", err, errdefs.IsFailedPrecondition)
	_, err = r.Kill(bg, &api.KillRequest{ID: "c", Signal: 65})
	r.class("signal 65", err, errdefs.IsInvalidArgument)
	_, err = r.Pause(bg, &api.PauseRequest{ID: "c"})
	r.class("pause before the start", err, errdefs.IsFailedPrecondition)
	_, err = r.ResizePty(bg, &api.ResizePtyRequest{ID: "c"})
	r.class("no terminal", err, errdefs.IsFailedPrecondition)
	_, err = r.Update(bg, &api.UpdateTaskRequest{ID: "c"})
	r.class("update of nothing", err, errdefs.IsInvalidArgument)
	_, err = r.Exec(bg, &api.ExecProcessRequest{ID: "c", ExecID: "e", Spec: anyOf([]byte(`{"args":["true"],"cwd":"/"}`))})
	r.class("a name in use", err, errdefs.IsAlreadyExists)
	_, err = r.Exec(bg, &api.ExecProcessRequest{ID: "c", ExecID: "f", Spec: anyOf([]byte("{"))})
	r.class("no process", err, errdefs.IsInvalidArgument)
	_, err = r.Checkpoint(bg, &api.CheckpointTaskRequest{ID: "c"})
	r.class("checkpoint", err, errdefs.IsNotImplemented)
	_, err = r.Stats(bg, &api.StatsRequest{ID: "c"})
	r.class("no control group", err, errdefs.IsNotFound)
	r.run("c", "")
	_, err = r.Delete(bg, &api.DeleteRequest{ID: "c"})
	r.class("delete while running", err, errdefs.IsFailedPrecondition)
}

// TestDeleteCreated: what was never started goes with exit and delete, in this
// order.
func TestDeleteCreated(t *testing.T) {
	r := newRig(t)
	r.made("c")
	r.added("c", "e")
	if _, err := r.Delete(bg, &api.DeleteRequest{ID: "c", ExecID: "e"}); err != nil {
		t.Error(err)
	}
	if _, err := r.Delete(bg, &api.DeleteRequest{ID: "c"}); err != nil {
		t.Error(err)
	}
	r.await("/tasks/create", "/tasks/exec-added", "/tasks/exit c 137", "/tasks/delete")
}

func TestPids(t *testing.T) {
	r := newRig(t)
	r.made("c")
	p, err := r.Pids(bg, &api.PidsRequest{ID: "c"})
	if err != nil || len(p.Processes) != 3 {
		t.Fatalf("%v, %v", p, err)
	}
	if p.Processes[0].Pid != 4711 || p.Processes[1].Pid != guestPids+3 || p.Processes[1].Info == nil || p.Processes[2].Pid < guestPids {
		t.Errorf("%v", p)
	}
}

func TestShutdown(t *testing.T) {
	r := newRig(t)
	p := r.made("c")
	if _, err := r.Shutdown(bg, &api.ShutdownRequest{}); err != nil {
		t.Error(err)
	}
	select {
	case <-r.stop.Done():
		t.Fatal("ended with a container")
	default:
	}
	p.exit(0)
	r.waited("c", "")
	if _, err := r.Delete(bg, &api.DeleteRequest{ID: "c"}); err != nil {
		t.Error(err)
	}
	if _, err := r.Shutdown(bg, &api.ShutdownRequest{}); err != nil {
		t.Error(err)
	}
	<-r.stop.Done()
	select {
	case <-r.box.ended:
	default:
		t.Error("the cell lives on")
	}
	r.await("/tasks/create", "/tasks/exit c 0", "/tasks/delete")
}

// TestDeleteTwiceAtOnce: what comes with the end of a container comes once.
func TestDeleteTwiceAtOnce(t *testing.T) {
	r := newRig(t)
	p := r.made("c")
	p.exit(0)
	r.waited("c", "")
	errs := make(chan error, 2)
	for range cap(errs) {
		go func() {
			_, err := r.Delete(bg, &api.DeleteRequest{ID: "c"})
			errs <- err
		}()
	}
	first, second := <-errs, <-errs
	if first != nil {
		first, second = second, first
	}
	if first != nil {
		t.Error(first)
	}
	r.class("the second", second, errdefs.IsNotFound)
	r.await("/tasks/create", "/tasks/exit c 0", "/tasks/delete")
}

// TestShutdownWhileCreating: who has deleted one container of a group does not
// end another that is being created; who gives that one up does.
func TestShutdownWhileCreating(t *testing.T) {
	r := newRig(t)
	begun, goOn := make(chan struct{}), make(chan struct{})
	r.box.onCreate = func() {
		close(begun)
		<-goOn
	}
	done := make(chan error)
	go func() {
		_, err := r.Create(bg, &api.CreateTaskRequest{ID: "b", Bundle: r.bundle()})
		done <- err
	}()
	<-begun
	if _, err := r.Shutdown(bg, &api.ShutdownRequest{ID: "a"}); err != nil {
		t.Error(err)
	}
	select {
	case <-r.stop.Done():
		t.Error("the end of one container has ended another")
	case <-time.After(10 * time.Millisecond):
	}
	if _, err := r.Shutdown(bg, &api.ShutdownRequest{ID: "b"}); err != nil {
		t.Error(err)
	}
	<-r.stop.Done()
	close(goOn)
	<-done
}

// TestKillAlwaysWorks: also when the guest does not answer, or answers and does
// nothing.
func TestKillAlwaysWorks(t *testing.T) {
	for what, onKill := range map[string]func(context.Context) error{
		"no answer": func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		},
		"no end": func(context.Context) error { return nil },
	} {
		t.Run(what, func(t *testing.T) {
			r := newRig(t)
			r.killAnswer, r.killEnd = 20*time.Millisecond, 40*time.Millisecond
			r.made("c")
			r.run("c", "")
			r.box.mu.Lock()
			r.box.onKill = onKill
			r.box.mu.Unlock()
			for range 2 {
				if _, err := r.Kill(bg, &api.KillRequest{ID: "c", Signal: 9}); err != nil && !errdefs.IsNotFound(errgrpc.ToNative(err)) {
					t.Error(err)
				}
			}
			if code := r.waited("c", ""); code != 137 {
				t.Errorf("status %d", code)
			}
			r.await("/tasks/create", "/tasks/start", "/tasks/exit c 137")
		})
	}
}

// TestKillWaitsForFiles: a container that is killed while its cell writes files
// back keeps the cell until that is done, but not for ever.
func TestKillWaitsForFiles(t *testing.T) {
	for writing, want := range map[int]int{3: 5, 1000: maxInsist + 1} {
		r := newRig(t)
		r.killEnd = 5 * time.Millisecond
		r.box.onKill = func(context.Context) error { return nil }
		looks := 0
		r.written = func() uint64 {
			looks++
			return uint64(min(looks, writing+1)) * writingBack
		}
		r.made("c")
		r.run("c", "")
		if _, err := r.Kill(bg, &api.KillRequest{ID: "c", Signal: 9}); err != nil {
			t.Error(err)
		}
		if code := r.waited("c", ""); code != 137 || looks != want {
			t.Errorf("status %d after %d looks, want %d", code, looks, want)
		}
	}
}

func TestWritten(t *testing.T) {
	before := written()
	if err := os.WriteFile(filepath.Join(t.TempDir(), "f"), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if now := written(); now < before+1<<20 {
		t.Errorf("%d bytes, and after another MiB %d", before, now)
	}
}

// TestDeleteAlwaysWorks: also when the guest does not answer. A container that
// still runs beside it keeps the cell.
func TestDeleteAlwaysWorks(t *testing.T) {
	r := newRig(t)
	r.killEnd = 20 * time.Millisecond
	p := r.made("c")
	beside := r.made("d")
	r.box.onDelete = func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}
	r.run("c", "")
	r.run("d", "")
	p.exit(3)
	r.waited("c", "")
	if _, err := r.Delete(bg, &api.DeleteRequest{ID: "c"}); !errdefs.IsDeadlineExceeded(errgrpc.ToNative(err)) {
		t.Errorf("deleted beside one that runs: %v", err)
	}
	beside.exit(0)
	r.waited("d", "")
	if d, err := r.Delete(bg, &api.DeleteRequest{ID: "c"}); err != nil || d.ExitStatus != 3 {
		t.Errorf("%v, %v", d, err)
	}
	if r.containers["c"] != nil {
		t.Error("the container is still there")
	}
}

// TestKillsOfAPod: the cell ends when all containers have got KILL and do not
// end, but not when one of them has not, and another KILL is as good as the first.
func TestKillsOfAPod(t *testing.T) {
	r := newRig(t)
	r.killEnd = 20 * time.Millisecond
	r.box.onKill = func(context.Context) error { return nil }
	for _, id := range []string{"pause", "a", "b"} {
		r.made(id)
		r.run(id, "")
	}
	r.containers["pause"].spec.Annotations = map[string]string{"io.kubernetes.cri.container-type": "sandbox"}
	kill := func(id string) {
		t.Helper()
		if _, err := r.Kill(bg, &api.KillRequest{ID: id, Signal: 9}); err != nil {
			t.Error(err)
		}
	}
	kill("a")
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if p := r.containers["a"].first; p.killed.Load() && !p.insisted.Load() {
			break // it has been given up
		}
		if time.Now().After(end) {
			t.Fatal("KILL is insisted on for ever")
		}
	}
	select {
	case <-r.box.ended:
		t.Fatal("the cell has ended with a container in it that nobody has killed")
	default:
	}
	kill("b")
	for _, id := range []string{"a", "b", "pause"} {
		if code := r.waited(id, ""); code != 137 {
			t.Errorf("%s: status %d", id, code)
		}
	}
}

// TestExecOfAClientThatGoes: what the guest has been told of, the shim knows.
func TestExecOfAClientThatGoes(t *testing.T) {
	r := newRig(t)
	r.made("c")
	r.run("c", "")
	ctx, cancel := context.WithCancel(bg)
	r.box.onExec = cancel
	if _, err := r.Exec(ctx, &api.ExecProcessRequest{ID: "c", ExecID: "e", Spec: anyOf([]byte(`{"args":["true"],"cwd":"/"}`))}); err != nil {
		t.Error(err)
	}
	r.run("c", "e")
}

// TestOOMFlood: a guest that says all the time that it has killed something
// does not flood containerd.
func TestOOMFlood(t *testing.T) {
	r := newRig(t)
	r.oomInterval = time.Hour
	r.box.floods = true
	p := r.made("c")
	r.await("/tasks/create", "/tasks/oom")
	p.exit(0)
	r.waited("c", "")
	r.await("/tasks/create", "/tasks/oom", "/tasks/exit c 0")
}

// TestSandboxThatDoesNotStart: it can be asked about and shut down all the same.
func TestSandboxThatDoesNotStart(t *testing.T) {
	r := newRig(t)
	held, goOn := make(chan struct{}), make(chan struct{})
	r.box.onHold = func() {
		close(held)
		<-goOn
	}
	if _, err := r.pod.CreateSandbox(bg, &sandboxapi.CreateSandboxRequest{SandboxID: "p", BundlePath: r.bundle()}); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		_, err := r.pod.StartSandbox(bg, &sandboxapi.StartSandboxRequest{SandboxID: "p"})
		done <- err
	}()
	<-held
	if s, err := r.pod.SandboxStatus(bg, &sandboxapi.SandboxStatusRequest{SandboxID: "p"}); err != nil || s.State != "SANDBOX_NOTREADY" {
		t.Errorf("%v, %v", s, err)
	}
	if _, err := r.pod.StopSandbox(bg, &sandboxapi.StopSandboxRequest{SandboxID: "p"}); err != nil {
		t.Error(err)
	}
	close(goOn)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestPodStays: a cell that is a sandbox by itself outlives its containers.
func TestPodStays(t *testing.T) {
	r := newRig(t)
	if _, err := r.pod.CreateSandbox(bg, &sandboxapi.CreateSandboxRequest{SandboxID: "p", BundlePath: r.bundle()}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.pod.StartSandbox(bg, &sandboxapi.StartSandboxRequest{SandboxID: "p"}); err != nil {
		t.Fatal(err)
	}
	p := r.made("c")
	p.exit(0)
	r.waited("c", "")
	if _, err := r.Delete(bg, &api.DeleteRequest{ID: "c"}); err != nil {
		t.Error(err)
	}
	if _, err := r.Shutdown(bg, &api.ShutdownRequest{ID: "c"}); err != nil {
		t.Error(err)
	}
	select {
	case <-r.stop.Done():
		t.Fatal("the sandbox ended with its container")
	default:
	}
	r.made("d")
	if _, err := r.pod.StopSandbox(bg, &sandboxapi.StopSandboxRequest{SandboxID: "p"}); err != nil {
		t.Error(err)
	}
	if _, err := r.pod.WaitSandbox(bg, &sandboxapi.WaitSandboxRequest{SandboxID: "p"}); err != nil {
		t.Error(err)
	}
	if code := r.waited("d", ""); code != 137 {
		t.Errorf("status %d", code)
	}
}
