/* SPDX-License-Identifier: Apache-2.0 */
/* What the programs of this folder share: checks, and protection keys without
 * the library's wrappers. Exit status: 0 passed, 1 failed, 77 not applicable. */
#ifndef CHECK_H
#define CHECK_H

#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CHECK(cond, ...)                                             \
	do {                                                         \
		if (!(cond)) {                                       \
			printf("%s:%d: %s: ", __FILE__, __LINE__, #cond); \
			printf(__VA_ARGS__);                         \
			putchar('\n');                               \
			exit(1);                                     \
		}                                                    \
	} while (0)

#define PAGE 4096ul

static inline uint32_t rdpkru(void)
{
	uint32_t eax, edx;

	asm volatile(".byte 0x0f,0x01,0xee" : "=a"(eax), "=d"(edx) : "c"(0));
	return eax;
}

static inline void wrpkru(uint32_t value)
{
	asm volatile(".byte 0x0f,0x01,0xef" : : "a"(value), "c"(0), "d"(0) : "memory");
}

#define DENY_ACCESS(key) (1u << (2 * (key)))
#define DENY_WRITE(key) (2u << (2 * (key)))

static inline int key_alloc(void)
{
	int key = syscall(SYS_pkey_alloc, 0, 0);

	if (key < 0 && (errno == ENOSPC || errno == ENOSYS || errno == EINVAL)) {
		printf("no protection keys here\n");
		exit(77);
	}
	CHECK(key > 0, "pkey_alloc: %s", strerror(errno));
	return key;
}

/* A page with a key of its own. */
static inline unsigned char *key_page(int key)
{
	void *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED, "mmap: %s", strerror(errno));
	CHECK(syscall(SYS_pkey_mprotect, p, PAGE, PROT_READ | PROT_WRITE, key) == 0,
	      "pkey_mprotect: %s", strerror(errno));
	return p;
}

/* The fault that the last TRY met: signal, code and key, or 0. */
static sigjmp_buf fault_exit;
static volatile int fault_signal, fault_code, fault_key;

static inline void on_fault(int sig, siginfo_t *info, void *context)
{
	(void)context;
	fault_signal = sig;
	fault_code = info->si_code;
	fault_key = info->si_pkey;
	siglongjmp(fault_exit, 1);
}

static inline void catch_faults(void)
{
	struct sigaction sa = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER };

	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
}

#define TRY(statement)                               \
	do {                                         \
		fault_signal = fault_code = fault_key = 0; \
		if (sigsetjmp(fault_exit, 1) == 0) { \
			statement;                   \
		}                                    \
	} while (0)

#endif
