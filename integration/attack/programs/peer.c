// SPDX-License-Identifier: Apache-2.0
// One process of the cell drives another with ptrace while that is at a gate, in
// a system call, or stopped anywhere (rules 3 and 4).
#include "attack.h"
#include <sys/ptrace.h>
#include <sys/user.h>

static volatile uint64_t *shared;

static void look(void)
{
	_exit(inside() ? SUCCEEDED : STOPPED);
}

static void drive(pid_t pid, uint64_t ip, uint64_t sp, uint64_t flags, int request)
{
	struct user_regs_struct saved, r;
	int status;

	if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
		GIVE_UP("no stop: %x", status);
	MUST(ptrace(PTRACE_GETREGS, pid, 0, &saved));
	r = saved;
	r.rip = ip;
	r.rsp = sp;
	r.rax = PARACELL_KERNEL_PKRU;
	r.rcx = r.rdx = 0;
	r.eflags = flags;
	/* A refusal is an answer, too. */
	ptrace(PTRACE_SETREGS, pid, 0, &r);
	MUST(ptrace(request, pid, 0, 0));
	if (waitpid(pid, &status, 0) != pid)
		GIVE_UP("waitpid");
	if (keys && WIFEXITED(status) && WEXITSTATUS(status) == SUCCEEDED)
		GAINED("sent to %#lx the other process found other rights", ip); /* landing_keys */
	if (!WIFSTOPPED(status))
		return; /* killed for it */
	MUST(ptrace(PTRACE_GETREGS, pid, 0, &r));
	/* What has it got? Let it look. */
	saved.rip = (uint64_t)look;
	saved.orig_rax = -1;
	MUST(ptrace(PTRACE_SETREGS, pid, 0, &saved));
	MUST(ptrace(PTRACE_CONT, pid, 0, 0));
	if (waitpid(pid, &status, 0) != pid)
		GIVE_UP("waitpid");
	if (WIFEXITED(status) && WEXITSTATUS(status) == SUCCEEDED)
		GAINED("sent to %#lx the other process got behind the keys", ip);
	if (inside())
		GAINED("the tracer is inside");
}

static void attack_at(uint64_t ip, uint64_t sp, uint64_t flags, int request)
{
	pid_t pid = MUST(fork());
	int status;

	if (pid == 0) {
		MUST(ptrace(PTRACE_TRACEME, 0, 0, 0));
		alarm(10);
		raise(SIGSTOP);
		for (;;)
			shared[0] += gate(SYS_getpid, 0, 0, 0) != getpid();
	}
	drive(pid, ip, sp, flags, request);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
}

int attack(void)
{
	uint64_t sites[32];
	int n = values("wrpkru", sites, 32);
	const uint64_t stacks[] = { value("monitor.altstack") + 0x8000, PARACELL_CONTROL_BASE + 4096, 0 };
	const uint64_t places[] = { GATE, GATE + 7, value("monitor.exit_gate"), value("monitor.sig_entry"), value("monitor._start") };

	shared = MUST(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	for (int i = 0; i < n; i++)
		for (int how = 0; how < 2; how++)
			attack_at(sites[i], stacks[i % 3], 0x202, how ? PTRACE_SINGLESTEP : PTRACE_CONT);
	for (size_t i = 0; i < sizeof places / sizeof *places; i++)
		for (int how = 0; how < 2; how++) {
			attack_at(places[i], stacks[i % 3], 0x202, how ? PTRACE_SINGLESTEP : PTRACE_CONT);
			attack_at(places[i], stacks[i % 3], 0x247fd7, how ? PTRACE_SINGLESTEP : PTRACE_CONT);
		}
	/* A system call of the traced process, redirected into the kernel's half. */
	static const long calls[] = { SYS_read, SYS_write, SYS_process_vm_readv, SYS_futex };

	for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
		struct user_regs_struct r;
		pid_t pid = MUST(fork());
		int status;

		if (pid == 0) {
			MUST(ptrace(PTRACE_TRACEME, 0, 0, 0));
			raise(SIGSTOP);
			for (;;)
				gate(SYS_getpid, 0, 0, 0);
		}
		waitpid(pid, &status, 0);
		for (int round = 0; round < 6; round++) {
			MUST(ptrace(PTRACE_SYSCALL, pid, 0, 0));
			waitpid(pid, &status, 0);
			MUST(ptrace(PTRACE_GETREGS, pid, 0, &r));
			r.orig_rax = calls[i];
			r.rdi = 1;
			r.rsi = PARACELL_PHYS_BASE + PARACELL_KERNEL_GPA;
			r.rdx = 64;
			if (round & 1) {
				if ((long)r.rax > 0 && (long)r.rax <= 64 && calls[i] != SYS_futex)
					GAINED("call %ld on the kernel's memory gives %lld", calls[i], r.rax);
			} else {
				MUST(ptrace(PTRACE_SETREGS, pid, 0, &r));
			}
		}
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
	}
	/* Reading the peer's half of the kernel through ptrace. */
	pid_t pid = MUST(fork());
	int status;

	if (pid == 0) {
		MUST(ptrace(PTRACE_TRACEME, 0, 0, 0));
		raise(SIGSTOP);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	const uint64_t memory[] = { PARACELL_PHYS_BASE + PARACELL_KERNEL_GPA, PARACELL_CONTROL_BASE, PARACELL_MONITOR_BASE, value("monitor.selector") };

	for (size_t i = 0; i < sizeof memory / sizeof *memory; i++) {
		errno = 0;
		if (ptrace(PTRACE_PEEKDATA, pid, memory[i], 0) != -1 || errno == 0)
			GAINED("PEEKDATA at %#lx", memory[i]);
		if (ptrace(PTRACE_POKEDATA, pid, memory[i], 0) == 0)
			GAINED("POKEDATA at %#lx", memory[i]);
	}
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return STOPPED;
}
