// SPDX-License-Identifier: Apache-2.0

package service

import (
	"fmt"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Values of sched_setattr(2) and ioprio_set(2).
var (
	policies = map[specs.LinuxSchedulerPolicy]uint32{
		specs.SchedOther: unix.SCHED_NORMAL, specs.SchedFIFO: unix.SCHED_FIFO, specs.SchedRR: unix.SCHED_RR,
		specs.SchedBatch: unix.SCHED_BATCH, specs.SchedIdle: unix.SCHED_IDLE, specs.SchedDeadline: unix.SCHED_DEADLINE,
	}
	schedulerFlags = map[specs.LinuxSchedulerFlag]uint64{
		specs.SchedFlagResetOnFork: unix.SCHED_FLAG_RESET_ON_FORK, specs.SchedFlagReclaim: unix.SCHED_FLAG_RECLAIM,
		specs.SchedFlagDLOverrun: unix.SCHED_FLAG_DL_OVERRUN, specs.SchedFlagKeepPolicy: unix.SCHED_FLAG_KEEP_POLICY,
		specs.SchedFlagKeepParams: unix.SCHED_FLAG_KEEP_PARAMS, specs.SchedFlagUtilClampMin: unix.SCHED_FLAG_UTIL_CLAMP_MIN,
		specs.SchedFlagUtilClampMax: unix.SCHED_FLAG_UTIL_CLAMP_MAX,
	}
	ioClasses = map[specs.IOPriorityClass]int{specs.IOPRIO_CLASS_RT: 1, specs.IOPRIO_CLASS_BE: 2, specs.IOPRIO_CLASS_IDLE: 3}
)

const (
	ioprioWhoProcess = 1
	ioprioClassShift = 13
	ioprioLevels     = 8
)

// schedule gives a process the priorities of its specification, which crun does
// not know. The program that it will run keeps them.
func schedule(pid int, p *specs.Process) error {
	if p.Scheduler != nil {
		attr, err := schedulerOf(p.Scheduler)
		if err != nil {
			return err
		}
		if err := unix.SchedSetAttr(pid, attr, 0); err != nil {
			return fmt.Errorf("process.scheduler: %s: %w", p.Scheduler.Policy, err)
		}
	}
	if p.IOPriority != nil {
		value, err := ioPriorityOf(p.IOPriority)
		if err != nil {
			return err
		}
		if _, _, errno := unix.Syscall(unix.SYS_IOPRIO_SET, ioprioWhoProcess, uintptr(pid), uintptr(value)); errno != 0 {
			return fmt.Errorf("process.ioPriority: %s: %w", p.IOPriority.Class, errno)
		}
	}
	return nil
}

func schedulerOf(s *specs.Scheduler) (*unix.SchedAttr, error) {
	policy, ok := policies[s.Policy]
	if !ok {
		return nil, fmt.Errorf("process.scheduler.policy %q: %w: there is none of that name", s.Policy, errdefs.ErrInvalidArgument)
	}
	attr := &unix.SchedAttr{
		Size: unix.SizeofSchedAttr, Policy: policy, Nice: s.Nice, Priority: uint32(max(s.Priority, 0)),
		Runtime: s.Runtime, Deadline: s.Deadline, Period: s.Period,
	}
	for _, f := range s.Flags {
		bit, ok := schedulerFlags[f]
		if !ok {
			return nil, fmt.Errorf("process.scheduler.flags %q: %w: there is none of that name", f, errdefs.ErrInvalidArgument)
		}
		attr.Flags |= bit
	}
	return attr, nil
}

func ioPriorityOf(p *specs.LinuxIOPriority) (int, error) {
	class, ok := ioClasses[p.Class]
	if !ok {
		return 0, fmt.Errorf("process.ioPriority.class %q: %w: there is none of that name", p.Class, errdefs.ErrInvalidArgument)
	}
	if p.Priority < 0 || p.Priority >= ioprioLevels {
		return 0, fmt.Errorf("process.ioPriority.priority %d: %w: 0 to %d", p.Priority, errdefs.ErrInvalidArgument, ioprioLevels-1)
	}
	return class<<ioprioClassShift | p.Priority, nil
}
