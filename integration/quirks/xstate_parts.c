// SPDX-License-Identifier: Apache-2.0
// Any part of the vector state keeps its value over a trap while the others are
// unused. Who restores the state part by part must not mix them up, nor take a
// part for unused that is not: x87 registers with empty tags, a control word.
#include "quirk.h"

#define ARCH_SET_REWRITE 0x50430001 /* of a cell: system calls stay traps */

enum { X87 = 1, SSE = 2, YMM = 4, ALL = 0xe7, SIZE = 4096, BV = 512, MXCSR = 24 };

typedef struct {
	unsigned char bytes[SIZE];
} __attribute__((aligned(64))) image_t;

/* Where a component is in an image; the first two are everywhere the same. */
static struct { uint32_t at, size; } part[8] = { { 0, 0 }, { 160, 256 } };

static uint64_t seed = 1;

/* Load a state, trap by a system call or a write to a page, store the state. */
static __attribute__((noinline)) void trap(const image_t *in, image_t *out, long nr, char *page)
{
	asm volatile("mov %[all], %%eax\n xor %%edx, %%edx\n xrstor64 %[in]\n"
		     "test %[page], %[page]\n jnz 1f\n"
		     "mov %[nr], %%rax\n syscall\n jmp 2f\n"
		     "1: movb $1, (%[page])\n"
		     "2: mov %[all], %%eax\n xor %%edx, %%edx\n xsave64 %[out]\n"
		     "fninit\n ldmxcsr %[clean]\n"
		     : [out] "=m"(*out)
		     : [in] "m"(*in), [all] "i"(ALL), [nr] "r"(nr), [page] "r"(page), [clean] "m"((uint32_t){ 0x1f80 })
		     : "rax", "rcx", "rdx", "r11", "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6",
		       "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
	if (has_avx())
		asm volatile("vzeroall" : : : "memory");
}

static void put16(image_t *x, int at, uint16_t v) { memcpy(x->bytes + at, &v, 2); }

/* The initial state of all, then random bytes where used says so. */
static void fill(image_t *x, uint64_t used, int x87)
{
	uint32_t mxcsr = 0x1f80;

	memset(x, 0, sizeof *x);
	memcpy(x->bytes + BV, &used, 8);
	put16(x, 0, 0x37f);
	for (int i = 1; i < 8; i++)
		for (uint32_t n = 0; used >> i & 1 && n < part[i].size; n++)
			x->bytes[part[i].at + n] = next_random(&seed);
	if (next_random(&seed) & 1)
		mxcsr |= (next_random(&seed) & 3) << 13 | (next_random(&seed) & 0x3f);
	memcpy(x->bytes + MXCSR, &mxcsr, 4);
	if (!(used & X87))
		return;
	if (x87 & 1) /* rounding */
		put16(x, 0, 0x37f | 0xc00);
	if (x87 & 2) /* where the top of the stack is */
		put16(x, 2, 5 << 11);
	if (x87 & 4) /* which registers are full */
		x->bytes[4] = 0x81;
	for (int r = 0; x87 & 8 && r < 8; r++) {
		for (int n = 0; n < 8; n++)
			x->bytes[32 + 16 * r + n] = next_random(&seed);
		x->bytes[32 + 16 * r + 7] |= 0x80;
		x->bytes[32 + 16 * r + 9] = 0x3f;
	}
	if (x87 & 16) /* a single bit somewhere */
		x->bytes[32 + 16 * (next_random(&seed) % 8)] = 1;
}

static void same(const image_t *in, const image_t *out, int at, int size, const char *what, uint64_t used, int x87)
{
	for (int i = at; i < at + size; i++)
		CHECK(in->bytes[i] == out->bytes[i], "%s changed: byte %d is %#x, was %#x (in use %#lx, x87 %d)",
		      what, i, out->bytes[i], in->bytes[i], used, x87);
}

int main(void)
{
	static const char *const names[] = { "x87", "sse", "ymm", "", "", "opmask", "zmm upper halves", "zmm16-31" };
	static image_t in, out;
	uint64_t have = xcr0() & ALL;
	uint32_t a, b, c, d;
	int rounds = emulated() ? 2 : 20;

	if (!has_avx())
		SKIP("no xsave");
	for (int i = 2; i < 8; i++)
		if (have >> i & 1) {
			__cpuid_count(0xd, i, a, b, c, d);
			part[i].at = b;
			part[i].size = a;
			CHECK(a + b <= SIZE, "component %d ends at %u", i, a + b);
		}
	if (in_cell())
		MUST(syscall(SYS_arch_prctl, ARCH_SET_REWRITE, 0L));
	for (int r = 0; r < rounds; r++)
		for (uint64_t used = 0; used <= ALL; used++) {
			if (used & ~have)
				continue;
			int x87 = next_random(&seed) % 32;
			/* By turns a system call and a page fault. */
			char *page = (used ^ r) & 1 ? NULL : map_anon(PAGE, PROT_READ | PROT_WRITE);

			fill(&in, used, x87);
			memset(&out, 0xff, sizeof out);
			memset(out.bytes + BV, 0, 64);
			trap(&in, &out, SYS_getppid, page);
			if (page)
				munmap(page, PAGE);
			same(&in, &out, 0, 6, names[0], used, x87);
			same(&in, &out, MXCSR, 4, "mxcsr", used, x87);
			for (int n = 0; n < 8; n++)
				same(&in, &out, 32 + 16 * n, 10, names[0], used, x87);
			for (int i = 1; i < 8; i++)
				same(&in, &out, part[i].at, part[i].size, names[i], used, x87);
		}
	return 0;
}
