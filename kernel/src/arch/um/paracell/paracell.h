/* SPDX-License-Identifier: GPL-2.0 */
/* What the files of arch/um/paracell share with each other only. */
#ifndef __ARCH_UM_PARACELL_PARACELL_H
#define __ARCH_UM_PARACELL_PARACELL_H

#include <linux/init.h>
#include <asm/paracell.h>

struct mm_struct;
struct uml_pt_regs;

void paracell_switch(unsigned long *prev_ksp, unsigned long next_ksp);
void paracell_call_on(void *stack_top, void (*fn)(void));
void paracell_new_task(void);
void __noreturn paracell_task_start(void);
void paracell_user_fault(struct uml_pt_regs *r);
void paracell_vector(struct paracell_kframe *frame);
void __init paracell_console_init(void);
bool paracell_kernel_fault(unsigned long va);
void __init paracell_start(struct paracell_control *control);

int handle_page_fault(unsigned long address, bool write, bool exec, bool user,
		      int *code_out);

/* The monitor has dropped all of the host's mappings of mm. */
void paracell_tlb_dropped(struct mm_struct *mm);

/*
 * Get an address space of the monitor for an mm that has none, or part with
 * it. 0 or an errno value; neither sleeps.
 */
int paracell_space_get(struct mm_struct *mm);
void paracell_space_put(struct mm_struct *mm);

/* A user fault on an entry that is present: the host has lost it. */
void paracell_remap(struct mm_struct *mm, unsigned long address);

#endif
