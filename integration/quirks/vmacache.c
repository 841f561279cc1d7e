// SPDX-License-Identifier: Apache-2.0
// A program may touch a million pages that are nowhere near each other; a
// limit on mappings below the system is no limit of the program.
//
//	vmacache [pages]
#include "quirk.h"

enum { WRITE_EVERY = 32 }; /* the other pages are only read */

/* A permutation of the page numbers that no prefetcher or merging likes. */
static uint64_t nth(uint64_t i, uint64_t pages) { return i * 2654435761u % pages; }

int main(int argc, char **argv)
{
	uint64_t pages = argc > 1 ? strtoull(argv[1], NULL, 0) : emulated() ? 100000 : 1000000;

	pages |= 1;
	while (pages % 2654435761u == 0)
		pages += 2;
	/* Every second page belongs to us, so that neighbours never merge. */
	char *base = MUST(mmap(NULL, pages * 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
	madvise(base, pages * 2 * PAGE, MADV_NOHUGEPAGE);

	uint64_t writes = 0;
	for (uint64_t i = 0; i < pages; i++) {
		uint64_t page = nth(i, pages);
		volatile char *p = base + page * 2 * PAGE;
		if (page % WRITE_EVERY == 0) {
			CHECK(*(volatile uint64_t *)p == 0, "page %lu was visited twice or is not zero", page);
			*(volatile uint64_t *)p = page + 1;
			writes++;
		} else {
			CHECK(p[page % PAGE] == 0, "fresh page %lu is not zero", page);
		}
	}
	for (uint64_t i = 0; i < pages; i++) {
		uint64_t page = nth(pages - 1 - i, pages), got = *(volatile uint64_t *)(base + page * 2 * PAGE);
		uint64_t want = page % WRITE_EVERY == 0 ? page + 1 : 0;
		CHECK(got == want, "page %lu holds %lu, want %lu", page, got, want);
	}

	/* A child sees all of it, and its writes stay its own. */
	pid_t pid = MUST(fork());
	if (!pid) {
		for (uint64_t page = 0; page < pages; page += WRITE_EVERY) {
			volatile uint64_t *p = (void *)(base + page * 2 * PAGE);
			CHECK(*p == page + 1, "child: page %lu holds %lu", page, *p);
			if (page % (WRITE_EVERY * 16) == 0)
				*p = 7;
		}
		_exit(0);
	}
	CHECK(reap(pid) == 0, "the child failed");
	for (uint64_t page = 0; page < pages; page += WRITE_EVERY)
		CHECK(*(volatile uint64_t *)(base + page * 2 * PAGE) == page + 1, "page %lu was changed by the child", page);
	MUST(munmap(base, pages * 2 * PAGE));
	printf("ok (%lu pages, %lu written)\n", pages, writes);
	return 0;
}
