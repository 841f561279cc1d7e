// SPDX-License-Identifier: Apache-2.0
// Every vector register keeps its value over whatever can happen between two
// instructions: system calls, faults, traps, signals that use them all,
// switches between threads and processes, and fork.
#include "quirk.h"
#include <pthread.h>
#include <sys/time.h>

typedef struct {
	uint64_t vec[32][8]; /* zmm0-31, as much of it as exists */
	uint64_t k[8];
	uint32_t mxcsr, pad;
	unsigned char x87[8][16];
} __attribute__((aligned(64))) regs_t;

/* What happens between load and store; all by the one asm block below. */
typedef struct {
	long nr, a, b, c; /* system call, or -1 */
	uint64_t spins;   /* loop iterations */
	char *touch;      /* byte to write, or NULL */
	uint64_t trap;    /* 1: int3 */
	long result;
	uint64_t gate; /* make the call through the gate */
} event_t;

#define EACH8(op) op(0) op(1) op(2) op(3) op(4) op(5) op(6) op(7)
#define EACH16(op) EACH8(op) op(8) op(9) op(10) op(11) op(12) op(13) op(14) op(15)
#define EACH32(op) EACH16(op) op(16) op(17) op(18) op(19) op(20) op(21) op(22) op(23) \
	op(24) op(25) op(26) op(27) op(28) op(29) op(30) op(31)
#define XLOAD(n) "movdqu 64*" #n "(%[in]), %%xmm" #n "\n"
#define XSTORE(n) "movdqu %%xmm" #n ", 64*" #n "(%[out])\n"
#define YLOAD(n) "vmovdqu 64*" #n "(%[in]), %%ymm" #n "\n"
#define YSTORE(n) "vmovdqu %%ymm" #n ", 64*" #n "(%[out])\n"
#define ZLOAD(n) "vmovdqu64 64*" #n "(%[in]), %%zmm" #n "\n"
#define ZSTORE(n) "vmovdqu64 %%zmm" #n ", 64*" #n "(%[out])\n"
#define KLOAD(n) "kmovq 2048+8*" #n "(%[in]), %%k" #n "\n"
#define KSTORE(n) "kmovq %%k" #n ", 2048+8*" #n "(%[out])\n"
#define FLOAD(n) "fldt 2120+16*(7-" #n ")(%[in])\n"
#define FSTORE(n) "fstpt 2120+16*" #n "(%[out])\n"

/* The call's number and arguments are in rax, rdi, rsi, rdx; r12 is the event. */
#define EVENT                                    \
	"mov 32(%%r12), %%rcx\n"                 \
	"1: dec %%rcx\n jns 1b\n"                \
	"mov 40(%%r12), %%rcx\n"                 \
	"test %%rcx, %%rcx\n jz 2f\n"            \
	"movb $1, (%%rcx)\n"                     \
	"2: cmpq $0, 48(%%r12)\n je 3f\n"        \
	"int3\n"                                 \
	"3: cmpq $-1, (%%r12)\n je 5f\n"         \
	"mov (%%r12), %%rax\n mov 8(%%r12), %%rdi\n mov 16(%%r12), %%rsi\n mov 24(%%r12), %%rdx\n" \
	"xor %%r10d, %%r10d\n xor %%r8d, %%r8d\n xor %%r9d, %%r9d\n" \
	"cmpq $0, 64(%%r12)\n je 4f\n"           \
	"lea 6f(%%rip), %%rcx\n jmp *64(%%r12)\n" \
	"4: syscall\n"                           \
	"6: mov %%rax, 56(%%r12)\n"              \
	"5:\n"

#define TRIAL(name, target_, LOADS, STORES, EXTRA)                                                     \
	static __attribute__((target(target_), noinline)) void name(const regs_t *in, regs_t *out, event_t *e) \
	{                                                                                              \
		register event_t *r12 asm("r12") = e;                                                  \
		asm volatile("fninit\n" EACH8(FLOAD) "ldmxcsr 2112(%[in])\n" LOADS EVENT               \
			     STORES "stmxcsr 2112(%[out])\n" EACH8(FSTORE) EXTRA                       \
			     : : [in] "r"(in), [out] "r"(out), "r"(r12)                                \
			     : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory", "cc", VECS); \
	}
#define VECS "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", \
	     "xmm12", "xmm13", "xmm14", "xmm15"

TRIAL(trial_sse, "sse2", EACH16(XLOAD), EACH16(XSTORE), "")
TRIAL(trial_avx, "avx", EACH16(YLOAD), EACH16(YSTORE), "vzeroupper\n")
#undef VECS
#define VECS "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", \
	     "xmm12", "xmm13", "xmm14", "xmm15", "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", \
	     "xmm23", "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31", \
	     "k1", "k2", "k3", "k4", "k5", "k6", "k7"
TRIAL(trial_avx512, "avx512f,avx512bw", EACH32(ZLOAD) EACH8(KLOAD), EACH32(ZSTORE) EACH8(KSTORE), "vzeroupper\n")

_Static_assert(offsetof(regs_t, k) == 2048 && offsetof(regs_t, mxcsr) == 2112 && offsetof(regs_t, x87) == 2120, "asm offsets");
_Static_assert(offsetof(event_t, spins) == 32 && offsetof(event_t, result) == 56 && offsetof(event_t, gate) == 64, "asm offsets");

static void (*trial)(const regs_t *, regs_t *, event_t *);
static int nvec, words; /* vector registers, 64-bit words of each */
static uint64_t gate;

static void fill(regs_t *r, uint64_t *seed)
{
	for (size_t i = 0; i < sizeof *r / 8; i++)
		((uint64_t *)r)[i] = next_random(seed);
	r->mxcsr = 0x1f80 | (next_random(seed) & 3) << 13 | (next_random(seed) & 0x3f);
	for (int i = 0; i < 8; i++) {
		/* A normal number, so that loading and storing keep every bit. */
		r->x87[i][7] |= 0x80;
		r->x87[i][8] = next_random(seed);
		r->x87[i][9] = 0x3f;
	}
}

static void compare(const regs_t *in, const regs_t *out, const char *what, int round)
{
	for (int r = 0; r < nvec; r++)
		for (int w = 0; w < words; w++)
			CHECK(in->vec[r][w] == out->vec[r][w], "%s, round %d: vector %d bits %d-%d: %#lx, want %#lx",
			      what, round, r, w * 64, w * 64 + 63, out->vec[r][w], in->vec[r][w]);
	for (int r = 0; r < 8 && nvec == 32; r++)
		CHECK(in->k[r] == out->k[r], "%s, round %d: k%d: %#lx, want %#lx", what, round, r, out->k[r], in->k[r]);
	CHECK(in->mxcsr == out->mxcsr, "%s, round %d: mxcsr %#x, want %#x", what, round, out->mxcsr, in->mxcsr);
	for (int r = 0; r < 8; r++)
		CHECK(memcmp(in->x87[r], out->x87[r], 10) == 0, "%s, round %d: st%d changed", what, round, r);
}

static void once(event_t e, const char *what, int round, uint64_t *seed)
{
	regs_t in, out;

	fill(&in, seed);
	memset(&out, 0, sizeof out);
	trial(&in, &out, &e);
	uint32_t clean = 0x1f80;
	asm volatile("ldmxcsr %0\n fninit" : : "m"(clean));
	compare(&in, &out, what, round);
	if (e.nr == SYS_fork) {
		CHECK(e.result >= 0, "fork: %ld", e.result);
		if (e.result == 0)
			_exit(0);
		CHECK(reap(e.result) == 0, "%s, round %d: the child's registers differ", what, round);
	}
}

/* A handler that leaves nothing as it was. */
static void dirty(int sig)
{
	static __thread uint64_t seed = 99;
	regs_t in, out;
	event_t nothing = { .nr = -1 };

	(void)sig;
	fill(&in, &seed);
	trial(&in, &out, &nothing);
}

static void mix(int rounds, uint64_t seed, int with_fork)
{
	for (int i = 0; i < rounds; i++) {
		int gates = gate && (i & 1);
		event_t call = { .nr = SYS_getppid, .gate = gates ? gate : 0 };
		once(call, "system call", i, &seed);
		once((event_t){ .nr = SYS_sched_yield, .gate = call.gate }, "yield", i, &seed);
		once((event_t){ .nr = -1, .spins = 20000 }, "spinning", i, &seed);
		once((event_t){ .nr = -1, .trap = 1 }, "trap", i, &seed);
		once((event_t){ .nr = SYS_tgkill, .a = getpid(), .b = gettid(), .c = SIGUSR1, .gate = call.gate }, "signal", i, &seed);
		char *page = map_anon(PAGE, PROT_READ | PROT_WRITE);
		once((event_t){ .nr = -1, .touch = page }, "page fault", i, &seed);
		munmap(page, PAGE);
		struct timespec nap = { 0, 50000 };
		if (i % 8 == 0)
			once((event_t){ .nr = SYS_nanosleep, .a = (long)&nap, .gate = call.gate }, "sleep", i, &seed);
		if (with_fork && i % 16 == 0)
			once((event_t){ .nr = SYS_fork, .gate = call.gate }, "fork", i, &seed);
	}
}

static int rounds = 1500;

static void *thread(void *arg)
{
	mix(rounds, (uintptr_t)arg * 7919 + 1, 0);
	return NULL;
}

int main(void)
{
	gate = getauxval(AT_PARACELL_GATE);
	if (emulated())
		rounds = 100;
	if (has_avx512()) {
		trial = trial_avx512;
		nvec = 32;
		words = 8;
	} else if (has_avx()) {
		trial = trial_avx;
		nvec = 16;
		words = 4;
	} else {
		trial = trial_sse;
		nvec = 16;
		words = 2;
	}
	struct sigaction sa = { .sa_handler = dirty, .sa_flags = SA_RESTART };
	MUST(sigaction(SIGUSR1, &sa, NULL));
	MUST(sigaction(SIGTRAP, &sa, NULL));
	MUST(sigaction(SIGALRM, &sa, NULL));

	mix(rounds, 1, 1);
	/* Timer signals at any place, processes and threads side by side. */
	struct itimerval every = { { 0, 700 }, { 0, 700 } };
	pid_t pids[3];
	for (int i = 0; i < 3; i++) {
		pids[i] = MUST(fork());
		if (!pids[i]) {
			MUST(setitimer(ITIMER_REAL, &every, NULL));
			mix(rounds, i + 2, 0);
			_exit(0);
		}
	}
	MUST(setitimer(ITIMER_REAL, &every, NULL));
	pthread_t t[4];
	for (intptr_t i = 0; i < 4; i++)
		CHECK(!pthread_create(&t[i], NULL, thread, (void *)(i + 10)), "pthread_create");
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	for (int i = 0; i < 3; i++)
		CHECK(reap(pids[i]) == 0, "process %d failed", i);
	printf("ok (%d registers of %d bits)\n", nvec, words * 64);
	return 0;
}
