// SPDX-License-Identifier: Apache-2.0
// A flood of signals while the gate is in use: every register has to keep its
// value, and every call its result (rule 4).
#include "attack.h"

static volatile int ticks;

static void on_tick(int sig, siginfo_t *info, void *context)
{
	uint64_t ip = ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];

	(void)sig;
	(void)info;
	ticks++;
	if (ip > GATE && ip >= PARACELL_WINDOW_BASE && ip < PARACELL_WINDOW_END)
		GAINED("a signal shows the inside of the gate, at %#lx", ip);
}

/*
 * Microseconds between signals: short, but so long that something gets done
 * between them where each costs a thousand times more than usual.
 */
static long interval(void)
{
	struct timespec from, to;
	long cost;

	clock_gettime(CLOCK_MONOTONIC, &from);
	for (int i = 0; i < 4; i++)
		raise(SIGALRM);
	clock_gettime(CLOCK_MONOTONIC, &to);
	cost = ((to.tv_sec - from.tv_sec) * 1000000 + (to.tv_nsec - from.tv_nsec) / 1000) / 4;
	ticks = 0;
	return cost * 5 < 100 ? 100 : cost * 5;
}

int attack(void)
{
	struct sigaction sa = { .sa_sigaction = on_tick, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART };
	struct itimerval every;
	const uint64_t *in = (uint64_t *)&jump_in, *out = (uint64_t *)&jump_out;
	pid_t pid = getpid();
	uint64_t x = 88172645463325252;
	struct timespec t;
	time_t end;

	MUST(sigaction(SIGALRM, &sa, NULL));
	every.it_interval.tv_sec = 0;
	every.it_interval.tv_usec = interval();
	every.it_value = every.it_interval;
	MUST(setitimer(ITIMER_REAL, &every, NULL));
	clock_gettime(CLOCK_MONOTONIC, &t);
	end = t.tv_sec + 3;
	for (int rounds = 0; t.tv_sec < end; rounds++) {
		for (size_t i = 0; i < 16; i++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			((uint64_t *)&jump_in)[i] = x;
		}
		jump_in.sp = (uint64_t)&landing_stack[512];
		if (rounds & 1)
			jump_in.r15 = OFF_TRIGGER;
		jump_in.flags = 2;
		long result = gate(SYS_getpid, x, x + 1, x + 2);
		if (result != pid)
			GAINED("getpid gives %ld after %d rounds, %d signals", result, rounds, ticks);
		for (size_t i = 1; i < 16; i++) /* all but rax; r11 is the flags */
			if (i != offsetof(struct jump, r11) / 8 && out[i] != in[i])
				GAINED("register %zu: %#lx, was %#lx, after %d rounds, %d signals", i, out[i], in[i], rounds, ticks);
		clock_gettime(CLOCK_MONOTONIC, &t);
	}
	if (ticks < 10)
		GIVE_UP("only %d signals", ticks);
	return STOPPED;
}
