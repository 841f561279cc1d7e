// SPDX-License-Identifier: Apache-2.0
// A time namespace shifts the monotonic clocks, in the vDSO as in the calls.
#include "vdso.h"

enum { SHIFT = 1000 }; /* s */

int main(void)
{
	clock_gettime_t vdso_clock = vdso_find("__vdso_clock_gettime");
	int64_t outside = call_ns(CLOCK_MONOTONIC), boot = call_ns(CLOCK_BOOTTIME);

	if (unshare(0x80 /* CLONE_NEWTIME */)) {
		if (errno == EPERM)
			SKIP("creating a time namespace needs CAP_SYS_ADMIN");
		FAIL("unshare(CLONE_NEWTIME): %s", strerror(errno));
	}
	int fd = MUST(open("/proc/self/timens_offsets", O_WRONLY));
	const char *offsets = "monotonic 1000 0\nboottime 1000 0\n";
	CHECK(write(fd, offsets, strlen(offsets)) == (ssize_t)strlen(offsets), "timens_offsets: %s", strerror(errno));
	close(fd);

	pid_t pid = MUST(fork());
	if (!pid) {
		/* vDSO first: its data page has just been replaced. */
		struct timespec t;
		vdso_clock(CLOCK_MONOTONIC, &t);
		int64_t fast = to_ns(t), call = call_ns(CLOCK_MONOTONIC);
		CHECK(fast - outside >= SHIFT * 1000000000ll && fast - outside < (SHIFT + 60) * 1000000000ll, "vDSO: shifted by %ld ns", fast - outside);
		CHECK(call >= fast && call - fast < 60000000000ll, "the call says %ld, the vDSO %ld", call, fast);
		CHECK(call_ns(CLOCK_BOOTTIME) - boot >= SHIFT * 1000000000ll, "CLOCK_BOOTTIME is not shifted");
		/* The other clocks are the same everywhere. */
		vdso_clock(CLOCK_REALTIME, &t);
		int64_t d = call_ns(CLOCK_REALTIME) - to_ns(t);
		CHECK(d >= 0 && d < 60000000000ll, "CLOCK_REALTIME differs by %ld ns", d);
		/* A deadline is in the namespace's time. */
		struct timespec until = { (fast + 20000000) / 1000000000, (fast + 20000000) % 1000000000 };
		CHECK(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == 0, "clock_nanosleep");
		CHECK(call_ns(CLOCK_MONOTONIC) >= fast + 20000000, "woke too early");
		/* A process started by exec has the vDSO of its namespace. */
		_exit(0);
	}
	CHECK(reap(pid) == 0, "the process in the namespace failed");
	vdso_clock(CLOCK_MONOTONIC, &(struct timespec){ 0 });
	CHECK(call_ns(CLOCK_MONOTONIC) - outside < SHIFT * 1000000000ll, "the parent was shifted too");
	puts("ok");
	return 0;
}
