// SPDX-License-Identifier: GPL-2.0
/*
 * Address spaces of the monitor. On platform process each is a process of the
 * host, and how many a cell may have is limited. What it maps is a cache of our
 * page tables, so where there is none left the one that has not run for longest
 * is taken away from its mm, which gets another when it runs next.
 */
#include <linux/init.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>
#include <asm/mmu_context.h>
#include "paracell.h"

/* At a time, so that processes that take turns do not pay for each other. */
#define TAKE_BACK 8

static LIST_HEAD(owners);	/* struct mm_context; the one that has it longest first */
static unsigned long have, taken_back;

static void give_up(struct mm_context *ctx)
{
	list_del_init(&ctx->owners);
	paracell_call(PARACELL_CALL_AS_DESTROY, ctx->as, 0, 0, 0);
	ctx->as = 0;
	have--;
}

/*
 * Take address spaces from those that have not run since this was called last.
 * False if there is none to take: the one that the vCPU is in would come free
 * only when it is in another.
 */
static bool take_back(struct mm_struct *for_mm)
{
	unsigned int current_as = paracell_vcpu()->as;
	struct mm_context *ctx, *next;
	unsigned int done = 0, round;

	for (round = 0; round < 2 && !done; round++) {
		list_for_each_entry_safe(ctx, next, &owners, owners) {
			struct mm_struct *mm = container_of(ctx, struct mm_struct, context);

			if (mm == for_mm || ctx->as == current_as)
				continue;
			if (ctx->ran) {
				ctx->ran = false;
				continue;
			}
			give_up(ctx);
			paracell_tlb_dropped(mm);
			taken_back++;
			if (++done == TAKE_BACK)
				break;
		}
	}
	return done;
}

int paracell_space_get(struct mm_struct *mm)
{
	struct mm_context *ctx = &mm->context;
	unsigned long flags;
	long as;

	/* Nothing sleeps, but mms also go in interrupts. */
	local_irq_save(flags);
	do
		as = paracell_call(PARACELL_CALL_AS_CREATE, 0, 0, 0, 0);
	while (as < 0 && take_back(mm));
	if (as >= 0) {
		ctx->as = as;
		ctx->ran = true;
		list_add_tail(&ctx->owners, &owners);
		have++;
	}
	local_irq_restore(flags);
	return as < 0 ? as : 0;
}

void paracell_space_put(struct mm_struct *mm)
{
	unsigned long flags;

	local_irq_save(flags);
	if (mm->context.as)
		give_up(&mm->context);
	local_irq_restore(flags);
}

static int show_spaces(struct seq_file *m, void *v)
{
	seq_printf(m, "now %lu\ntaken back %lu\n", have, taken_back);
	return 0;
}

static int __init space_proc_init(void)
{
	proc_create_single("paracell/spaces", 0444, NULL, show_spaces);
	return 0;
}
late_initcall(space_proc_init);
