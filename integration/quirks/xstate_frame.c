// SPDX-License-Identifier: Apache-2.0
// The signal frame describes its extended state as x86-64 Linux documents it
// (arch/x86/include/uapi/asm/sigcontext.h), and the auxiliary vector says how
// large frames get.
#include "quirk.h"
#include <ucontext.h>

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif
enum { MAGIC1 = 0x46505853, MAGIC2 = 0x46505845, UC_FP_XSTATE = 1 };

/* The 48 bytes at offset 464 of the FXSAVE area. */
struct sw_bytes {
	uint32_t magic1, extended_size;
	uint64_t xfeatures;
	uint32_t xstate_size, padding[7];
};

static struct {
	struct sw_bytes sw;
	uint32_t magic2;
	uint64_t xstate_bv, flags;
	uintptr_t sp, fpstate;
	unsigned char seen[16];
} got;
static const unsigned char before[16] = "xmm7 before call";
static const unsigned char after[16] = "xmm7 by handler.";
static uint64_t ymm_after[2] = { 0x1122334455667788, 0x99aabbccddeeff00 };

static void handler(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	unsigned char *fp = (void *)uc->uc_mcontext.fpregs;

	(void)sig;
	(void)info;
	got.flags = uc->uc_flags;
	got.sp = (uintptr_t)__builtin_frame_address(0);
	got.fpstate = (uintptr_t)fp;
	memcpy(&got.sw, fp + 464, sizeof got.sw);
	memcpy(got.seen, fp + 160 + 7 * 16, 16);
	if (got.sw.magic1 == MAGIC1) {
		memcpy(&got.magic2, fp + got.sw.xstate_size, 4);
		memcpy(&got.xstate_bv, fp + 512, 8);
	}
	/* What the handler writes here is what the program gets back. */
	memcpy(fp + 160 + 7 * 16, after, 16);
	if (got.sw.xfeatures & 4) {
		uint64_t bv = got.xstate_bv | 7;
		memcpy(fp + 512, &bv, 8);
		memcpy(fp + 576 + 7 * 16, ymm_after, 16); /* standard format: YMM_Hi128 */
	}
}

static void raise_sse(unsigned char out[16])
{
	long nr = SYS_tgkill;

	asm volatile("movdqu %[in], %%xmm7\n syscall\n movdqu %%xmm7, (%[out])\n"
		     : "+a"(nr)
		     : "D"(getpid()), "S"(gettid()), "d"(SIGUSR1), [in] "m"(before), [out] "r"(out)
		     : "rcx", "r11", "xmm7", "memory");
}

__attribute__((target("avx"))) static void raise_avx(unsigned char out[32])
{
	long nr = SYS_tgkill;

	asm volatile("vmovdqu %[in], %%xmm7\n syscall\n vmovdqu %%ymm7, (%[out])\n vzeroupper\n"
		     : "+a"(nr)
		     : "D"(getpid()), "S"(gettid()), "d"(SIGUSR1), [in] "m"(before), [out] "r"(out)
		     : "rcx", "r11", "xmm7", "memory");
}

int main(void)
{
	unsigned char out[32] = "";
	const size_t altsize = 256 << 10;
	char *alt = map_anon(altsize, PROT_READ | PROT_WRITE);
	stack_t ss = { .ss_sp = alt, .ss_size = altsize };
	struct sigaction sa = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK };

	MUST(sigaltstack(&ss, NULL));
	MUST(sigaction(SIGUSR1, &sa, NULL));
	if (has_avx())
		raise_avx(out);
	else
		raise_sse(out);

	CHECK(got.flags & UC_FP_XSTATE, "uc_flags %#lx lack UC_FP_XSTATE", got.flags);
	CHECK(got.sw.magic1 == MAGIC1, "magic1 %#x", got.sw.magic1);
	CHECK(got.magic2 == MAGIC2, "magic2 %#x behind %u bytes", got.magic2, got.sw.xstate_size);
	CHECK(got.sw.extended_size >= got.sw.xstate_size + 4, "extended size %u, xstate size %u", got.sw.extended_size, got.sw.xstate_size);
	uint64_t vector = xcr0() & 0xe7;
	CHECK((got.sw.xfeatures & vector) == vector, "xfeatures %#lx, enabled are %#lx", got.sw.xfeatures, vector);
	CHECK((got.xstate_bv & ~got.sw.xfeatures) == 0, "XSTATE_BV %#lx outside of xfeatures %#lx", got.xstate_bv, got.sw.xfeatures);
	CHECK((got.fpstate & 63) == 0, "extended state at %#lx is not aligned to 64 bytes", got.fpstate);
	CHECK(memcmp(got.seen, before, 16) == 0, "the frame holds \"%.16s\" for xmm7", got.seen);
	CHECK(memcmp(out, after, 16) == 0, "the handler's change of xmm7 is lost: \"%.16s\"", out);
	if (has_avx())
		CHECK(memcmp(out + 16, ymm_after, 16) == 0, "the handler's change of ymm7's upper half is lost");

	unsigned long min = getauxval(AT_MINSIGSTKSZ);
	size_t used = (uintptr_t)alt + altsize - got.sp;
	CHECK(min, "AT_MINSIGSTKSZ is missing");
	CHECK(min >= got.sw.extended_size && min < 64 << 10, "AT_MINSIGSTKSZ %lu, extended state %u", min, got.sw.extended_size);
	CHECK(used <= min + 256, "the frame took %zu bytes, AT_MINSIGSTKSZ says %lu", used, min);

	/* A stack of that size and a little for the handler is enough. */
	ss.ss_size = min + 2048;
	ss.ss_sp = alt;
	memset(alt, 0x5a, PAGE);
	MUST(sigaltstack(&ss, NULL));
	raise(SIGUSR1);
	CHECK(got.sp > (uintptr_t)alt && got.sp < (uintptr_t)alt + ss.ss_size, "the handler left the small stack");

	/* AT_HWCAP2 bit 1 says whether user code may write FS and GS bases. */
	catch_faults();
	unsigned long base = 0;
	TRY(asm volatile("rdgsbase %0" : "+r"(base)));
	int works = fault.signal == 0;
	CHECK(has_fsgsbase() == works, "AT_HWCAP2 %#lx, but rdgsbase %s", getauxval(AT_HWCAP2), works ? "works" : "does not work");
	puts("ok");
	return 0;
}
