// SPDX-License-Identifier: Apache-2.0
// Jump to every wrpkru of the gates with every kind of operands (rule 3).
#include "attack.h"

int attack(void)
{
	static const uint32_t wanted[] = {
		0, PARACELL_KERNEL_PKRU, PARACELL_USER_PKRU, PARACELL_USER_PKRU & ~0xcu, 0x55555550, ~0u,
	};
	uint64_t sites[32], top = value("monitor.altstack") + 0x10000;
	uint64_t stacks[] = { 0, top, top - 64, 0x1234800000000000, PARACELL_CONTROL_BASE + 4096 };
	int n = values("wrpkru", sites, 32);

	for (int i = 0; i < n; i++)
		for (size_t w = 0; w < sizeof wanted / sizeof *wanted; w++)
			for (size_t s = 0; s < sizeof stacks / sizeof *stacks; s++) {
				/* The registers are checked first: once is enough. */
				if (s && wanted[w] != PARACELL_KERNEL_PKRU)
					continue;
				jump_prepare(sites[i]);
				jump_in.ax = wanted[w];
				jump_in.cx = jump_in.dx = 0;
				if (stacks[s])
					jump_in.sp = stacks[s];
				if (attempt() == SUCCEEDED)
					GAINED("wrpkru at %#lx with eax %#x, rsp %#lx", sites[i], wanted[w], jump_in.sp);
			}
	/* ecx and edx have to be 0; the processor sees to it. */
	jump_prepare(sites[0]);
	jump_in.ax = 0;
	if (attempt() == SUCCEEDED)
		GAINED("wrpkru at %#lx with ecx %#lx", sites[0], jump_in.cx);
	return STOPPED;
}
