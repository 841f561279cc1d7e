/* SPDX-License-Identifier: GPL-2.0 */
/* System calls from the vDSO: through the gate, without a syscall instruction. */
#ifndef __UM_VDSO_GATE_H
#define __UM_VDSO_GATE_H

#include <asm/paracell_abi.h>
#include <asm/unistd.h>

/*
 * The gate wants the return address in rcx, gives back the flags in r11 and
 * keeps all other registers and the stack.
 */
static __always_inline long vdso_gate_call(long nr, long a0, long a1, long a2)
{
	asm volatile("movabs	%[gate], %%r11\n\t"
		     "lea	1f(%%rip), %%rcx\n\t"
		     "jmp	*%%r11\n"
		     "1:"
		     : "+a" (nr)
		     : "D" (a0), "S" (a1), "d" (a2),
		       [gate] "i" (PARACELL_MONITOR_BASE + PARACELL_ENTRY_GATE)
		     : "rcx", "r11", "memory", "cc");
	return nr;
}

#endif
