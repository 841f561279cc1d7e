// SPDX-License-Identifier: Apache-2.0
// The vDSO tells the time: same as the system call, monotonic over threads,
// and without entering the kernel.
#include "vdso.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/time.h>

static clock_gettime_t vdso_clock;

static int64_t fast_ns(clockid_t id)
{
	struct timespec t;

	CHECK(vdso_clock(id, &t) == 0, "vDSO clock %d failed", id);
	CHECK(t.tv_nsec >= 0 && t.tv_nsec < 1000000000, "clock %d: %ld ns", id, t.tv_nsec);
	return to_ns(t);
}

static void agree(clockid_t id, const char *name, int64_t slack)
{
	for (int i = 0; i < 2000; i++) {
		int64_t a = call_ns(id), b = fast_ns(id), c = call_ns(id);
		CHECK(a <= b + slack && b <= c + slack, "%s: system call %ld, vDSO %ld, system call %ld", name, a, b, c);
	}
}

static int64_t latest;

static void *monotonic(void *arg)
{
	(void)arg;
	for (int i = 0; i < 200000; i++) {
		int64_t seen = __atomic_load_n(&latest, __ATOMIC_ACQUIRE), t = fast_ns(CLOCK_MONOTONIC);
		CHECK(t >= seen, "CLOCK_MONOTONIC went back from %ld to %ld", seen, t);
		while (t > seen && !__atomic_compare_exchange_n(&latest, &seen, t, 0, __ATOMIC_RELEASE, __ATOMIC_ACQUIRE))
			;
	}
	return NULL;
}

/* With every time call forbidden, only a vDSO that stays in user mode works. */
static int without_kernel(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clock_gettime, 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_gettimeofday, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_time, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	struct sock_fprog prog = { sizeof code / sizeof *code, code };
	int (*gtod)(struct timeval *, void *) = vdso_find("__vdso_gettimeofday");
	time_t (*tm)(time_t *) = vdso_find("__vdso_time");
	struct timeval tv;

	MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	MUST(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog));
	for (int i = 0; i < 100000; i++) {
		fast_ns(CLOCK_MONOTONIC);
		fast_ns(CLOCK_REALTIME);
		gtod(&tv, NULL);
	}
	return tm(NULL) < 1000000000;
}

/* The host may run on a clock that needs the kernel; a cell must not. */
static int clock_is_tsc(void)
{
	char name[32] = "";
	int fd = open("/sys/devices/system/clocksource/clocksource0/current_clocksource", O_RDONLY);

	if (fd < 0 || read(fd, name, sizeof name - 1) <= 0)
		return 1;
	close(fd);
	return in_cell() || !strncmp(name, "tsc", 3) || !strncmp(name, "kvm-clock", 9);
}

int main(void)
{
	vdso_clock = vdso_find("__vdso_clock_gettime");
	agree(CLOCK_REALTIME, "CLOCK_REALTIME", 0);
	agree(CLOCK_MONOTONIC, "CLOCK_MONOTONIC", 0);
	agree(CLOCK_BOOTTIME, "CLOCK_BOOTTIME", 0);
	agree(CLOCK_MONOTONIC_RAW, "CLOCK_MONOTONIC_RAW", 0);
	agree(CLOCK_MONOTONIC_COARSE, "CLOCK_MONOTONIC_COARSE", 0);
	agree(CLOCK_REALTIME_COARSE, "CLOCK_REALTIME_COARSE", 0);
	agree(CLOCK_PROCESS_CPUTIME_ID, "CLOCK_PROCESS_CPUTIME_ID", 0);

	pthread_t t[4];
	for (int i = 0; i < 4; i++)
		CHECK(!pthread_create(&t[i], NULL, monotonic, NULL), "pthread_create");
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);

	/* It runs at the right rate: 50 ms of sleep are 50 ms of clock. */
	int64_t t0 = fast_ns(CLOCK_MONOTONIC);
	struct timespec ms50 = { 0, 50000000 };
	nanosleep(&ms50, NULL);
	int64_t slept = fast_ns(CLOCK_MONOTONIC) - t0;
	CHECK(slept >= 50000000 && slept < 5000000000, "a sleep of 50 ms took %ld ns", slept);

	if (clock_is_tsc()) {
		pid_t pid = MUST(fork());
		if (!pid)
			_exit(without_kernel());
		int status = reap(pid);
		CHECK(status == 0, "the vDSO enters the kernel (child: %d)", status);
	}
	puts("ok");
	return 0;
}
