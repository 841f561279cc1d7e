/* SPDX-License-Identifier: Apache-2.0 */
/* What the programs of this folder share. Each checks one property of the
 * system it runs on and says so by its exit status: 0 it holds, 1 it does not
 * (with the reason), 77 it does not apply here (with the reason). */
#ifndef QUIRK_H
#define QUIRK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096ul

/* Inside a cell the auxiliary vector tells where the system-call gate is. */
#define AT_PARACELL_GATE 0x5043

#define FAIL(...)                                            \
	do {                                                 \
		printf("FAIL %s:%d: ", __FILE__, __LINE__);  \
		printf(__VA_ARGS__);                         \
		putchar('\n');                               \
		fflush(stdout);                              \
		_exit(1);                                    \
	} while (0)

#define CHECK(cond, ...)                    \
	do {                                \
		if (!(cond))                \
			FAIL(__VA_ARGS__);  \
	} while (0)

/* A call that must succeed for the check to mean anything. */
#define MUST(expr)                                                             \
	({                                                                     \
		__typeof__(expr) must_ = (expr);                               \
		if ((intptr_t)must_ == -1)                                     \
			FAIL("%s: %s", #expr, strerror(errno));                \
		must_;                                                         \
	})

#define SKIP(...)                     \
	do {                          \
		printf("SKIP: ");     \
		printf(__VA_ARGS__);  \
		putchar('\n');        \
		fflush(stdout);       \
		_exit(77);            \
	} while (0)

static inline int in_cell(void) { return getauxval(AT_PARACELL_GATE) != 0; }

/* QEMU without hardware help: slow, and less strict in places. */
static inline int emulated(void)
{
	uint32_t max, b, c, d;

	__cpuid(0x40000000, max, b, c, d);
	return b == 0x54474354 && c == 0x43544743 && d == 0x47435447; /* TCGTCGTCGTCG */
}

static inline void *map_anon(size_t size, int prot)
{
	return MUST(mmap(NULL, size, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

/* The exit status of a child, 128+n after signal n. */
static inline int reap(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) != pid)
		CHECK(errno == EINTR, "waitpid: %s", strerror(errno));
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static inline uint64_t now_ns(void)
{
	struct timespec t;

	syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* A cheap generator (xorshift): reproducible, good enough for patterns. */
static inline uint64_t next_random(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return *state = x;
}

/* TRY runs a statement and leaves in `fault` what signal ended it, if any. */
static sigjmp_buf fault_exit;
static volatile struct { int signal, code; void *addr; } fault;

static inline void on_fault(int sig, siginfo_t *info, void *context)
{
	(void)context;
	fault.signal = sig;
	fault.code = info->si_code;
	fault.addr = info->si_addr;
	siglongjmp(fault_exit, 1);
}

static inline void catch_faults(void)
{
	struct sigaction sa = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER };
	static const int signals[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP };

	for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
		MUST(sigaction(signals[i], &sa, NULL));
}

#define TRY(statement)                              \
	do {                                        \
		fault.signal = fault.code = 0;      \
		fault.addr = NULL;                  \
		if (sigsetjmp(fault_exit, 1) == 0) { \
			statement;                  \
		}                                   \
	} while (0)

/* XCR0: which register sets the system has enabled. */
static inline uint64_t xcr0(void)
{
	uint32_t a, b, c, d;

	__cpuid(1, a, b, c, d);
	if (!(c >> 27 & 1))
		return 3;
	asm volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
	return (uint64_t)d << 32 | a;
}

static inline int has_avx(void) { return (xcr0() & 6) == 6; }

static inline int has_avx512(void)
{
	uint32_t a, b, c, d;

	if (!__get_cpuid_count(7, 0, &a, &b, &c, &d))
		return 0;
	return (xcr0() & 0xe6) == 0xe6 && b >> 16 & 1;
}

static inline int has_fsgsbase(void) { return getauxval(AT_HWCAP2) >> 1 & 1; }

#endif
