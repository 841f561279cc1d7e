/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The interrupt flag is vcpu->irq_enabled. An interrupt that arrives while it
 * is clear stays in vcpu->pending, and whoever sets the flag looks there.
 * A store and a load, so it is inline everywhere.
 */
#ifndef __UM_IRQFLAGS_H
#define __UM_IRQFLAGS_H

#include <asm/paracell.h>
#include <asm/rwonce.h>

#define ARCH_IRQ_DISABLED	0
#define ARCH_IRQ_ENABLED	1

#define arch_local_save_flags arch_local_save_flags
static __always_inline unsigned long arch_local_save_flags(void)
{
	return READ_ONCE(paracell_vcpu()->irq_enabled);
}

#define arch_local_irq_disable arch_local_irq_disable
static __always_inline void arch_local_irq_disable(void)
{
	WRITE_ONCE(paracell_vcpu()->irq_enabled, 0);
	barrier();
}

#define arch_local_irq_enable arch_local_irq_enable
static __always_inline void arch_local_irq_enable(void)
{
	barrier();
	WRITE_ONCE(paracell_vcpu()->irq_enabled, 1);
	/*
	 * An interrupt between the store and the load is taken by the vector;
	 * one whose bit the load misses is followed by a kick.
	 */
	barrier();
	if (unlikely(READ_ONCE(paracell_vcpu()->pending)))
		paracell_irq_pending();
}

#define arch_local_irq_restore arch_local_irq_restore
static __always_inline void arch_local_irq_restore(unsigned long flags)
{
	if (flags)
		arch_local_irq_enable();
	else
		arch_local_irq_disable();
}

#include <asm-generic/irqflags.h>

#endif
