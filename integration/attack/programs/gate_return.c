// SPDX-License-Identifier: Apache-2.0
// Go through the gate with a return address that is not the user's (rules 2
// and 4).
#include "attack.h"

int attack(void)
{
	const uint64_t places[] = {
		0, 1, 0x0000800000000000, 0x7ffffffff000, 0x8000000000000000, 0x1234800000000000, 0xffffffff81000000, ~0ul,
		PARACELL_USER_MAX, PARACELL_VMALLOC_BASE, PARACELL_CONTROL_BASE, value("monitor.in_user"),
	};
	const uint64_t code[] = {
		value("kernel.panic"), value("kernel.commit_creds"), PARACELL_MONITOR_BASE,
		value("monitor.sig_entry"), value("monitor.exit_gate"),
	};

	for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
		jump_prepare(GATE);
		jump_in.ax = SYS_getpid;
		jump_in.cx = places[i];
		if (TRY(jump_go()) == 0)
			GAINED("it returned from %#lx", places[i]);
	}
	/* Without keys the user can run these for good. */
	if (!keys && !control())
		return STOPPED;
	for (size_t i = 0; i < sizeof code / sizeof *code; i++) {
		jump_prepare(GATE);
		jump_in.ax = SYS_getpid;
		jump_in.cx = code[i];
		if (attempt() == SUCCEEDED)
			GAINED("return to %#lx", code[i]);
	}
	return STOPPED;
}
