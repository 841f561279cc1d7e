// SPDX-License-Identifier: Apache-2.0
// Exceptions arrive as the signals that x86-64 Linux sends for them, with its
// codes and addresses; the trap number, error code and address in a frame are
// those of the last exception that led to a signal, not of a page fault that
// the kernel has put right since.
#include "quirk.h"
#include <ucontext.h>

static volatile struct { long trap, error, address; } frame;

static void look(int sig, siginfo_t *info, void *context)
{
	greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;

	(void)sig, (void)info;
	frame.trap = regs[REG_TRAPNO];
	frame.error = regs[REG_ERR];
	frame.address = regs[REG_CR2];
}

static void flags_or(unsigned long bits)
{
	asm volatile("pushfq\n orq %0, (%%rsp)\n popfq" : : "r"(bits) : "memory", "cc");
}

static void flags_clear(unsigned long bits)
{
	asm volatile("pushfq\n andq %0, (%%rsp)\n popfq" : : "r"(~bits) : "memory", "cc");
}

#define EXPECT(sig_, code_, what)                                              \
	CHECK(fault.signal == (sig_) && fault.code == (code_),                  \
	      "%s: signal %d code %d, want %d %d", what, fault.signal, fault.code, sig_, code_)

int main(void)
{
	struct sigaction sa = { .sa_sigaction = look, .sa_flags = SA_SIGINFO };
	volatile int zero = 0;
	volatile uintptr_t low = 8;
	unsigned char *page;

	/* No exception yet, in spite of all the page faults of a start. */
	MUST(sigaction(SIGUSR1, &sa, NULL));
	page = map_anon(PAGE, PROT_READ | PROT_WRITE);
	*(volatile unsigned char *)page = 1;
	raise(SIGUSR1);
	CHECK(!frame.trap && !frame.error && !frame.address, "before any exception: trap %ld error %ld address %#lx",
	      frame.trap, frame.error, frame.address);

	catch_faults();
	TRY(*(volatile int *)low = 1);
	EXPECT(SIGSEGV, SEGV_MAPERR, "write to address 8");
	CHECK(fault.addr == (void *)8, "address %p", fault.addr);
	page = map_anon(PAGE, PROT_READ | PROT_WRITE);
	*(volatile unsigned char *)page = 1;
	raise(SIGUSR1);
	CHECK(frame.trap == 14 && frame.error == 6 && frame.address == 8, "after a write to 8: trap %ld error %ld address %#lx",
	      frame.trap, frame.error, frame.address);

	MUST(mprotect(page, PAGE, PROT_READ));
	TRY(*(volatile unsigned char *)page = 1);
	EXPECT(SIGSEGV, SEGV_ACCERR, "write to a read-only page");
	CHECK(fault.addr == page, "address %p, want %p", fault.addr, page);
	raise(SIGUSR1);
	CHECK(frame.error == 7 && frame.address == (long)page, "error %ld address %#lx", frame.error, frame.address);

	TRY((void)*(volatile long *)0x8000000000000000);
	EXPECT(SIGSEGV, SI_KERNEL, "address that is not canonical");
	raise(SIGUSR1);
	CHECK(frame.trap == 13 && frame.address == (long)page, "trap %ld address %#lx", frame.trap, frame.address);
	TRY(asm volatile("hlt"));
	EXPECT(SIGSEGV, SI_KERNEL, "privileged instruction");
	TRY(asm volatile("ud2"));
	EXPECT(SIGILL, ILL_ILLOPN, "ud2");
	TRY(asm volatile("int3"));
	EXPECT(SIGTRAP, SI_KERNEL, "int3");
	TRY(asm volatile("xor %%edx, %%edx\n mov $1, %%eax\n divl %0" : : "m"(zero) : "eax", "edx"));
	EXPECT(SIGFPE, FPE_INTDIV, "division by zero");

	TRY(flags_or(0x100); asm volatile("nop\n nop"));
	EXPECT(SIGTRAP, TRAP_TRACE, "trap flag");

	/* QEMU has no alignment check and no unmasked SSE exceptions. */
	if (!emulated()) {
		TRY(flags_or(0x40000); asm volatile("movl %%eax, 1(%0)" : : "r"(&frame) : "memory"));
		flags_clear(0x40000);
		EXPECT(SIGBUS, BUS_ADRALN, "alignment check");

		unsigned unmasked = 0x1f80 & ~0x200, masked = 0x1f80;
		double one = 1, nothing = 0;
		TRY(asm volatile("ldmxcsr %0\n movsd %1, %%xmm0\n divsd %2, %%xmm0"
				 : : "m"(unmasked), "m"(one), "m"(nothing) : "xmm0"));
		asm volatile("ldmxcsr %0" : : "m"(masked));
		EXPECT(SIGFPE, FPE_FLTDIV, "SSE division by zero");
	}
	puts("ok");
	return 0;
}
