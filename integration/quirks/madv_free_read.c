// SPDX-License-Identifier: Apache-2.0
// A write by the kernel on the program's behalf makes a page dirty: after
// MADV_FREE, data from read() survives reclaim.
#include "quirk.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

int main(void)
{
	const size_t pages = 64;
	char *p = map_anon(pages * PAGE, PROT_READ | PROT_WRITE);
	int fd[2];

	MUST(pipe(fd));
	for (int round = 0; round < 50; round++) {
		memset(p, 0x11, pages * PAGE);
		MUST(madvise(p, pages * PAGE, MADV_FREE));
		for (size_t i = 0; i < pages; i++) {
			char in[8];
			snprintf(in, sizeof in, "%03zu-%02d", i, round);
			CHECK(write(fd[1], in, 7) == 7 && read(fd[0], p + i * PAGE, 7) == 7, "pipe: %s", strerror(errno));
		}
		/* Without swap this reclaims clean pages only, as it should. */
		if (madvise(p, pages * PAGE, MADV_PAGEOUT))
			CHECK(errno == EINVAL, "MADV_PAGEOUT: %s", strerror(errno));
		for (size_t i = 0; i < pages; i++) {
			char want[8];
			snprintf(want, sizeof want, "%03zu-%02d", i, round);
			CHECK(memcmp(p + i * PAGE, want, 7) == 0, "page %zu lost what read() put there: \"%.7s\", want \"%s\"", i, p + i * PAGE, want);
		}
	}
	puts("ok");
	return 0;
}
