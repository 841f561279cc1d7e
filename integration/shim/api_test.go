// SPDX-License-Identifier: Apache-2.0

package shim

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/cgroups/v3/cgroup2/stats"
	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/typeurl/v2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/proto"

	"github.com/paracell/paracell/integration/containerd/daemon"
	cellmetrics "github.com/paracell/paracell/protos/metrics/v1"
)

func TestTaskAPI(t *testing.T) {
	h := start(t, daemon.Options{})
	for name, test := range map[string]func(*testing.T, *harness){
		"life": testLife, "exec": testExec, "kill": testKill, "kill all": testKillAll, "pause": testPause,
		"pids": testPids, "stats": testStats, "update": testUpdate, "errors": testErrors, "created": testCreated,
		"paused exit": testPausedExit, "leftovers": testLeftovers, "state": testState,
	} {
		t.Run(name, func(t *testing.T) { test(t, h) })
	}
}

func is(t *testing.T, what string, err error, class func(error) bool) {
	t.Helper()
	// Calls without the client's task have errors of gRPC.
	if !class(err) && !class(errgrpc.ToNative(err)) {
		t.Errorf("%s: %v (%T)", what, err, err)
	}
}

func testLife(t *testing.T, h *harness) {
	task, exit := h.task(t, h.container(t, command("exit 7")), cio.NullIO)
	if task.Pid() == 0 {
		t.Error("no process")
	}
	must(t, task.Start(h.ctx))
	if code := status(t, exit); code != 7 {
		t.Errorf("status %d", code)
	}
	s, err := task.Status(h.ctx)
	if err != nil || s.Status != client.Stopped || s.ExitStatus != 7 || s.ExitTime.IsZero() {
		t.Errorf("%+v, %v", s, err)
	}
	is(t, "start again", task.Start(h.ctx), errdefs.IsFailedPrecondition)
	is(t, "kill what has ended", task.Kill(h.ctx, syscall.SIGKILL), errdefs.IsNotFound)
	is(t, "pause what has ended", task.Pause(h.ctx), errdefs.IsFailedPrecondition)
	_, err = task.Exec(h.ctx, "late", processSpec("/bin/true"), cio.NullIO)
	is(t, "exec in what has ended", err, errdefs.IsFailedPrecondition)
	// Who waits only now is told too.
	again, err := task.Wait(h.ctx)
	must(t, err)
	if code := status(t, again); code != 7 {
		t.Errorf("second wait: %d", code)
	}
	gone, err := task.Delete(h.ctx)
	if err != nil || gone.ExitCode() != 7 {
		t.Errorf("delete: %v, %v", gone, err)
	}
	_, err = task.Status(h.ctx)
	is(t, "status of what is deleted", err, errdefs.IsNotFound)
	_, err = task.Delete(h.ctx)
	is(t, "delete again", err, errdefs.IsNotFound)
}

func testExec(t *testing.T, h *harness) {
	task := h.running(t)
	for _, want := range []uint32{0, 1, 42, 255} {
		p, exit := h.exec(t, task, cio.NullIO, "/bin/sh", "-c", fmt.Sprint("exit ", want))
		if code := status(t, exit); code != want {
			t.Errorf("status %d, want %d", code, want)
		}
		gone, err := p.Delete(h.ctx)
		if err != nil || gone.ExitCode() != want {
			t.Errorf("delete: %v, %v", gone, err)
		}
	}
	if out := h.output(t, task, "/bin/sh", "-c", "echo out; echo err >&2; id -u; pwd"); !strings.Contains(out, "out\n") || !strings.Contains(out, "err\n") {
		t.Errorf("%q", out)
	}
	// The same name again.
	p, err := task.Exec(h.ctx, "twice", processSpec("/bin/true"), cio.NullIO)
	must(t, err)
	_, err = task.Exec(h.ctx, "twice", processSpec("/bin/true"), cio.NullIO)
	is(t, "exec of a name in use", err, errdefs.IsAlreadyExists)
	is(t, "kill before the start", p.Kill(h.ctx, syscall.SIGKILL), errdefs.IsFailedPrecondition)
	if s, err := p.Status(h.ctx); err != nil || s.Status != client.Created {
		t.Errorf("%+v, %v", s, err)
	}
	_, err = p.Delete(h.ctx)
	must(t, err)
	// What cannot be run.
	p, err = task.Exec(h.ctx, "absent", processSpec("/bin/no-such-program"), cio.NullIO)
	must(t, err)
	exit, err := p.Wait(h.ctx)
	must(t, err)
	if err := p.Start(h.ctx); err == nil || !strings.Contains(err.Error(), "no-such-program") {
		t.Errorf("start of nothing: %v", err)
	}
	if code := status(t, exit); code != 127 {
		t.Errorf("status %d of nothing", code)
	}
	_, err = p.Delete(h.ctx)
	must(t, err)
	// A running one is not deleted.
	p, exit = h.exec(t, task, cio.NullIO, "/bin/sleep", "1000")
	_, err = p.Delete(h.ctx)
	is(t, "delete what runs", err, errdefs.IsFailedPrecondition)
	must(t, p.Kill(h.ctx, syscall.SIGKILL))
	if code := status(t, exit); code != 137 {
		t.Errorf("status %d", code)
	}
	is(t, "kill what has ended", p.Kill(h.ctx, syscall.SIGKILL), errdefs.IsNotFound)
	_, err = p.Delete(h.ctx)
	must(t, err)
}

func testKill(t *testing.T, h *harness) {
	for signal, want := range map[syscall.Signal]uint32{syscall.SIGKILL: 137, syscall.SIGTERM: 9, syscall.SIGUSR1: 138} {
		var out buffer
		task, exit := h.task(t, h.container(t, command("trap 'exit 9' TERM; echo ready; while :; do sleep 1000 & wait; done")),
			cio.NewCreator(cio.WithStreams(nil, &out, nil), cio.WithFIFODir(h.Dir)))
		must(t, task.Start(h.ctx))
		out.await(t, "ready")
		if signal == syscall.SIGUSR1 {
			// The first process of a PID namespace does not die of it.
			must(t, task.Kill(h.ctx, signal))
			must(t, task.Kill(h.ctx, syscall.SIGKILL))
			want = 137
		} else {
			must(t, task.Kill(h.ctx, signal))
		}
		if code := status(t, exit); code != want {
			t.Errorf("%s: status %d, want %d", signal, code, want)
		}
	}
}

func testKillAll(t *testing.T, h *harness) {
	task := h.running(t)
	_, one := h.exec(t, task, cio.NullIO, "/bin/sleep", "1000")
	_, two := h.exec(t, task, cio.NullIO, "/bin/sh", "-c", "sleep 1000; true")
	exit, err := task.Wait(h.ctx)
	must(t, err)
	must(t, task.Kill(h.ctx, syscall.SIGKILL, client.WithKillAll))
	for _, c := range []<-chan client.ExitStatus{one, two, exit} {
		if code := status(t, c); code != 137 {
			t.Errorf("status %d", code)
		}
	}
}

func testPause(t *testing.T, h *harness) {
	var out buffer
	task, _ := h.task(t, h.container(t, command("while :; do echo x; sleep 0.02; done")),
		cio.NewCreator(cio.WithStreams(nil, &out, nil), cio.WithFIFODir(h.Dir)))
	is(t, "pause before the start", task.Pause(h.ctx), errdefs.IsFailedPrecondition)
	must(t, task.Start(h.ctx))
	out.await(t, "x")
	is(t, "resume what runs", task.Resume(h.ctx), errdefs.IsFailedPrecondition)
	must(t, task.Pause(h.ctx))
	is(t, "pause twice", task.Pause(h.ctx), errdefs.IsFailedPrecondition)
	if s, err := task.Status(h.ctx); err != nil || s.Status != client.Paused {
		t.Errorf("%+v, %v", s, err)
	}
	_, err := task.Exec(h.ctx, "frozen", processSpec("/bin/true"), cio.NullIO)
	is(t, "exec in what is paused", err, errdefs.IsFailedPrecondition)
	// What was on its way still comes.
	eventually(t, func() error {
		before := len(out.String())
		time.Sleep(200 * time.Millisecond)
		if n := len(out.String()) - before; n != 0 {
			return fmt.Errorf("%d bytes in 200 ms of a paused container", n)
		}
		return nil
	})
	must(t, task.Resume(h.ctx))
	if s, err := task.Status(h.ctx); err != nil || s.Status != client.Running {
		t.Errorf("%+v, %v", s, err)
	}
	before := len(out.String())
	eventually(t, func() error {
		if len(out.String()) == before {
			return fmt.Errorf("nothing is written after resume")
		}
		return nil
	})
}

// testPausedExit: KILL ends what is paused.
func testPausedExit(t *testing.T, h *harness) {
	task := h.running(t)
	exit, err := task.Wait(h.ctx)
	must(t, err)
	must(t, task.Pause(h.ctx))
	must(t, task.Kill(h.ctx, syscall.SIGKILL))
	if code := status(t, exit); code != 137 {
		t.Errorf("status %d", code)
	}
}

func testPids(t *testing.T, h *harness) {
	task := h.running(t)
	p, exit := h.exec(t, task, cio.NullIO, "/bin/sleep", "1000")
	pids, err := task.Pids(h.ctx)
	must(t, err)
	first, added := 0, 0
	for _, info := range pids {
		if info.Pid == task.Pid() {
			first++
		}
		if info.Info == nil {
			continue
		}
		v, err := typeurl.UnmarshalAny(info.Info)
		must(t, err)
		if d, ok := v.(*options.ProcessDetails); ok && d.ExecID == p.ID() {
			added++
		}
	}
	if first != 1 || added != 1 {
		t.Errorf("%d times the first process, %d times the added one in %+v", first, added, pids)
	}
	must(t, p.Kill(h.ctx, syscall.SIGKILL))
	status(t, exit)
}

func testStats(t *testing.T, h *harness) {
	task := h.running(t, oci.WithMemoryLimit(64<<20))
	m, err := task.Metrics(h.ctx)
	must(t, err)
	v, err := typeurl.UnmarshalAny(m.Data)
	must(t, err)
	s, ok := v.(*stats.Metrics)
	if !ok {
		t.Fatalf("metrics are %T", v)
	}
	if s.Memory.UsageLimit != 64<<20 || s.Memory.Usage == 0 || s.CPU.UsageUsec == 0 || s.Pids.Current == 0 {
		t.Errorf("%v", s)
	}
	var more cellmetrics.Metrics
	must(t, proto.Unmarshal(m.Data.GetValue(), &more))
	if c := more.Cell; c == nil || c.Bound < 16<<20 || c.Bound > c.Limit && c.Limit != 0 || c.Faults == 0 || c.GateCalls+c.RawCalls == 0 {
		t.Errorf("figures of the cell: %v", c)
	}
	out, errOut, err := h.CTR(t, "", "task", "metrics", task.ID())
	if err != nil || !strings.Contains(out, "memory.usage_in_bytes") && !strings.Contains(out, "memory.usage") {
		t.Errorf("ctr task metrics: %v\n%s%s", err, out, errOut)
	}
}

func testUpdate(t *testing.T, h *harness) {
	task := h.running(t, oci.WithMemoryLimit(64<<20), oci.WithAnnotations(map[string]string{"io.paracell.pager": "page"}))
	before := boundLimit(t, h, task)
	limit, pids := int64(48<<20), int64(33)
	must(t, task.Update(h.ctx, client.WithResources(&specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: &limit}, Pids: &specs.LinuxPids{Limit: &pids},
	})))
	m, err := task.Metrics(h.ctx)
	must(t, err)
	v, err := typeurl.UnmarshalAny(m.Data)
	must(t, err)
	if s := v.(*stats.Metrics); s.Memory.UsageLimit != uint64(limit) || s.Pids.Limit != uint64(pids) {
		t.Errorf("memory %d, processes %d", s.Memory.UsageLimit, s.Pids.Limit)
	}
	// What the cell may have bound goes with it, and what the guest's tables take.
	if after := boundLimit(t, h, task); before == 0 || before-after < 16<<20 || before-after > 17<<20 {
		t.Errorf("%d KiB may be bound, and were before: %d KiB", after>>10, before>>10)
	}
}

// boundLimit is what the cell of a task may have bound, in bytes.
func boundLimit(t *testing.T, h *harness, task client.Task) uint64 {
	t.Helper()
	m, err := task.Metrics(h.ctx)
	must(t, err)
	var more cellmetrics.Metrics
	must(t, proto.Unmarshal(m.Data.GetValue(), &more))
	return more.Cell.GetLimit()
}

func testErrors(t *testing.T, h *harness) {
	task := h.running(t)
	raw := h.Client(t).TaskService()
	for what, call := range map[string]func(string, string) error{
		"state": func(id, exec string) error {
			_, err := raw.Get(h.ctx, &tasks.GetRequest{ContainerID: id, ExecID: exec})
			return err
		},
		"start": func(id, exec string) error {
			_, err := raw.Start(h.ctx, &tasks.StartRequest{ContainerID: id, ExecID: exec})
			return err
		},
		"kill": func(id, exec string) error {
			_, err := raw.Kill(h.ctx, &tasks.KillRequest{ContainerID: id, ExecID: exec, Signal: 9})
			return err
		},
		"wait": func(id, exec string) error {
			_, err := raw.Wait(h.ctx, &tasks.WaitRequest{ContainerID: id, ExecID: exec})
			return err
		},
		"resize": func(id, exec string) error {
			_, err := raw.ResizePty(h.ctx, &tasks.ResizePtyRequest{ContainerID: id, ExecID: exec})
			return err
		},
		"closeio": func(id, exec string) error {
			_, err := raw.CloseIO(h.ctx, &tasks.CloseIORequest{ContainerID: id, ExecID: exec, Stdin: true})
			return err
		},
		"delete": func(id, exec string) error {
			_, err := raw.DeleteProcess(h.ctx, &tasks.DeleteProcessRequest{ContainerID: id, ExecID: exec})
			return err
		},
	} {
		is(t, what+" of no process", call(task.ID(), "nobody"), errdefs.IsNotFound)
		is(t, what+" of no container", call("nothing", "nobody"), errdefs.IsNotFound)
	}
	is(t, "resize without a terminal", task.Resize(h.ctx, 80, 24), errdefs.IsFailedPrecondition)
	is(t, "a signal that is none", task.Kill(h.ctx, 99), errdefs.IsInvalidArgument)
	_, err := task.Checkpoint(h.ctx)
	if err == nil || !strings.Contains(err.Error(), "cannot be checkpointed") {
		t.Errorf("checkpoint: %v", err)
	}
	is(t, "checkpoint", err, errdefs.IsNotImplemented)
	c, err := h.Client(t).LoadContainer(h.ctx, task.ID())
	must(t, err)
	_, err = c.NewTask(h.ctx, cio.NullIO)
	is(t, "a second task", err, errdefs.IsAlreadyExists)
}

// testCreated: what is killed before it is started ends too.
func testCreated(t *testing.T, h *harness) {
	task, exit := h.task(t, h.container(t, command(forever)), cio.NullIO)
	if s, err := task.Status(h.ctx); err != nil || s.Status != client.Created {
		t.Errorf("%+v, %v", s, err)
	}
	must(t, task.Kill(h.ctx, syscall.SIGKILL))
	if code := status(t, exit); code != 137 {
		t.Errorf("status %d", code)
	}
	_, err := task.Delete(h.ctx)
	must(t, err)
	// And a command that cannot be run.
	c := h.container(t, oci.WithProcessArgs("/bin/no-such-program"))
	task, err = c.NewTask(h.ctx, cio.NullIO)
	if err == nil {
		err = task.Start(h.ctx)
		_, _ = task.Delete(context.WithoutCancel(h.ctx), client.WithProcessKill)
	}
	if err == nil || !strings.Contains(err.Error(), "no-such-program") {
		t.Errorf("a command that does not exist: %v", err)
	}
}

// testLeftovers: what the first process leaves behind ends with it, also when
// it shares the cell's process numbers.
func testLeftovers(t *testing.T, h *harness) {
	task, exit := h.task(t, h.container(t, command("sleep 1000 & exit 3"), oci.WithHostNamespace(specs.PIDNamespace)), cio.NullIO)
	must(t, task.Start(h.ctx))
	if code := status(t, exit); code != 3 {
		t.Errorf("status %d", code)
	}
	eventually(t, func() error {
		pids, err := task.Pids(h.ctx)
		if err == nil && len(pids) != 0 {
			err = fmt.Errorf("still there: %v", pids)
		}
		return err
	})
}

func testState(t *testing.T, h *harness) {
	task := h.running(t)
	p := h.added(t, task, cio.NullIO, "/bin/true")
	raw := h.Client(t).TaskService()
	r, err := raw.Get(h.ctx, &tasks.GetRequest{ContainerID: task.ID()})
	must(t, err)
	if r.Process.Pid != task.Pid() || r.Process.ID != task.ID() {
		t.Errorf("%v", r.Process)
	}
	r, err = raw.Get(h.ctx, &tasks.GetRequest{ContainerID: task.ID(), ExecID: p.ID()})
	must(t, err)
	if r.Process.ID != p.ID() {
		t.Errorf("%v", r.Process)
	}
	_, err = p.Delete(h.ctx)
	must(t, err)
}
