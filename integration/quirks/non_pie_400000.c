// SPDX-License-Identifier: Apache-2.0
// A program linked at 0x400000 that cannot be moved, with large static data
// and neighbours where old programs like them.
#include "quirk.h"

static char large[96 << 20]; /* .bss */
static int table[1 << 16] = { 1 }; /* .data */
extern char __executable_start, end;

int main(void)
{
	CHECK(&__executable_start == (char *)0x400000, "linked at %p, want 0x400000", (void *)&__executable_start);
	for (size_t i = 0; i < sizeof large; i += 1 << 20) {
		CHECK(large[i] == 0, ".bss is not zero at %zu", i);
		large[i] = i >> 20;
	}
	for (size_t i = 0; i < sizeof large; i += 1 << 20)
		CHECK(large[i] == (char)(i >> 20), ".bss lost data at %zu", i);
	CHECK(table[0] == 1 && table[12345] == 0, ".data is wrong");

	char *brk0 = sbrk(0);
	CHECK(brk0 >= &end, "brk %p below the program's end %p", (void *)brk0, (void *)&end);
	CHECK((uintptr_t)brk0 - (uintptr_t)&end < 2ul << 30, "brk %p far from the program's end %p", (void *)brk0, (void *)&end);
	char *more = MUST(sbrk(32 << 20));
	more[0] = more[(32 << 20) - 1] = 1;

	/* 512 MiB around where user-mode Linux used to live itself. */
	char *p = mmap((void *)0x50000000, 512ul << 20, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
	CHECK(p == (char *)0x50000000, "mapping over 0x60000000: %p, %s", (void *)p, strerror(errno));
	for (size_t i = 0; i < 512ul << 20; i += 8 << 20)
		p[i] = 1;
	puts("ok");
	return 0;
}
