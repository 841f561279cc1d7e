// SPDX-License-Identifier: Apache-2.0
// Jump to functions of the kernel (rule 2): they run with the user's rights
// and fault on the first access to memory of the kernel.
#include "attack.h"

int attack(void)
{
	static const char *const functions[] = {
		"kernel.commit_creds", "kernel.kernel_restart", "kernel.paracell_userspace", "kernel.panic",
	};
	uint64_t buffer = 0;

	/* Without keys everything below works, and ends the cell. */
	for (size_t i = 0; keys && i < sizeof functions / sizeof *functions; i++) {
		jump_prepare(value(functions[i]));
		jump_in.di = jump_in.si = (uint64_t)"called by the user";
		if (attempt() == SUCCEEDED)
			GAINED("%s", functions[i]);
	}
	/* The monitor's entry points for the kernel. */
	for (int i = 0; keys && i < 4; i++) {
		jump_prepare(PARACELL_MONITOR_BASE + i * 0x40);
		jump_in.di = PARACELL_CALL_EXIT;
		if (attempt() == SUCCEEDED)
			GAINED("monitor entry %d", i);
	}
	/* A gadget that copies. */
	jump_prepare(value("kernel.memcpy"));
	jump_in.di = (uint64_t)&buffer;
	jump_in.si = value("kernel.init_task");
	jump_in.dx = jump_in.cx = 8;
	if (TRY(jump_go()) == 0)
		GAINED("the kernel's memcpy read %#lx", buffer);
	return STOPPED;
}
