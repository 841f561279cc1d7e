/* SPDX-License-Identifier: Apache-2.0 */
/* Host system calls. Results are negative errno values. */
#ifndef HOST_H
#define HOST_H

#include <asm/unistd.h>
#include "monitor.h"

enum {
	HOST_EPERM = 1, HOST_EINTR = 4, HOST_EAGAIN = 11, HOST_ENOMEM = 12, HOST_EFAULT = 14,
	HOST_EINVAL = 22, HOST_ENOSYS = 38, HOST_ETIMEDOUT = 110,
};

enum {
	PROT_READ = 1, PROT_WRITE = 2, PROT_EXEC = 4,
	MAP_SHARED = 0x1, MAP_PRIVATE = 0x2, MAP_FIXED = 0x10, MAP_POPULATE = 0x8000,
	FUTEX_WAIT = 0, FUTEX_WAKE = 1,
	PR_SET_PDEATHSIG = 1, PR_SET_NAME = 15, PR_CAPBSET_DROP = 24, PR_SET_TIMERSLACK = 29,
	PR_SET_NO_NEW_PRIVS = 38, PR_CAP_AMBIENT = 47, PR_CAP_AMBIENT_CLEAR_ALL = 4,
	PR_SET_SYSCALL_USER_DISPATCH = 59, PR_SYS_DISPATCH_ON = 1,
	SECCOMP_SET_MODE_FILTER = 1,
	WAIT_NOHANG = 1, WAIT_ALL = 0x40000000,
	CLOCK_MONOTONIC = 1,
};

struct timespec { s64 sec, nsec; };

/* A call on behalf of the running vCPU, counted. */
#define host_call(nr, ...) (my_vcpu->host_calls++, host_syscall(nr, ##__VA_ARGS__))

static inline long futex_wait(u32 *word, u32 value, const struct timespec *timeout)
{
	return host_call(__NR_futex, word, (long)FUTEX_WAIT, (long)value, timeout, 0L, 0L);
}

static inline long futex_wake(u32 *word, long n)
{
	return host_call(__NR_futex, word, (long)FUTEX_WAKE, n, 0L, 0L, 0L);
}

#endif
