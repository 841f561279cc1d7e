/* SPDX-License-Identifier: Apache-2.0 */
/* A debugger that attaches while sites are in use: registers, single steps, breakpoints and call information are those of the file. */
#include "site.h"
#include <linux/ptrace.h>

static volatile int *shared;

static struct user_regs_struct registers(pid_t pid)
{
	struct user_regs_struct r;

	MUST(ptrace(PTRACE_GETREGS, pid, 0, &r));
	return r;
}

static pid_t worker(const struct site *s)
{
	pid_t pid = MUST(fork());

	if (!pid) {
		for (;;) {
			if (ask(s) != *shared)
				_exit(1);
			shared[1]++;
		}
	}
	return pid;
}

static void wait_stop(pid_t pid, int want)
{
	int status;

	CHECK(waitpid(pid, &status, 0) == pid, "waitpid");
	CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == want, "status %x, wanted stop by %d", status, want);
}

static void attach_and_step(const struct site *s)
{
	pid_t pid = worker(s);
	unsigned through = 0;

	for (int seen = shared[1]; shared[1] < seen + 100;)
		sched_yield();
	for (int round = 0; round < rounds(20); round++) {
		MUST(ptrace(PTRACE_ATTACH, pid, 0, 0));
		wait_stop(pid, SIGSTOP);
		uint64_t ip = registers(pid).rip;

		CHECK(in_file(ip), "%s: attached at %lx", s->name, ip);
		for (int n = 0; n < 60; n++) {
			MUST(ptrace(PTRACE_SINGLESTEP, pid, 0, 0));
			wait_stop(pid, SIGTRAP);
			uint64_t next = registers(pid).rip;

			CHECK(in_file(next) && next != (uintptr_t)s->syscall + 1, "%s: stepped to %lx", s->name, next);
			if (ip == (uintptr_t)s->syscall) {
				CHECK(next == (uintptr_t)s->next, "%s: from the call to %lx", s->name, next);
				through++;
			}
			ip = next;
		}
		MUST(ptrace(PTRACE_DETACH, pid, 0, 0));
		sched_yield();
	}
	CHECK(through > 0, "%s: never stepped over the call", s->name);

	/* A breakpoint on the instruction behind the call. */
	MUST(ptrace(PTRACE_ATTACH, pid, 0, 0));
	wait_stop(pid, SIGSTOP);
	long word = ptrace(PTRACE_PEEKTEXT, pid, s->next, 0);

	MUST(ptrace(PTRACE_POKETEXT, pid, s->next, (word & ~0xfful) | 0xcc));
	for (int n = 0; n < rounds(20); n++) {
		MUST(ptrace(PTRACE_CONT, pid, 0, 0));
		wait_stop(pid, SIGTRAP);
		struct user_regs_struct r = registers(pid);

		CHECK(r.rip == (uintptr_t)s->next + 1, "%s: breakpoint at %llx", s->name, r.rip);
		r.rip--;
		MUST(ptrace(PTRACE_SETREGS, pid, 0, &r));
		MUST(ptrace(PTRACE_POKETEXT, pid, s->next, word));
		MUST(ptrace(PTRACE_SINGLESTEP, pid, 0, 0));
		wait_stop(pid, SIGTRAP);
		MUST(ptrace(PTRACE_POKETEXT, pid, s->next, (word & ~0xfful) | 0xcc));
	}
	MUST(ptrace(PTRACE_POKETEXT, pid, s->next, word));

	/* Call information. */
	MUST(ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD));
	for (int n = 0; n < rounds(20); n++) {
		struct ptrace_syscall_info info;

		MUST(ptrace(PTRACE_SYSCALL, pid, 0, 0));
		wait_stop(pid, SIGTRAP | 0x80);
		MUST(ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info));
		CHECK(info.instruction_pointer == (uintptr_t)s->next, "%s: call information has ip %llx", s->name,
		      (unsigned long long)info.instruction_pointer);
	}
	MUST(ptrace(PTRACE_DETACH, pid, 0, 0));
	for (int seen = shared[1]; shared[1] < seen + 100;)
		sched_yield();
	MUST(kill(pid, SIGKILL));
	reap(pid);
}

/* Waits until a process sleeps. */
static void wait_asleep(pid_t pid)
{
	char path[64], text[512], *end;

	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	for (;;) {
		int fd = MUST(open(path, O_RDONLY));
		ssize_t n = MUST(read(fd, text, sizeof text - 1));

		close(fd);
		text[n] = 0;
		end = strrchr(text, ')');
		CHECK(end, "%s: %s", path, text);
		if (end[2] == 'S')
			return;
		sched_yield();
	}
}

/* Attached while it sleeps in a call: the registers are behind the instruction, and the call goes on. */
static void attach_to_sleeper(const struct site *s)
{
	int p[2];
	char c = 0;

	MUST(pipe(p));
	pid_t pid = MUST(fork());

	if (!pid) {
		for (int n = 0; n < 10; n++)
			ask(s);
		long got = call_site(s, SYS_read, p[0], (long)&c, 1);

		_exit(got == 1 && c == 'z' ? 3 : 4);
	}
	wait_asleep(pid);
	MUST(ptrace(PTRACE_ATTACH, pid, 0, 0));
	wait_stop(pid, SIGSTOP);
	uint64_t ip = registers(pid).rip;

	CHECK(ip == (uintptr_t)s->next || ip == (uintptr_t)s->syscall, "%s: asleep at %lx", s->name, ip);
	MUST(ptrace(PTRACE_DETACH, pid, 0, 0));
	usleep(10000);
	MUST(write(p[1], "z", 1));
	CHECK(reap(pid) == 3, "%s: the call did not go on", s->name);
	close(p[0]);
	close(p[1]);
}

int main(int argc, char **argv)
{
	start(argc, argv);
	shared = MUST(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	shared[0] = getpid();
	for (size_t i = 0; i < SITES; i++) {
		attach_and_step(&sites[i]);
		if (sites[i].any)
			attach_to_sleeper(&sites[i]);
	}
	return 0;
}
