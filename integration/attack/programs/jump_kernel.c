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
	/* Anywhere in its text, also into the middle of instructions. */
	uint64_t text = value("kernel._stext"), size = value("kernel._etext") - text;
	int places = emulated() ? 60 : 300;
	attempt_seconds = 1;
	attempt_spoils = 1;
	for (int i = 0; keys && i < places; i++) {
		jump_prepare(text + size / places * i + i % 7);
		if (attempt() == SUCCEEDED)
			GAINED("the kernel's text at %#lx", jump_in.ip);
	}
	attempt_seconds = 10;
	attempt_spoils = 0;
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
