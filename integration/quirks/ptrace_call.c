// SPDX-License-Identifier: Apache-2.0
// A tracer sees system calls with number, arguments and result, however they
// are made; it may change number and result, and what it makes of an unknown
// number fails with ENOSYS. PTRACE_SYSEMU keeps a call from being made.
#include "quirk.h"
#include <sys/ptrace.h>
#include <sys/user.h>

enum { REPLACED = 4711 };

static unsigned long gate;

static long raw(long nr, long a, long b)
{
	asm volatile("syscall" : "+a"(nr) : "D"(a), "S"(b) : "rcx", "r11", "memory", "cc");
	return nr;
}

static long through_gate(long nr, long a, long b)
{
	if (!gate)
		return raw(nr, a, b);
	asm volatile("lea 1f(%%rip), %%rcx\n jmp *%[gate]\n 1:"
		     : "+a"(nr) : "D"(a), "S"(b), [gate] "r"(gate) : "rcx", "r11", "memory", "cc");
	return nr;
}

/* Runs until the next stop; false when the child is gone. */
static int resume(pid_t pid, long request, int *status)
{
	MUST(ptrace(request, pid, 0, 0));
	CHECK(waitpid(pid, status, 0) == pid, "waitpid: %s", strerror(errno));
	return WIFSTOPPED(*status);
}

static pid_t traced(void (*body)(void))
{
	int status;
	pid_t pid = MUST(fork());

	if (!pid) {
		MUST(ptrace(PTRACE_TRACEME, 0, 0, 0));
		raise(SIGSTOP);
		body();
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid && WIFSTOPPED(status), "status %#x", status);
	MUST(ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL));
	return pid;
}

static void calls(void)
{
	CHECK(raw(SYS_getpgid, -11, 22) == REPLACED, "result by instruction is not the tracer's");
	CHECK(through_gate(SYS_getpgid, -11, 22) == REPLACED, "result through the gate is not the tracer's");
	/* The tracer makes these something else. */
	CHECK(raw(SYS_getsid, 0, 0) == getppid(), "the number is not the tracer's");
	CHECK(raw(SYS_getuid, 0, 0) == -ENOSYS, "an unknown number");
}

static void change(pid_t pid, size_t offset, long value)
{
	MUST(ptrace(PTRACE_POKEUSER, pid, offset, value));
}

static void trace(void)
{
	int status, seen = 0, entry = 1;
	pid_t pid = traced(calls);
	long nr = -1;

	while (resume(pid, PTRACE_SYSCALL, &status)) {
		struct __ptrace_syscall_info info;
		struct user_regs_struct regs;

		CHECK(WSTOPSIG(status) == (SIGTRAP | 0x80), "stopped with %#x", status);
		CHECK(ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info) > 0, "PTRACE_GET_SYSCALL_INFO: %s", strerror(errno));
		CHECK(info.arch == 0xc000003e, "architecture %#x", info.arch);
		CHECK(info.op == (entry ? PTRACE_SYSCALL_INFO_ENTRY : PTRACE_SYSCALL_INFO_EXIT), "stop kind %d", info.op);
		MUST(ptrace(PTRACE_GETREGS, pid, 0, &regs));
		if (entry) {
			nr = info.entry.nr;
			CHECK((long)regs.rax == -ENOSYS && (long)regs.orig_rax == nr, "rax %lld orig_rax %lld at the entry",
			      regs.rax, regs.orig_rax);
			if (nr == SYS_getpgid)
				CHECK((long)info.entry.args[0] == -11 && info.entry.args[1] == 22, "arguments %lld %lld",
				      (long long)info.entry.args[0], (long long)info.entry.args[1]);
			if (nr == SYS_getsid)
				change(pid, offsetof(struct user, regs.orig_rax), SYS_getppid);
			if (nr == SYS_getuid)
				change(pid, offsetof(struct user, regs.orig_rax), 100000);
		} else if (nr == SYS_getpgid) {
			CHECK(info.exit.is_error && info.exit.rval == -ESRCH, "getpgid(-11) gave %lld", (long long)info.exit.rval);
			change(pid, offsetof(struct user, regs.rax), REPLACED);
			seen++;
		}
		entry = !entry;
	}
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the traced program ended with %#x", status);
	CHECK(seen == 2, "saw %d calls of 2", seen);
}

static void emulated_call(void)
{
	CHECK(raw(SYS_getpid, 0, 0) == 77, "the call was made");
}

static void emulate(void)
{
	struct user_regs_struct regs;
	int status;
	pid_t pid = traced(emulated_call);

	do {
		CHECK(resume(pid, PTRACE_SYSEMU, &status), "ended with %#x", status);
		MUST(ptrace(PTRACE_GETREGS, pid, 0, &regs));
	} while (regs.orig_rax != SYS_getpid);
	regs.rax = 77;
	MUST(ptrace(PTRACE_SETREGS, pid, 0, &regs));
	MUST(ptrace(PTRACE_CONT, pid, 0, 0));
	CHECK(reap(pid) == 0, "the program whose call was emulated failed");
}

int main(void)
{
	gate = getauxval(AT_PARACELL_GATE);
	trace();
	emulate();
	puts("ok");
	return 0;
}
