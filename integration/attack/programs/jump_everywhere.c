// SPDX-License-Identifier: Apache-2.0
// Jump to every byte of the monitor's assembly code (rules 2 to 5): tails of
// gates, popfq and jmp, iretq, xrstor, wrfsbase, and the middle of instructions.
#include "attack.h"

int attack(void)
{
	/* A control knows what it is looking for. */
	uint64_t from = control() ? value("monitor.fp_restore") : GATE, end = value("monitor._start");

	/* An image for xrstor that opens everything: PKRU 0 in both formats. */
	((uint64_t *)jump_area)[64] = 1 << 9;
	/* With two page tables the user has the code of the first bytes only; the
	 * rest is not mapped, and one place in it is like another. */
	uint64_t mapped = value("isolation") == 2 ? GATE + 64 : end;
	for (uint64_t ip = from; ip < end; ip += ip < mapped ? 1 : 61) {
		if (near_iret(ip))
			continue;
		jump_prepare(ip);
		jump_in.ax = PARACELL_KERNEL_PKRU | 1 << 9;
		if (ip & 1)
			jump_in.ax = PARACELL_KERNEL_PKRU;
		jump_in.cx = jump_in.dx = 0;
		jump_in.di = (uint64_t)jump_area;
		if (attempt() == SUCCEEDED)
			GAINED("jump to %#lx", ip);
	}
	return STOPPED;
}
