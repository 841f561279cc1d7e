/* SPDX-License-Identifier: Apache-2.0 */
/* Signals that arrive anywhere in a site or its trampoline find the program where its file says it is, and nothing is lost. */
#include "site.h"
#include <execinfo.h>
#include <sys/time.h>

static volatile unsigned long hits, outside;
static volatile uint64_t bad;
static volatile unsigned frames;

static void on_alarm(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	uint64_t ip = uc->uc_mcontext.gregs[REG_RIP];

	(void)sig, (void)info;
	hits++;
	if (!in_file(ip) && !bad) {
		outside++;
		/* The vDSO is none of the program's text either, but not called here. */
		bad = ip;
	}
	for (size_t i = 0; i < SITES; i++)
		if (!sound(&sites[i], ip) && ip < (uintptr_t)sites[i].end && ip > (uintptr_t)sites[i].code)
			bad = ip;
	if (hits % 64 == 0) {
		void *stack[32];

		frames = backtrace(stack, 32);
	}
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_sigaction = on_alarm, .sa_flags = SA_SIGINFO | SA_RESTART };
	struct itimerval every = { { 0, 150 }, { 0, 150 } }, never = { { 0, 0 }, { 0, 0 } };
	void *stack[4];
	long parent = getppid();

	start(argc, argv);
	backtrace(stack, 4); /* loads what it needs */
	MUST(sigaction(SIGALRM, &sa, NULL));
	MUST(sigaction(SIGUSR1, &sa, NULL));
	MUST(setitimer(ITIMER_REAL, &every, NULL));
	for (uint64_t end = now_ns() + 1500000000; now_ns() < end;)
		for (size_t i = 0; i < SITES; i++)
			for (int n = 0; n < 100; n++)
				CHECK(ask(&sites[i]) == parent, "%s under signals", sites[i].name);
	MUST(setitimer(ITIMER_REAL, &never, NULL));
	CHECK(!bad, "a handler found ip %lx, text is %p to %p", bad, __executable_start, etext);
	CHECK(hits > 100 && frames > 1, "%lu signals, %u frames", hits, frames);

	/* A child of its own sends signals while the call is in the kernel or about to be. */
	for (size_t i = 0; i < SITES; i++) {
		pid_t child = fork();

		if (!child) {
			for (int n = 0; n < 200; n++) {
				kill(getppid(), SIGUSR1);
				sched_yield();
			}
			_exit(0);
		}
		for (int n = 0; n < 2000; n++)
			CHECK(ask(&sites[i]) == parent, "%s under kill", sites[i].name);
		CHECK(reap(child) == 0, "child");
	}
	CHECK(!bad, "a handler found ip %lx", bad);
	return 0;
}
