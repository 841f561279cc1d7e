// SPDX-License-Identifier: Apache-2.0
// Read what belongs to the kernel and the monitor (rules 1 and 2).
#include "attack.h"

int attack(void)
{
	const struct { const char *name; uint64_t address; } targets[] = {
		{ "kernel text", value("kernel.panic") },
		{ "kernel data", value("kernel.init_task") },
		{ "kernel rodata", value("kernel.linux_banner") },
		{ "linear map", PARACELL_PHYS_BASE + (64 << 20) },
		{ "first page", PARACELL_PHYS_BASE },
		{ "control area", PARACELL_CONTROL_BASE },
		{ "monitor text", PARACELL_MONITOR_BASE },
		{ "entry gate", GATE },
		{ "monitor data", value("monitor.in_user") },
		{ "signal stack", value("monitor.altstack") },
	};
	int gained = 0;

	for (size_t i = 0; i < sizeof targets / sizeof *targets; i++)
		/* With two page tables the page of the gate is the user's to execute, so also to read. */
		if ((targets[i].address != GATE || value("isolation") != 2) && readable(targets[i].address)) {
			printf("succeeded: read %s\n", targets[i].name);
			gained = 1;
		}
	return gained ? SUCCEEDED : STOPPED;
}
