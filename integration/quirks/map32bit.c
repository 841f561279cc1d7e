// SPDX-License-Identifier: Apache-2.0
// Low addresses: MAP_32BIT, hints, MAP_FIXED_NOREPLACE, and code down there.
#include "quirk.h"

int main(void)
{
	catch_faults();
	/* MAP_32BIT means the first 2 GiB. */
	for (int i = 0; i < 200; i++) {
		unsigned char *p = MUST(mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0));
		CHECK((uintptr_t)p + (1 << 20) <= 1ul << 31, "MAP_32BIT gave %p", (void *)p);
		*p = 0xc3;
		MUST(mprotect(p, PAGE, PROT_READ | PROT_EXEC));
		TRY(((void (*)(void))p)());
		CHECK(!fault.signal, "code at %p: signal %d", (void *)p, fault.signal);
	}

	static const uintptr_t hints[] = {
		0x10000, 0x10000000, 0x60000000, 0x7fff0000, 0x80000000, 0x100000000, 0x8000000000, 0x600000000000,
	};
	for (size_t i = 0; i < sizeof hints / sizeof *hints; i++) {
		void *want = (void *)hints[i];
		char *p = mmap(want, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
		if (p == MAP_FAILED && errno == EEXIST)
			continue; /* one of ours above */
		CHECK(p == want, "fixed mapping at %p: %p, %s", want, (void *)p, strerror(errno));
		p[0] = 1;
		p[PAGE - 1] = 2;
		CHECK(mmap(want, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED && errno == EEXIST,
		      "MAP_FIXED_NOREPLACE replaced the page at %p", want);
		CHECK(p[0] == 1 && p[PAGE - 1] == 2, "page at %p lost its data", want);
	}

	/* Page zero stays out of reach of programs without privilege; with it,
	 * mapping may be refused or work, but must not do half of it. */
	char *zero = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	if (zero != MAP_FAILED) {
		asm volatile("movb $1, (%0)" : : "r"(zero) : "memory");
		munmap(zero, PAGE);
	} else {
		CHECK(errno == EPERM || errno == EINVAL || errno == ENOMEM || errno == EACCES, "page zero: %s", strerror(errno));
	}
	puts("ok");
	return 0;
}
