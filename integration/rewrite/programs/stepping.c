/* SPDX-License-Identifier: Apache-2.0 */
/* A program that single-steps itself over rewritten sites sees the instructions of its file. */
#include "site.h"

static volatile uint64_t last;
static volatile unsigned through, steps;
static volatile uint64_t bad;
static volatile int on;

static void on_trap(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	uint64_t ip = uc->uc_mcontext.gregs[REG_RIP];

	(void)sig, (void)info;
	steps++;
	if (!in_file(ip) && !bad)
		bad = ip;
	for (size_t i = 0; i < SITES; i++)
		if (last == (uintptr_t)sites[i].syscall) {
			through++;
			/* The processor may run one more instruction, the ret, before it traps. */
			if (ip >= (uintptr_t)sites[i].code && ip < (uintptr_t)sites[i].next && !bad)
				bad = ip;
		}
	last = ip;
	if (!on)
		uc->uc_mcontext.gregs[REG_EFL] &= ~0x100ull;
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_sigaction = on_trap, .sa_flags = SA_SIGINFO };
	long parent = getppid();

	start(argc, argv);
	for (size_t i = 0; i < SITES; i++)
		for (int n = 0; n < 10; n++)
			ask(&sites[i]);
	MUST(sigaction(SIGTRAP, &sa, NULL));
	on = 1;
	asm volatile("pushfq; orl $0x100, (%%rsp); popfq" ::: "memory", "cc");
	for (size_t i = 0; i < SITES; i++)
		for (int n = 0; n < 3; n++)
			if (ask(&sites[i]) != parent)
				bad = 1;
	on = 0;
	asm volatile("nop; nop; nop");
	CHECK(!bad, "stepped to %lx, text is %p to %p", bad, __executable_start, etext);
	CHECK(through >= 3 * SITES - 1, "stepped over %u calls in %u steps", through, steps);
	return 0;
}
