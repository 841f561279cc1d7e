// SPDX-License-Identifier: Apache-2.0
// Return from a signal into a context that no user may have: other segments,
// privileged flags, an FP image that loads PKRU (rules 2 and 4).
#include "attack.h"

static int round_;
static struct fpstate_tail { uint32_t magic1, extended_size; uint64_t xfeatures; uint32_t xstate_size; } *tail;

static void forge(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	greg_t *gregs = uc->uc_mcontext.gregs;
	uint8_t *fp = (uint8_t *)uc->uc_mcontext.fpregs;

	(void)sig;
	(void)info;
	switch (round_) {
	case 0: /* ring 0 segments */
		gregs[REG_CSGSFS] = 0x10 | (uint64_t)0x18 << 48;
		break;
	case 1: /* IOPL 3, NT, VM, VIF */
		gregs[REG_EFL] |= 0x3000 | 0x4000 | 0x20000 | 0x80000;
		break;
	case 2: /* PKRU 0 in the image */
		tail = (struct fpstate_tail *)(fp + 464);
		tail->xfeatures |= 1 << 9;
		*(uint64_t *)(fp + 512) |= 1 << 9;
		break;
	case 3: /* a header that XRSTOR refuses */
		memset(fp + 512, 0xff, 64);
		break;
	case 4:
		gregs[REG_RSP] = PARACELL_CONTROL_BASE;
		break;
	case 5:
		uc->uc_mcontext.fpregs = (void *)PARACELL_CONTROL_BASE;
		break;
	case 6:
		uc->uc_mcontext.fpregs = (void *)0x1234800000000000;
		break;
	case 7:
		gregs[REG_RIP] = 0x1234800000000000;
		break;
	case 8:
		gregs[REG_CSGSFS] = 0xffffffffffffffff;
		break;
	}
}

/* A return from a signal that there was none of, with a stack pointer anywhere. */
static void anywhere(void)
{
	const uint64_t stacks[] = {
		0, 1, 8, PARACELL_PHYS_BASE + PARACELL_KERNEL_GPA, value("kernel.init_task"), PARACELL_CONTROL_BASE,
		PARACELL_MONITOR_BASE, value("monitor.altstack") + 0x8000, value("monitor.selector"), PARACELL_VMALLOC_BASE,
		PARACELL_USER_MAX - 8, PARACELL_USER_MAX, 0x00007ffffffffff8, 0x1234800000000000, 0xffffffffff600000, ~7ul,
		(uint64_t)landing_stack, (uint64_t)&landing_stack[1024] - 8, (uint64_t)landing_stack + 3,
	};

	for (size_t i = 0; i < sizeof stacks / sizeof *stacks; i++) {
		/* Where it is one's own: a frame of nothing but addresses to go on at. */
		jump_prepare(GATE);
		jump_in.sp = stacks[i];
		jump_in.ax = SYS_rt_sigreturn;
		jump_in.cx = landing_place();
		if (attempt() == SUCCEEDED)
			GAINED("a return from a signal at %#lx", stacks[i]);
	}
}

int attack(void)
{
	anywhere();
	struct sigaction sa = { .sa_sigaction = forge, .sa_flags = SA_SIGINFO };

	MUST(sigaction(SIGUSR1, &sa, NULL));
	for (round_ = 0; round_ < 9; round_++) {
		int status;
		pid_t pid = MUST(fork());

		if (pid == 0) {
			guarding = 1;
			raise(SIGUSR1);
			uint64_t flags;

			asm volatile("pushfq\n pop %0\n pushq $2\n popfq" : "=r"(flags));
			_exit(inside() || (flags & 0xa7000) ? SUCCEEDED : STOPPED);
		}
		MUST(waitpid(pid, &status, 0));
		if (WIFEXITED(status) && WEXITSTATUS(status) == SUCCEEDED)
			GAINED("forged context %d", round_);
	}
	return STOPPED;
}
