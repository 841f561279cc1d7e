// SPDX-License-Identifier: Apache-2.0
// AMX: a cell refuses it cleanly, and what says no does not work halfway. On a
// host the answer is the kernel's, but it must be consistent as well.
#include "quirk.h"

enum { GET_XCOMP_SUPP = 0x1021, GET_XCOMP_PERM = 0x1022, REQ_XCOMP_PERM = 0x1023, TILEDATA = 18 };

int main(void)
{
	uint32_t a, b, c, d;
	volatile int cpu = __get_cpuid_count(7, 0, &a, &b, &c, &d) && d >> 24 & 1;
	uint64_t supported = 0, permitted = 0;

	long granted = syscall(SYS_arch_prctl, REQ_XCOMP_PERM, TILEDATA);
	if (granted != 0)
		CHECK(errno == EINVAL || errno == EOPNOTSUPP || errno == ENOSYS || errno == EPERM, "request refused with %s", strerror(errno));
	if (in_cell())
		CHECK(granted != 0, "a cell granted AMX");
	if (syscall(SYS_arch_prctl, GET_XCOMP_SUPP, &supported) == 0 && in_cell())
		CHECK(!(supported >> 17 & 3), "a cell lists AMX as supported: %#lx", supported);
	if (syscall(SYS_arch_prctl, GET_XCOMP_PERM, &permitted) == 0)
		CHECK((permitted >> TILEDATA & 1) == (granted == 0), "permitted are %#lx after a request that gave %ld", permitted, granted);

	/* Using it: works when granted, else a signal and no lasting damage. */
	if (cpu) {
		catch_faults();
		TRY(asm volatile(".byte 0xc4, 0xe2, 0x78, 0x49, 0xc0" /* tilerelease */
				 "\n .byte 0xc4, 0xe2, 0x7b, 0x49, 0xc0" /* tilezero tmm0 */));
		if (granted != 0)
			CHECK(fault.signal == SIGILL || fault.signal == SIGSEGV, "an AMX instruction: signal %d", fault.signal);
	}
	struct timespec t = { 0, 1000000 };
	nanosleep(&t, NULL);
	pid_t pid = MUST(fork());
	if (!pid)
		_exit(3);
	CHECK(reap(pid) == 3, "fork does not work afterwards");
	printf("ok (processor %s AMX, request %s)\n", cpu ? "has" : "has no", granted ? "refused" : "granted");
	return 0;
}
