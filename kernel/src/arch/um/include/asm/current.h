/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __UM_CURRENT_H
#define __UM_CURRENT_H

#ifndef __ASSEMBLY__
struct task_struct;

/* Not derived from the stack: interrupts run on the monitor's stack. */
extern struct task_struct *current_task;

static __always_inline struct task_struct *get_current(void)
{
	return current_task;
}

#define current get_current()
#endif
#endif
