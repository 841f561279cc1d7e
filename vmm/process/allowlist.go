// SPDX-License-Identifier: Apache-2.0

package process

import (
	"golang.org/x/sys/unix"

	"github.com/paracell/paracell/xgate/abi"
)

// rule allows one host call. The filter traps everything that no rule allows;
// the monitor then ends the cell with abi.ReasonDenied.
type rule struct {
	nr   uint32
	name string
	// when lists alternatives; the call is allowed if all tests of one of
	// them pass. No alternatives: allowed with any arguments.
	when [][]argTest
	// args says the same in words, why says what the cell needs it for. Both
	// are columns of the table in docs/jail.md.
	args, why string
}

// File descriptors of a cell's processes.
const (
	fdMemory  = 3
	fdConsole = 4
	fdNotify  = 5
	fdFilter  = 6
	fdStatus  = 7
)

// Values that x/sys/unix has no names for.
const (
	futexOpWait       = 0
	futexOpWake       = 1
	futexOpWaitBitset = 9
	timerAbstime      = 1
)

func alternatives(a ...[]argTest) [][]argTest { return a }
func all(t ...argTest) []argTest              { return t }

// inCell: an address in one of the areas that a cell maps, none of which holds
// the monitor. Its text and data lie behind, at abi.MonitorBase.
func inCell(arg int) argTest { return inRange(arg, abi.UserMin, abi.MonitorBase) }

// within: a length that cannot reach from any area into the monitor and over
// it. The areas are further apart than this.
func within(arg int) argTest { return inRange(arg, 1, abi.WindowEnd) }

// allowList is every host call that a cell may make once the jail is closed.
// The most frequent ones come first: the filter looks at one after the other.
var allowList = []rule{
	{
		nr: unix.SYS_FUTEX, name: "futex",
		when: alternatives(all(oneOf(1, futexOpWait, futexOpWake, futexOpWaitBitset))),
		args: "FUTEX_WAIT, FUTEX_WAKE or FUTEX_WAIT_BITSET, shared",
		why:  "hand the vCPU over between processes, sleep when idle",
	},
	{
		nr: unix.SYS_MMAP, name: "mmap",
		when: alternatives(all(
			inCell(0), within(1),
			onlyBits(2, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC),
			oneOf(3, unix.MAP_SHARED|unix.MAP_FIXED, unix.MAP_SHARED|unix.MAP_FIXED|unix.MAP_POPULATE),
			oneOf(4, fdMemory))),
		args: "guest memory only (fd 3), MAP_SHARED|MAP_FIXED with or without MAP_POPULATE, inside the cell's areas",
		why:  "page tables of the guest become mappings of guest memory",
	},
	{
		nr: unix.SYS_MUNMAP, name: "munmap",
		when: alternatives(all(inCell(0), within(1))),
		args: "inside the cell's areas",
		why:  "the guest unmaps",
	},
	{
		nr: unix.SYS_MPROTECT, name: "mprotect",
		when: alternatives(all(inCell(0), within(1), onlyBits(2, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC))),
		args: "inside the cell's areas, PROT_READ, PROT_WRITE, PROT_EXEC",
		why:  "the guest changes protection",
	},
	{
		nr: unix.SYS_PKEY_MPROTECT, name: "pkey_mprotect",
		when: alternatives(all(inCell(0), within(1), onlyBits(2, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC),
			oneOf(3, abi.KeyUser, abi.KeyKernel))),
		args: "inside the cell's areas, keys 0 and K",
		why:  "mappings of the kernel's areas get the kernel's key",
	},
	{
		nr: unix.SYS_TIMER_SETTIME, name: "timer_settime",
		when: alternatives(all(oneOf(1, 0, timerAbstime))),
		args: "relative or TIMER_ABSTIME",
		why:  "the guest's timer interrupt",
	},
	{
		nr: unix.SYS_WRITE, name: "write",
		when: alternatives(all(oneOf(0, fdConsole, fdNotify))),
		args: "console pipe (fd 4) and notification (fd 5)",
		why:  "console output, notify the host side of queue work",
	},
	{
		nr: unix.SYS_TGKILL, name: "tgkill",
		args: "any: only processes of the cell exist in its PID namespace",
		why:  "interrupt the process that runs a vCPU",
	},
	{
		nr: unix.SYS_CLONE, name: "clone",
		when: alternatives(all(oneOf(0, uint64(unix.SIGCHLD), unix.CLONE_PARENT|uint64(unix.SIGCHLD)))),
		args: "SIGCHLD as the only flag, or with CLONE_PARENT: a new process, no namespaces, nothing shared",
		why:  "one host process per guest address space",
	},
	{
		nr: unix.SYS_WAIT4, name: "wait4",
		args: "any: there are only the cell's own children",
		why:  "the warden notices when a process of the cell dies",
	},
	{
		nr: unix.SYS_PRCTL, name: "prctl",
		when: alternatives(
			all(oneOf(0, unix.PR_SET_SYSCALL_USER_DISPATCH)),
			all(oneOf(0, unix.PR_SET_PDEATHSIG), oneOf(1, uint64(unix.SIGKILL)))),
		args: "PR_SET_SYSCALL_USER_DISPATCH; PR_SET_PDEATHSIG with SIGKILL",
		why:  "catch system-call instructions of the guest's user; die with the warden",
	},
	{
		nr: unix.SYS_TIMER_CREATE, name: "timer_create",
		when: alternatives(all(oneOf(0, unix.CLOCK_MONOTONIC))),
		args: "CLOCK_MONOTONIC",
		why:  "timers are not inherited by a new process",
	},
	{
		nr: unix.SYS_TIMER_DELETE, name: "timer_delete",
		args: "any: timers of the process itself",
		why:  "drop the timer of a process that goes back into stock",
	},
	{
		nr: unix.SYS_RT_SIGACTION, name: "rt_sigaction",
		args: "any: affects the process itself",
		why:  "signal handlers of a new process",
	},
	{
		nr: unix.SYS_SIGALTSTACK, name: "sigaltstack",
		args: "any: affects the process itself",
		why:  "not inherited by a new process",
	},
	{
		nr: unix.SYS_RT_SIGPROCMASK, name: "rt_sigprocmask",
		args: "any: affects the process itself",
		why:  "unblock a signal whose handler was left without sigreturn",
	},
	{
		nr: unix.SYS_GETPPID, name: "getppid",
		args: "none",
		why:  "a new process checks that its parent did not die before PR_SET_PDEATHSIG",
	},
	{
		nr: unix.SYS_RESTART_SYSCALL, name: "restart_syscall",
		args: "none",
		why:  "the host restarts an interrupted futex wait with it",
	},
	{
		nr: unix.SYS_EXIT_GROUP, name: "exit_group",
		args: "any",
		why:  "the end of a process",
	},
}

// cellFilter is the seccomp filter of every cell.
func cellFilter() ([]byte, error) {
	prog, err := buildFilter(allowList)
	if err != nil {
		return nil, err
	}
	return encodeFilter(prog), nil
}
