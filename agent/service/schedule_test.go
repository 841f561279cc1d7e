// SPDX-License-Identifier: Apache-2.0

package service

import (
	"os/exec"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestSchedule(t *testing.T) {
	cmd := exec.Command("sleep", "100")
	if err := cmd.Start(); err != nil {
		t.Skip(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	pid := cmd.Process.Pid
	p := &specs.Process{
		Scheduler:  &specs.Scheduler{Policy: specs.SchedBatch, Nice: 5},
		IOPriority: &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_BE, Priority: 7},
	}
	if err := schedule(pid, p); err != nil {
		t.Fatal(err)
	}
	attr, err := unix.SchedGetAttr(pid, 0)
	if err != nil || attr.Policy != unix.SCHED_BATCH || attr.Nice != 5 {
		t.Errorf("%+v, %v", attr, err)
	}
	io, _, errno := unix.Syscall(unix.SYS_IOPRIO_GET, ioprioWhoProcess, uintptr(pid), 0)
	if errno != 0 || io != 2<<ioprioClassShift|7 {
		t.Errorf("%#x, %v", io, errno)
	}
	for _, bad := range []*specs.Process{
		{Scheduler: &specs.Scheduler{Policy: "SCHED_BEST"}},
		{Scheduler: &specs.Scheduler{Policy: specs.SchedOther, Flags: []specs.LinuxSchedulerFlag{"x"}}},
		{IOPriority: &specs.LinuxIOPriority{Class: "x"}},
		{IOPriority: &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_BE, Priority: 8}},
	} {
		if err := schedule(pid, bad); err == nil {
			t.Errorf("%+v is no error", bad)
		}
	}
}
