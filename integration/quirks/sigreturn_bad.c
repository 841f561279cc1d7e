// SPDX-License-Identifier: Apache-2.0
// What a handler writes into its frame is judged before it is used: images and
// segments that the processor would refuse end the program, privileged flags
// are ignored, a frame without extended state is taken as far as it goes.
#include "quirk.h"
#include <sys/resource.h>
#include <ucontext.h>

enum { HEADER = 512, SW_BYTES = 464 };

static unsigned char *image(void *context)
{
	return (void *)((ucontext_t *)context)->uc_mcontext.fpregs;
}

static void set64(unsigned char *p, uint64_t v)
{
	memcpy(p, &v, sizeof v);
}

static void bad_mxcsr(int sig, siginfo_t *info, void *context)
{
	(void)sig, (void)info;
	((ucontext_t *)context)->uc_mcontext.fpregs->mxcsr = 0xffffffff;
}

static void bad_header(int sig, siginfo_t *info, void *context)
{
	(void)sig, (void)info;
	set64(image(context) + HEADER + 16, 1);
}

static void compacted(int sig, siginfo_t *info, void *context)
{
	(void)sig, (void)info;
	set64(image(context) + HEADER + 8, 1ull << 63);
}

static void unknown_component(int sig, siginfo_t *info, void *context)
{
	(void)sig, (void)info;
	set64(image(context) + HEADER, 1ull << 62);
}

static void bad_segment(int sig, siginfo_t *info, void *context)
{
	(void)sig, (void)info;
	((ucontext_t *)context)->uc_mcontext.gregs[REG_CSGSFS] = 0x002b000000000010;
}

static void privileged_flags(int sig, siginfo_t *info, void *context)
{
	greg_t *flags = &((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL];

	(void)sig, (void)info;
	*flags |= 0x3000 | 0x20000 | 0x180000; /* IOPL, VM, VIF, VIP */
	*flags &= ~0x200ll;		       /* IF */
}

static void no_image(int sig, siginfo_t *info, void *context)
{
	(void)sig, (void)info;
	((ucontext_t *)context)->uc_mcontext.fpregs = NULL;
}

/* A program older than XSAVE: no magic number, changes xmm3 in the FXSAVE part. */
static void legacy(int sig, siginfo_t *info, void *context)
{
	float f = 42;

	(void)sig, (void)info;
	memset(image(context) + SW_BYTES, 0, 48);
	memcpy(image(context) + 160 + 3 * 16, &f, sizeof f);
}

/* The exit status of a child that returns from such a handler. */
static int child(void (*handler)(int, siginfo_t *, void *))
{
	struct sigaction sa = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO };
	struct rlimit none = { 0, 0 };
	pid_t pid = MUST(fork());

	if (!pid) {
		MUST(setrlimit(RLIMIT_CORE, &none));
		MUST(sigaction(SIGUSR1, &sa, NULL));
		raise(SIGUSR1);
		_exit(0);
	}
	return reap(pid);
}

int main(void)
{
	static const struct {
		const char *what;
		void (*handler)(int, siginfo_t *, void *);
		int want;
	} cases[] = {
		{ "reserved bytes of the XSAVE header", bad_header, 128 + SIGSEGV },
		{ "a compacted image", compacted, 128 + SIGSEGV },
		{ "an unknown component", unknown_component, 128 + SIGSEGV },
		{ "reserved bits of MXCSR", bad_mxcsr, 128 + SIGSEGV },
		{ "a kernel code segment", bad_segment, 128 + SIGSEGV },
		{ "privileged flags", privileged_flags, 0 },
		{ "no FP state", no_image, 0 },
	};
	struct sigaction sa = { .sa_sigaction = legacy, .sa_flags = SA_SIGINFO };
	long nr = SYS_tgkill;
	float f = 1;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		/* QEMU does not check what XRSTOR loads. */
		if (emulated() && !in_cell() && cases[i].want)
			continue;
		int got = child(cases[i].handler);
		CHECK(got == cases[i].want, "%s: status %d, want %d", cases[i].what, got, cases[i].want);
	}

	MUST(sigaction(SIGUSR1, &sa, NULL));
	asm volatile("movss %[f], %%xmm3\n syscall\n movss %%xmm3, %[f]"
		     : "+a"(nr), [f] "+m"(f)
		     : "D"((long)getpid()), "S"((long)gettid()), "d"((long)SIGUSR1)
		     : "rcx", "r11", "memory", "xmm3");
	CHECK(f == 42, "xmm3 from an FXSAVE frame is %f", f);
	puts("ok");
	return 0;
}
