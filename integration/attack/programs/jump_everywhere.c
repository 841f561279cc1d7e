// SPDX-License-Identifier: Apache-2.0
// Jump to every byte of the monitor's assembly code (rules 2 to 5): tails of
// gates, popfq and jmp, iretq, xrstor, wrfsbase, and the middle of instructions.
#include "attack.h"

int attack(void)
{
	uint64_t from = GATE, end = value("monitor._start");
	static uint8_t area[4096] __attribute__((aligned(64)));

	/* An image for xrstor that opens everything: PKRU 0 in both formats. */
	memset(area, 0, sizeof area);
	((uint64_t *)area)[64] = 1 << 9;
	for (uint64_t ip = from; ip < end; ip++) {
		jump_prepare(ip);
		jump_in.ax = PARACELL_KERNEL_PKRU | 1 << 9;
		if (ip & 1)
			jump_in.ax = PARACELL_KERNEL_PKRU;
		jump_in.cx = jump_in.dx = 0;
		jump_in.di = (uint64_t)area;
		if (attempt() == SUCCEEDED)
			GAINED("jump to %#lx", ip);
	}
	return STOPPED;
}
