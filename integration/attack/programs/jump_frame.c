// SPDX-License-Identifier: Apache-2.0
// Jump to the signal entry with the stack pointer at every place where the host
// could have put a frame, and at frames of one's own (rule 5).
#include "attack.h"

int attack(void)
{
	uint64_t entry = value("monitor.sig_entry"), stack = value("monitor.altstack");
	uint64_t *forged = (uint64_t *)&landing_stack[512];
	/* As a page of the kernel's could be named as stack, so can one where it
	 * shows. In a virtual machine the user may push there by itself. */
	uint64_t *shared = MUST(mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));

	memset(shared, 0, 2 * PAGE);
	jump_prepare(entry);
	jump_in.sp = (uint64_t)shared + PAGE;
	jump_also = (uint8_t *)shared;
	attempt();
	jump_also = NULL;
	for (size_t i = 0; i < 2 * PAGE / 8; i++)
		if (shared[i] && value("process"))
			GAINED("the monitor has used the stack that it was told to, %#lx at %zu", shared[i], i);
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
