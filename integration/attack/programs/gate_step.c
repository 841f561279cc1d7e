// SPDX-License-Identifier: Apache-2.0
// Single-step through the gate, by the trap flag and by ptrace: no stop may show the
// inside of the gate, and the call has to work. And from every byte of the gates
// on, jumped to with the trap flag set (rules 3 and 4).
#include "attack.h"
#include <sys/ptrace.h>
#include <sys/user.h>

static volatile int stops, wrong;

static int in_monitor(uint64_t ip)
{
	return ip > GATE && ip >= PARACELL_WINDOW_BASE && ip < PARACELL_WINDOW_END;
}

static void on_step(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)sig;
	(void)info;
	stops++;
	if (in_monitor(uc->uc_mcontext.gregs[REG_RIP]))
		wrong++;
}

static void by_flag(void)
{
	struct sigaction sa = { .sa_sigaction = on_step, .sa_flags = SA_SIGINFO | SA_ONSTACK };

	MUST(sigaction(SIGTRAP, &sa, NULL));
	for (int i = 0; i < 10; i++) {
		jump_prepare(0);
		jump_in.flags = 0x102;
		stops = 0;
		if (gate(SYS_getpid, 0, 0, 0) != getpid())
			GAINED("getpid gives %ld with the trap flag", jump_out.ax);
		if (stops < 20)
			GIVE_UP("only %d stops", stops);
		if (wrong)
			GAINED("%d stops inside the gate", wrong);
	}
}

static void by_ptrace(void)
{
	int status, seen = 0;
	pid_t pid = MUST(fork());

	if (pid == 0) {
		signal(SIGTRAP, SIG_DFL);
		jump_prepare(0); /* thousands of instructions, not to be stepped through */
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		for (int i = 0; i < 3; i++)
			if (gate(SYS_getpid, 0, 0, 0) != getpid())
				_exit(SUCCEEDED);
		_exit(STOPPED);
	}
	MUST(waitpid(pid, &status, 0));
	while (WIFSTOPPED(status)) {
		struct user_regs_struct regs;

		MUST(ptrace(PTRACE_GETREGS, pid, 0, &regs));
		if (in_monitor(regs.rip))
			GAINED("a stop at %#llx", regs.rip);
		seen += regs.rip == GATE;
		MUST(ptrace(PTRACE_SINGLESTEP, pid, 0, 0));
		MUST(waitpid(pid, &status, 0));
	}
	if (!WIFEXITED(status) || WEXITSTATUS(status) != STOPPED || seen != 3)
		GAINED("traced: status %#x, %d stops at the gate", status, seen);
}

/* Steps on, but not for ever. */
static void go_on(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)sig;
	(void)info;
	if (++stops > 12)
		uc->uc_mcontext.gregs[REG_EFL] &= ~0x100;
}

/* The trap flag is set last, so that the first stop is at the place itself. */
uint64_t step_place;
extern const char step_begin[];
asm(".text\n"
    "step_begin: pushfq\n orl $0x100, (%rsp)\n popfq\n jmp *step_place(%rip)\n");

/*
 * Jump to a place of the gates with the trap flag set, so that each instruction
 * from there on is followed by a signal.
 */
static void step_from(uint64_t ip)
{
	struct sigaction sa = { .sa_sigaction = go_on, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	int status;
	pid_t pid = MUST(fork());

	if (pid == 0) {
		MUST(sigaction(SIGTRAP, &sa, NULL));
		touch(landing_stack, sizeof landing_stack);
		guarding = 1;
		inside();
		alarm(1); /* some go round in circles */
		step_place = ip;
		jump_prepare((uint64_t)step_begin);
		jump_in.ax = PARACELL_KERNEL_PKRU;
		jump_in.cx = jump_in.dx = 0;
		stops = 0;
		jump_go();
		_exit(inside() ? SUCCEEDED : STOPPED);
	}
	while (waitpid(pid, &status, 0) != pid)
		;
	if (WIFEXITED(status) && WEXITSTATUS(status) == BROKEN)
		GIVE_UP("the child could not be set up");
	if (WIFEXITED(status) && WEXITSTATUS(status) == SUCCEEDED)
		GAINED("steps from %#lx on", ip);
}

static void by_jumps(void)
{
	uint64_t from = value("monitor.exit_gate"), end = value("monitor.sig_entry") + 0x100;

	/* With two page tables they are not mapped, with neither they are the user's. */
	if (!keys || value("isolation") == 2)
		return;
	for (uint64_t ip = GATE; ip < GATE + 64; ip++)
		step_from(ip);
	for (uint64_t ip = from; ip < end; ip++)
		if (!near_iret(ip))
			step_from(ip);
}

int attack(void)
{
	by_flag();
	by_ptrace();
	by_jumps();
	return STOPPED;
}
