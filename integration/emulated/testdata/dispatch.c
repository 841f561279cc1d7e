// SPDX-License-Identifier: Apache-2.0
// Syscall User Dispatch with its selector byte on a page that user code can
// read but, by its key, not write.
#include "check.h"
#include <sys/prctl.h>

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#endif
enum { OFF = 0, ON = 1 };
enum { ALLOW = 0, BLOCK = 1 };

static volatile unsigned char *selector;
static uint32_t open_pkru;
static volatile int caught, caught_nr, caught_code;

static void on_sigsys(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	wrpkru(open_pkru);
	*selector = ALLOW;
	caught++;
	caught_nr = info->si_syscall;
	caught_code = info->si_code;
	/* sigreturn brings PKRU back to what it was. */
}

static long raw_getpid(void)
{
	long r;

	asm volatile("syscall" : "=a"(r) : "0"(SYS_getpid) : "rcx", "r11", "memory");
	return r;
}

int main(void)
{
	catch_faults();
	int key = key_alloc();
	selector = key_page(key);
	open_pkru = rdpkru() & ~(DENY_ACCESS(key) | DENY_WRITE(key));
	wrpkru(open_pkru);
	*selector = ALLOW;

	struct sigaction sa = { .sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO };
	sigaction(SIGSYS, &sa, NULL);
	long pid = raw_getpid();
	CHECK(prctl(PR_SET_SYSCALL_USER_DISPATCH, ON, 0, 0, selector) == 0, "prctl: %s", strerror(errno));

	CHECK(raw_getpid() == pid && !caught, "call with selector ALLOW was caught");

	*selector = BLOCK;
	wrpkru(open_pkru | DENY_WRITE(key));
	raw_getpid();
	uint32_t after = rdpkru();
	/* The handler left ALLOW behind, so printing works from here on. */
	CHECK(caught == 1 && caught_nr == SYS_getpid && caught_code == 2 /* SYS_USER_DISPATCH */,
	      "caught %d nr %d code %d", caught, caught_nr, caught_code);
	CHECK(after == (open_pkru | DENY_WRITE(key)), "PKRU after the handler: %#x", after);

	/* The host reads the selector with the rights of the thread, and a new
	 * handler starts with none for our key: its first call would be fatal. */
	CHECK(prctl(PR_SET_SYSCALL_USER_DISPATCH, OFF, 0, 0, 0) == 0, "prctl: %s", strerror(errno));
	TRY(*selector = BLOCK);
	CHECK(fault_signal == SIGSEGV && fault_code == SEGV_PKUERR, "selector was writable: signal %d", fault_signal);
	return 0;
}
