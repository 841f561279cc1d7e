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

// sigKick is the signal that makes a process look at its vCPU's pending bits
// (SIG_KICK of the monitor).
const sigKick = uint64(unix.SIGUSR1)

// Values that x/sys/unix has no names for.
const (
	futexOpWait = 0
	futexOpWake = 1
)

func alternatives(a ...[]argTest) [][]argTest { return a }
func all(t ...argTest) []argTest              { return t }

// inUser and inVmalloc: an address in one of the two areas in which mappings
// change. Their lengths are bounded by those of the areas: what is mapped behind
// (the window, then control area and monitor) belongs to the cell as well.
func inUser(addr, length int) []argTest {
	return all(inRange(addr, abi.UserMin, abi.UserMax), inRange(length, 1, abi.UserMax-abi.UserMin+1))
}

func inVmalloc(addr, length int) []argTest {
	return all(inRange(addr, abi.VmallocBase, abi.VmallocEnd), inRange(length, 1, abi.VmallocEnd-abi.VmallocBase+1))
}

func and(a []argTest, more ...argTest) []argTest { return append(a, more...) }

// guestMemory: the flags and the file of every mapping.
func guestMemory() []argTest {
	const fixed = unix.MAP_SHARED | unix.MAP_FIXED
	return all(oneOf(3, fixed, fixed|unix.MAP_POPULATE), oneOf(4, fdMemory))
}

const (
	protRW  = unix.PROT_READ | unix.PROT_WRITE
	protRWX = protRW | unix.PROT_EXEC
)

// allowList is every host call that a cell may make once the jail is closed.
// The most frequent ones come first: the filter looks at one after the other.
var allowList = []rule{
	{
		nr: unix.SYS_FUTEX, name: "futex",
		when: alternatives(all(oneOf(1, futexOpWait, futexOpWake))),
		args: "`FUTEX_WAIT` or `FUTEX_WAKE`, shared",
		why:  "hand the vCPU over between processes, sleep when idle",
	},
	{
		nr: unix.SYS_MMAP, name: "mmap",
		when: alternatives(
			and(inUser(0, 1), append(guestMemory(), onlyBits(2, protRWX))...),
			and(inVmalloc(0, 1), append(guestMemory(), onlyBits(2, protRW))...)),
		args: "fd 3 only, `MAP_SHARED` with `MAP_FIXED` and at most `MAP_POPULATE`; in the user half, or in the vmalloc area and not executable",
		why:  "page tables of the guest become mappings of guest memory",
	},
	{
		nr: unix.SYS_MUNMAP, name: "munmap",
		when: alternatives(inUser(0, 1), inVmalloc(0, 1)),
		args: "in the user half or the vmalloc area",
		why:  "the guest unmaps; an address space is destroyed",
	},
	{
		nr: unix.SYS_MPROTECT, name: "mprotect",
		when: alternatives(and(inUser(0, 1), onlyBits(2, protRWX))),
		args: "in the user half; `PROT_READ`, `PROT_WRITE`, `PROT_EXEC`",
		why:  "the guest changes protection",
	},
	{
		nr: unix.SYS_TIMER_SETTIME, name: "timer_settime",
		when: alternatives(all(oneOf(1, 0), oneOf(3, 0))),
		args: "relative, without the old value",
		why:  "the guest's timer interrupt",
	},
	{
		nr: unix.SYS_SCHED_SETAFFINITY, name: "sched_setaffinity",
		when: alternatives(all(oneOf(0, 0))),
		args: "itself",
		why:  "a process that takes the vCPU over goes on where the one before it was",
	},
	{
		nr: unix.SYS_WRITE, name: "write",
		when: alternatives(all(oneOf(0, fdConsole, fdNotify))),
		args: "console pipe (fd 4) and notification (fd 5)",
		why:  "console output; tell the host side that a queue has work",
	},
	{
		nr: unix.SYS_TGKILL, name: "tgkill",
		when: alternatives(all(oneOf(2, sigKick))),
		args: "`SIGUSR1`; only processes of the cell exist in its PID namespace",
		why:  "interrupt the process that runs a vCPU",
	},
	{
		nr: unix.SYS_PKEY_MPROTECT, name: "pkey_mprotect",
		when: alternatives(and(inVmalloc(0, 1), onlyBits(2, protRW), oneOf(3, abi.KeyKernel))),
		args: "in the vmalloc area, not executable, key K",
		why:  "mappings of the kernel's areas get the kernel's key (isolation `mpk`)",
	},
	{
		nr: unix.SYS_CLONE, name: "clone",
		when: alternatives(all(oneOf(0, uint64(unix.SIGCHLD)), oneOf(1, 0))),
		args: "`SIGCHLD` and no flag: a new process, no namespaces, nothing shared",
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
			all(oneOf(0, unix.PR_SET_SYSCALL_USER_DISPATCH), oneOf(1, unix.PR_SYS_DISPATCH_ON), oneOf(2, 0), oneOf(3, 0)),
			all(oneOf(0, unix.PR_SET_PDEATHSIG), oneOf(1, uint64(unix.SIGKILL)))),
		args: "`PR_SET_SYSCALL_USER_DISPATCH` on, without a range; `PR_SET_PDEATHSIG` with `SIGKILL`",
		why:  "a new process catches system-call instructions of the guest's user, and dies with the warden",
	},
	{
		nr: unix.SYS_TIMER_CREATE, name: "timer_create",
		when: alternatives(all(oneOf(0, unix.CLOCK_MONOTONIC))),
		args: "`CLOCK_MONOTONIC`",
		why:  "timers are not inherited by a new process",
	},
	{
		nr: unix.SYS_GETPPID, name: "getppid",
		args: "none",
		why:  "a new process makes sure that the warden did not die before `PR_SET_PDEATHSIG`",
	},
	{
		nr: unix.SYS_RESTART_SYSCALL, name: "restart_syscall",
		args: "none",
		why:  "the host goes on with a futex wait through it after it has stopped and continued the process",
	},
	{
		nr: unix.SYS_EXIT_GROUP, name: "exit_group",
		args: "any",
		why:  "the end of a process",
	},
}

// cellFilter is the seccomp filter of a cell, as the host kernel reads it.
func cellFilter(rules []rule) ([]byte, error) {
	prog, err := buildFilter(rules)
	if err != nil {
		return nil, err
	}
	return encodeFilter(prog), nil
}
