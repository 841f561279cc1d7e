// SPDX-License-Identifier: Apache-2.0
// FS, GS and segment registers of the attacker's choice at the gate, in a trap
// and over a switch (rule 4): the kernel uses none of them.
#include "attack.h"
#include <sched.h>

enum { ARCH_SET_GS = 0x1001, ARCH_SET_FS = 0x1002, ARCH_GET_FS = 0x1003, ARCH_GET_GS = 0x1004 };

static int fsgsbase(void) { return getauxval(AT_HWCAP2) >> 1 & 1; }

/* The bases change in a stretch of code that needs no thread pointer. */
static uint64_t with_bases(uint64_t fs, uint64_t gs, long how)
{
	uint64_t result, old_fs, got_gs;

	asm volatile("rdfsbase %[old]\n"
		     "wrfsbase %[fs]\n wrgsbase %[gs]\n"
		     "mov %[how], %%eax\n"
		     "test %%eax, %%eax\n jz 1f\n"
		     "mov $39, %%eax\n lea 2f(%%rip), %%rcx\n jmp *%[gate]\n" /* getpid by the gate */
		     "1: mov $39, %%eax\n syscall\n"
		     "2: rdgsbase %[got]\n"
		     "wrfsbase %[old]\n"
		     : "=&a"(result), [old] "=&r"(old_fs), [got] "=&r"(got_gs)
		     : [fs] "r"(fs), [gs] "r"(gs), [how] "r"((int)how), [gate] "r"(GATE)
		     : "rcx", "r11", "memory");
	if (got_gs != gs)
		GAINED("gs base %#lx became %#lx", gs, got_gs);
	return result;
}

int attack(void)
{
	const uint64_t bases[] = {
		0, 1, PAGE, PARACELL_CONTROL_BASE, PARACELL_PHYS_BASE, PARACELL_MONITOR_BASE, value("monitor.in_user"),
		value("monitor.selector"), PARACELL_USER_MAX - 1, 0x00007fffffffffff,
	};
	static const unsigned selectors[] = { 0, 1, 2, 3, 0x2b, 0x23, 0x33, 0x10, 0x18, 0x63, 0x7b, 0xfff8, 0xffff };

	if (fsgsbase())
		for (size_t i = 0; i < sizeof bases / sizeof *bases; i++)
			for (size_t k = 0; k < sizeof bases / sizeof *bases; k++)
				for (int how = 0; how < 2; how++)
					if (with_bases(bases[i], bases[k], how) != (uint64_t)getpid())
						GAINED("getpid with fs %#lx gs %#lx", bases[i], bases[k]);
	for (size_t i = 0; i < sizeof bases / sizeof *bases; i++) {
		if (syscall(SYS_arch_prctl, ARCH_SET_GS, bases[i]) == 0) {
			sched_yield();
			if (gate(SYS_getpid, 0, 0, 0) != getpid())
				GAINED("getpid with gs %#lx", bases[i]);
		}
	}
	if (syscall(SYS_arch_prctl, ARCH_SET_GS, 0xffff800000000000) == 0 || syscall(SYS_arch_prctl, ARCH_SET_FS, 0xffff800000000000) == 0)
		GAINED("a base in the upper half");
	/* Selectors: what the processor loads makes no difference, the rest traps. */
	for (size_t i = 0; i < sizeof selectors / sizeof *selectors; i++) {
		pid_t pid = MUST(fork());
		int status;

		if (pid == 0) {
			alarm(10);
			TRY(asm volatile("mov %0, %%ds" : : "r"(selectors[i])));
			TRY(asm volatile("mov %0, %%es" : : "r"(selectors[i])));
			TRY(asm volatile("mov %0, %%gs" : : "r"(selectors[i])));
			for (int n = 0; n < 20; n++) {
				if (gate(SYS_getppid, 0, 0, 0) != getppid())
					_exit(SUCCEEDED);
				sched_yield();
			}
			_exit(inside() ? SUCCEEDED : STOPPED);
		}
		while (waitpid(pid, &status, 0) != pid)
			;
		if (WIFEXITED(status) && WEXITSTATUS(status) == SUCCEEDED)
			GAINED("selector %#x", selectors[i]);
	}
	return STOPPED;
}
