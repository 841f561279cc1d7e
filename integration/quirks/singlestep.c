// SPDX-License-Identifier: Apache-2.0
// PTRACE_SINGLESTEP stops after every instruction, system calls included, and
// leaves no trace in the program's flags.
#include "quirk.h"
#include <sys/ptrace.h>
#include <sys/user.h>

extern const char step_start[], step_call[], step_after_call[], step_loop[], step_end[];

/* The stepped code: where every instruction starts is known to the labels. */
static void stepped(void)
{
	asm volatile("mov $39, %%eax\n"
		     "xor %%edx, %%edx\n"
		     "int3\n"
		     "step_start:\n"
		     "nop\n"
		     "inc %%edx\n"
		     "step_call:\n"
		     "syscall\n"
		     "step_after_call:\n"
		     "nop\n"
		     "push %%rbx\n"
		     "pop %%rbx\n"
		     "mov $3, %%ecx\n"
		     "step_loop:\n"
		     "dec %%ecx\n"
		     "jnz step_loop\n"
		     "pushfq\n"
		     "pop %%rsi\n"
		     "step_end:\n"
		     "int3\n"
		     : : : "rax", "rcx", "rdx", "rsi", "r11", "memory");
}

int main(void)
{
	struct user_regs_struct regs;
	int status;
	pid_t pid = MUST(fork());

	if (!pid) {
		MUST(ptrace(PTRACE_TRACEME, 0, 0, 0));
		stepped();
		_exit(7);
	}
	CHECK(waitpid(pid, &status, 0) == pid && WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP, "no stop at int3: %#x", status);
	MUST(ptrace(PTRACE_GETREGS, pid, 0, &regs));
	CHECK(regs.rip == (uintptr_t)step_start, "int3 stops at %#llx, want %p", regs.rip, step_start);

	/* nop inc syscall nop push pop mov 3x(dec jnz) pushf pop */
	const int want = 7 + 6 + 2;
	int steps = 0, saw_call = 0, saw_after = 0;
	while (regs.rip != (uintptr_t)step_end) {
		CHECK(steps < 100, "step %d: still not at the end, at %#llx", steps, regs.rip);
		MUST(ptrace(PTRACE_SINGLESTEP, pid, 0, 0));
		CHECK(waitpid(pid, &status, 0) == pid && WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP, "step %d: status %#x", steps, status);
		MUST(ptrace(PTRACE_GETREGS, pid, 0, &regs));
		CHECK(regs.rip > (uintptr_t)step_start && regs.rip <= (uintptr_t)step_end, "step %d: at %#llx", steps, regs.rip);
		CHECK(!(regs.eflags & 0x100), "step %d: the trap flag shows in eflags %#llx", steps, regs.eflags);
		steps++;
		saw_call |= regs.rip == (uintptr_t)step_call;
		if (regs.rip == (uintptr_t)step_after_call) {
			saw_after = 1;
			CHECK((pid_t)regs.rax == pid, "getpid under the debugger gave %lld", regs.rax);
		}
	}
	CHECK(saw_call && saw_after, "the stop %s the system call is missing", saw_call ? "behind" : "before");
	CHECK(steps == want, "%d steps, want %d", steps, want);
	siginfo_t info;
	MUST(ptrace(PTRACE_GETSIGINFO, pid, 0, &info));
	CHECK(info.si_code == TRAP_TRACE, "code %d, want TRAP_TRACE", info.si_code);

	/* Free running again: only the second int3 stops it. */
	MUST(ptrace(PTRACE_CONT, pid, 0, 0));
	CHECK(waitpid(pid, &status, 0) == pid && WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP, "status %#x", status);
	MUST(ptrace(PTRACE_CONT, pid, 0, 0));
	CHECK(reap(pid) == 7, "the program did not go on after stepping");
	puts("ok");
	return 0;
}
