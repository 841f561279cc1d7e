// SPDX-License-Identifier: Apache-2.0
// WRPKRU at every place of a page, over its edge, with prefixes, and inside of
// other instructions (rule 6).
#include "code.h"

int attack(void)
{
	uint8_t *p = pages(3, PROT_READ | PROT_WRITE | PROT_EXEC);

	/* In the middle, aligned and not, up to and over the edge. */
	for (unsigned at = 0; at < 2 * PAGE; at += at % PAGE < 32 || at % PAGE > PAGE - 32 ? 1 : 61) {
		memset(p, 0x90, 3 * PAGE);
		memcpy(p + at, opener, sizeof opener);
		OPEN_WITH(p + at, "wrpkru at offset %u", at);
	}
	/* Both pages have run before. */
	for (unsigned in_first = 1; in_first < sizeof opener; in_first++) {
		memset(p, 0xc3, 3 * PAGE);
		run(p + PAGE);
		run(p);
		memcpy(p + PAGE - in_first, opener, sizeof opener);
		OPEN_WITH(p + PAGE - in_first, "wrpkru over the edge, %u bytes before it", in_first);
		run(p + PAGE);
		OPEN_WITH(p + PAGE - in_first, "wrpkru over the edge, second try, %u bytes before it", in_first);
	}
	/* Prefixes that the processor may ignore. */
	static const uint8_t prefix[] = { 0x2e, 0x3e, 0x26, 0x36, 0x64, 0x65, 0x67, 0x40, 0x48, 0x4f, 0x66, 0xf2, 0xf3, 0xf0 };
	for (size_t i = 0; i < sizeof prefix; i++)
		for (int n = 1; n <= 12; n++) {
			memset(p, 0xc3, PAGE);
			memcpy(p + 64, opener, WRPKRU_AT);
			memset(p + 64 + WRPKRU_AT, prefix[i], n);
			memcpy(p + 64 + WRPKRU_AT + n, opener + WRPKRU_AT, 4);
			OPEN_WITH(p + 64, "wrpkru with %d times %#x", n, prefix[i]);
		}
	/* In an immediate: run the instruction, then jump into it. */
	memset(p, 0x90, PAGE);
	memcpy(p, "\x31\xc0\x31\xc9\x31\xd2\xeb\x03", 8);      /* clear, jump over 3 */
	memcpy(p + 8, "\x49\xbb\x90\x90\x90\x0f\x01\xef\xc3\x90\xc3", 11); /* movabs $..., %r11; ret */
	for (int i = 0; i < 3; i++) {
		run(p + 8);
		OPEN_WITH(p, "wrpkru in an immediate");
	}
	/* The end of one instruction and the start of the next. */
	memset(p, 0x90, PAGE);
	memcpy(p, "\x31\xc0\x31\xc9\x31\xd2\xeb\x04", 8);
	memcpy(p + 8, "\xb8\x90\x90\x90\x0f\x01\xef\xc3", 8); /* mov $0xf..., %eax; add %ebp, %edi; ret */
	for (int i = 0; i < 3; i++) {
		run(p + 8);
		OPEN_WITH(p, "wrpkru of two instructions");
	}
	/* A jump into its own displacement. */
	memset(p, 0x90, PAGE);
	memcpy(p, "\x31\xc0\x31\xc9\x31\xd2\xe9", 7);
	memcpy(p + 7, "\x0f\x01\xef\xc3", 4);
	OPEN_WITH(p, "wrpkru in the displacement of a jump");
	OPEN_WITH(p + 7, "wrpkru in the displacement of a jump");
	/* Behind a load of SS, which holds single steps back. */
	memset(p, 0x90, PAGE);
	memcpy(p, "\x31\xc0\x31\xc9\x31\xd2\x8c\xd3", 8);                  /* mov %ss, %ebx */
	memcpy(p + 8, "\x8e\xd3\x0f\x01\xef\xc3", 6);                     /* mov %ebx, %ss; wrpkru */
	OPEN_WITH(p, "wrpkru behind a load of ss");
	return STOPPED;
}
