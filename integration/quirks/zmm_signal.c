// SPDX-License-Identifier: Apache-2.0
// All 32 ZMM registers and the mask registers come back whole after a signal
// handler that used them.
#include "quirk.h"

typedef struct { uint64_t zmm[32][8], k[8]; } __attribute__((aligned(64))) state_t;

#define EACH32(op) \
	op(0) op(1) op(2) op(3) op(4) op(5) op(6) op(7) op(8) op(9) op(10) op(11) op(12) op(13) op(14) op(15) \
	op(16) op(17) op(18) op(19) op(20) op(21) op(22) op(23) op(24) op(25) op(26) op(27) op(28) op(29) op(30) op(31)
#define EACH8(op) op(0) op(1) op(2) op(3) op(4) op(5) op(6) op(7)
#define LOAD(n) "vmovdqu64 64*" #n "(%[in]), %%zmm" #n "\n"
#define STORE(n) "vmovdqu64 %%zmm" #n ", 64*" #n "(%[out])\n"
#define KLOAD(n) "kmovq 2048+8*" #n "(%[in]), %%k" #n "\n"
#define KSTORE(n) "kmovq %%k" #n ", 2048+8*" #n "(%[out])\n"
#define CLEAR(n) "vpxorq %%zmm" #n ", %%zmm" #n ", %%zmm" #n "\n"

static volatile int handled;

__attribute__((target("avx512f,avx512bw"))) static void handler(int sig)
{
	(void)sig;
	asm volatile(EACH32(CLEAR) "kxorq %%k1, %%k1, %%k1\n kxnorq %%k2, %%k2, %%k2\n"
		     : : : "k1", "k2", "xmm0", "xmm1", "xmm15", "xmm16", "xmm31", "memory");
	handled++;
}

/* Load everything, send the signal with a plain syscall, store everything. */
__attribute__((target("avx512f,avx512bw"), noinline)) static void trial(const state_t *in, state_t *out)
{
	long nr = SYS_tgkill;

	asm volatile(EACH32(LOAD) EACH8(KLOAD)
		     "syscall\n"
		     EACH32(STORE) EACH8(KSTORE)
		     "vzeroupper\n"
		     : "+a"(nr)
		     : "D"(getpid()), "S"(gettid()), "d"(SIGUSR1), [in] "r"(in), [out] "r"(out)
		     : "rcx", "r11", "memory", "k1", "k2", "k3", "k4", "k5", "k6", "k7",
		       "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
		       "xmm12", "xmm13", "xmm14", "xmm15", "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22",
		       "xmm23", "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31");
	CHECK(nr == 0, "tgkill: %ld", nr);
}

int main(void)
{
	static state_t in, out;
	uint64_t seed = 88172645463325252ull;

	if (!has_avx512())
		SKIP("no AVX-512 here");
	signal(SIGUSR1, handler);
	for (int round = 0; round < 2000; round++) {
		for (size_t i = 0; i < sizeof in / 8; i++)
			((uint64_t *)&in)[i] = next_random(&seed);
		memset(&out, 0, sizeof out);
		trial(&in, &out);
		CHECK(handled == round + 1, "%d signals handled, want %d", handled, round + 1);
		for (int r = 0; r < 32; r++)
			for (int w = 0; w < 8; w++)
				CHECK(in.zmm[r][w] == out.zmm[r][w], "round %d: zmm%d bits %d-%d: %#lx, want %#lx",
				      round, r, w * 64, w * 64 + 63, out.zmm[r][w], in.zmm[r][w]);
		for (int r = 0; r < 8; r++)
			CHECK(in.k[r] == out.k[r], "round %d: k%d: %#lx, want %#lx", round, r, out.k[r], in.k[r]);
	}
	puts("ok");
	return 0;
}
