/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The kernel's side of the monitor ABI: calls into the monitor, the control
 * area, and the few hooks which the core in arch/um/paracell offers to the
 * rest of the architecture and to device drivers.
 */
#ifndef __UM_PARACELL_H
#define __UM_PARACELL_H

#include <asm/paracell_abi.h>

#ifndef __ASSEMBLY__

/* Shared with the host side and hostile to neither: it is our own memory. */
static struct paracell_control *const paracell_control =
	(struct paracell_control *)PARACELL_CONTROL_BASE;

/* The vCPU that runs this code. One for now; the ABI has room for more. */
#define paracell_vcpu() (&paracell_control->vcpus[0])

/* A monitor call (PARACELL_CALL_*); negative results are errno values. */
static inline long paracell_call(long nr, long a0, long a1, long a2, long a3)
{
	long (*entry)(long, long, long, long, long) =
		(void *)(PARACELL_MONITOR_BASE + PARACELL_ENTRY_CALL);

	return entry(nr, a0, a1, a2, a3);
}

/* Linux interrupt number of an ABI pending bit; they are the same. */
static inline int paracell_device_irq(int device)
{
	return PARACELL_IRQ_DEVICE0 + device;
}

struct pt_regs;

void paracell_irq_pending(void);
void paracell_run_irqs(struct pt_regs *regs);
void __noreturn paracell_exit(int code, int reason);
void paracell_console_write(const char *s, unsigned int len);
void __noreturn paracell_userspace(void);
extern int paracell_exit_code;

#endif /* __ASSEMBLY__ */
#endif
