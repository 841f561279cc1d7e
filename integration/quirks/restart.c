// SPDX-License-Identifier: Apache-2.0
// An interrupted system call is restarted, or fails with EINTR, as its handler
// asks; a sleep goes on for its rest after SIGSTOP and SIGCONT. All of it with
// the syscall instruction and, in a cell, through the gate.
#include "quirk.h"

static unsigned long gate;
static volatile int handled;

static void handler(int sig)
{
	(void)sig;
	handled++;
}

/* The result as the kernel gives it: -errno. */
static long call3(int through_gate, long nr, long a, long b, long c)
{
	long ret;

	if (through_gate)
		asm volatile("lea 1f(%%rip), %%rcx\n jmp *%[gate]\n 1:"
			     : "=a"(ret)
			     : "0"(nr), "D"(a), "S"(b), "d"(c), [gate] "r"(gate)
			     : "rcx", "r11", "memory", "cc");
	else
		asm volatile("syscall" : "=a"(ret) : "0"(nr), "D"(a), "S"(b), "d"(c)
			     : "rcx", "r11", "memory", "cc");
	return ret;
}

static void pause_ms(long ms)
{
	struct timespec t = { 0, ms * 1000000 };

	nanosleep(&t, NULL);
}

static void interrupted_read(int through_gate, int restart)
{
	struct sigaction sa = { .sa_handler = handler, .sa_flags = restart ? SA_RESTART : 0 };
	int pipes[2];
	pid_t me = getpid(), pid;
	char c = 0;
	long ret;

	MUST(pipe(pipes));
	MUST(sigaction(SIGUSR1, &sa, NULL));
	handled = 0;
	pid = MUST(fork());
	if (!pid) {
		pause_ms(500); // longer than a busy host keeps the reader from reading
		kill(me, SIGUSR1);
		pause_ms(50);
		MUST(write(pipes[1], "x", 1));
		_exit(0);
	}
	ret = call3(through_gate, SYS_read, pipes[0], (long)&c, 1);
	CHECK(handled == 1, "the handler ran %d times", handled);
	if (restart)
		CHECK(ret == 1 && c == 'x', "restarted read gave %ld", ret);
	else
		CHECK(ret == -EINTR, "interrupted read gave %ld, want -EINTR", ret);
	CHECK(reap(pid) == 0, "the writer failed");
	close(pipes[0]);
	close(pipes[1]);
}

static void stopped_sleep(int through_gate)
{
	int status;
	pid_t pid = MUST(fork());

	if (!pid) {
		struct timespec t = { 2, 0 };
		uint64_t start = now_ns();
		long ret = call3(through_gate, SYS_nanosleep, (long)&t, 0, 0);
		uint64_t ns = now_ns() - start;

		CHECK(ret == 0, "nanosleep gave %ld", ret);
		CHECK(ns >= 2000000000, "slept %llu ns only", (unsigned long long)ns);
		_exit(0);
	}
	pause_ms(50);
	MUST(kill(pid, SIGSTOP));
	CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status), "status %#x", status);
	pause_ms(20);
	MUST(kill(pid, SIGCONT));
	CHECK(reap(pid) == 0, "the sleeper failed");
}

int main(void)
{
	gate = getauxval(AT_PARACELL_GATE);
	for (int through_gate = 0; through_gate <= (gate != 0); through_gate++) {
		interrupted_read(through_gate, 0);
		interrupted_read(through_gate, 1);
		stopped_sleep(through_gate);
	}
	puts("ok");
	return 0;
}
