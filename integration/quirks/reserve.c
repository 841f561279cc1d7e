// SPDX-License-Identifier: Apache-2.0
// Large address-space reservations, as V8, ZGC and the sanitizers make them.
#include "quirk.h"

int main(void)
{
	for (int bits = 36; bits <= 46; bits++) {
		size_t size = 1ul << bits;
		char *p = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

		CHECK(p != MAP_FAILED, "reservation of 2^%d bytes: %s", bits, strerror(errno));
		const size_t spots[] = { 0, size / 3 & -PAGE, size / 2, size - PAGE };
		for (size_t i = 0; i < 4; i++) {
			MUST(mprotect(p + spots[i], PAGE, PROT_READ | PROT_WRITE));
			p[spots[i]] = i + 1;
		}
		for (size_t i = 0; i < 4; i++)
			CHECK(p[spots[i]] == (char)(i + 1), "2^%d: page at %#zx lost its data", bits, spots[i]);
		MUST(munmap(p, size));
	}

	/* Go's heap hint. */
	void *hint = (void *)0xc000000000;
	void *p = MUST(mmap(hint, 64 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	CHECK(p == hint, "a free hint was not taken: %p instead of %p", p, hint);
	*(char *)p = 1;
	puts("ok");
	return 0;
}
