// SPDX-License-Identifier: Apache-2.0
// Write what belongs to the kernel and the monitor, and the gate page, which
// the user may read (rules 1 and 5).
#include "attack.h"

int attack(void)
{
	const struct { const char *name; uint64_t address; } targets[] = {
		{ "kernel text", value("kernel.panic") },
		{ "kernel data", value("kernel.init_task") },
		{ "linear map", PARACELL_PHYS_BASE + (64 << 20) },
		{ "control area", PARACELL_CONTROL_BASE + PARACELL_BOOT_PARAMS_RNG_SEED_OFFSET },
		{ "entry gate", GATE },
		{ "selector", value("monitor.selector") },
		{ "exit registers", value("monitor.gate_ip") },
		{ "monitor data", value("monitor.in_user") },
		{ "signal stack", value("monitor.altstack") },
	};
	int gained = 0;

	for (size_t i = 0; i < sizeof targets / sizeof *targets; i++)
		if (writable(targets[i].address)) {
			printf("succeeded: write %s\n", targets[i].name);
			gained = 1;
		}
	/* What the gates need of the user: it is on no page that matters. */
	if (!readable(value("monitor.selector")) || !writable(value("monitor.scratch_ax")))
		GIVE_UP("the user cannot use the pages of the gates");
	return gained ? SUCCEEDED : STOPPED;
}
