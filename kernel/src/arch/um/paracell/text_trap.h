/* SPDX-License-Identifier: GPL-2.0 */
/* Instructions that a view traps: emulated, or stepped over. */
#ifndef __ARCH_UM_PARACELL_TEXT_TRAP_H
#define __ARCH_UM_PARACELL_TEXT_TRAP_H

#include <linux/types.h>

struct task_struct;
struct uml_pt_regs;

/* Whose next instruction is to be run alone; NULL: nobody's. */
extern struct task_struct *text_step_task;

/* An exception of user code. True: it was a trap of a view, and is seen to. */
bool text_trap(struct uml_pt_regs *r);

/* Execution has met a page that is not mapped because it is stepped through. */
void text_step_page(struct uml_pt_regs *r, unsigned long address);

/*
 * Around one entry into user mode of text_step_task, interrupts off. The end
 * returns what the rest of the kernel shall take for the reason of the exit.
 */
void text_step_begin(struct uml_pt_regs *r);
long text_step_end(struct uml_pt_regs *r, long code);

/*
 * What xrstor does with the components of mask, but never for PKRU (fpu.c).
 * -EINVAL stands for #GP, -EILSEQ for a component that user code may not have.
 * May sleep; leaves current's registers dropped.
 */
int paracell_fpu_xrstor(const void __user *area, u64 mask);

#endif
