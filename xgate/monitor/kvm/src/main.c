/* SPDX-License-Identifier: Apache-2.0 */
/* The first instructions of the vCPU, in ring 3. */
#include "monitor.h"

struct handoff handoff = { 0 };

noreturn void monitor_main(void);
noreturn void monitor_main(void)
{
	const struct paracell_boot_params *b = &control->boot;

	pagetable = handoff.isolation == ISOLATION_PAGETABLE;
	if (b->version != PARACELL_VERSION || b->identity != PARACELL_IDENTITY)
		cell_end(PARACELL_REASON_ABI, 0, 0, 0);
	my_vcpu->deadline = NEVER;
	control->num_slots = 1;
	space_init();
	/* Some hosts deliver the instruction in a way of their own. */
	probing = 1;
	probe_syscall();
	/* Offering keys and enforcing them are two things. */
	if (handoff.isolation == ISOLATION_MPK && !probe_keys())
		broken(__LINE__, "protection keys are not enforced in virtual machines of this host");
	probing = 0;
	if (handoff.probe)
		cell_end(PARACELL_REASON_POWER_OFF, syscall_faults, 0, 0);
	start_kernel(b->kernel_entry, PARACELL_CONTROL_BASE);
}
