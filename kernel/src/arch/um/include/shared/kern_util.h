/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __KERN_UTIL_H__
#define __KERN_UTIL_H__

struct pt_regs;

/* Deliver pending signals to the current task's user context. */
extern void do_signal(struct pt_regs *regs);

#endif
