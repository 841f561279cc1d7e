// SPDX-License-Identifier: GPL-2.0
/* Interrupts: bits of vcpu->pending, one Linux interrupt each. */
#include <linux/hardirq.h>
#include <linux/interrupt.h>
#include <linux/irq.h>
#include <linux/kernel_stat.h>
#include <linux/ptrace.h>
#include <linux/sched/task_stack.h>
#include <asm/irq_regs.h>
#include <asm/softirq_stack.h>
#include "paracell.h"

static void irq_nop(struct irq_data *d)
{
}

/* Bits are latched by the host and cleared by us: edge, and nothing to mask. */
static struct irq_chip paracell_chip = {
	.name		= "paracell",
	.irq_ack	= irq_nop,
	.irq_mask	= irq_nop,
	.irq_unmask	= irq_nop,
	.irq_enable	= irq_nop,
	.irq_disable	= irq_nop,
};

void __init init_IRQ(void)
{
	int irq;

	for (irq = 0; irq < NR_IRQS; irq++)
		irq_set_chip_and_handler(irq, &paracell_chip, handle_edge_irq);
}

/* Run what is pending. Interrupts are off. */
void paracell_run_irqs(struct pt_regs *regs)
{
	struct paracell_vcpu *vcpu = paracell_vcpu();
	struct pt_regs *old;
	unsigned long pending;

	old = set_irq_regs(regs);
	irq_enter();
	while ((pending = xchg(&vcpu->pending, 0))) {
		while (pending) {
			int irq = __ffs(pending);

			pending &= pending - 1;
			generic_handle_irq(irq);
		}
	}
	irq_exit();
	set_irq_regs(old);
}

/* A kernel context that was not interrupted by the monitor's vector. */
static struct pt_regs kernel_regs;

/* Slow path of local_irq_enable: interrupts are on and something is pending. */
void paracell_irq_pending(void)
{
	struct paracell_vcpu *vcpu = paracell_vcpu();

	do {
		WRITE_ONCE(vcpu->irq_enabled, 0);
		barrier();
		paracell_run_irqs(&kernel_regs);
		WRITE_ONCE(vcpu->irq_enabled, 1);
		barrier();
	} while (READ_ONCE(vcpu->pending));
}
EXPORT_SYMBOL(paracell_irq_pending);

/*
 * Interrupts run on the stack of the task they meet. What they put off can go
 * deep (a packet through the whole network stack), so it has a stack of its own.
 */
static u8 softirq_stack[THREAD_SIZE] __aligned(64);

void do_softirq_own_stack(void)
{
	paracell_call_on(softirq_stack + THREAD_SIZE, __do_softirq);
}

int arch_show_interrupts(struct seq_file *p, int prec)
{
	return 0;
}
