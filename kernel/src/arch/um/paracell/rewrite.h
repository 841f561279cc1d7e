/* SPDX-License-Identifier: GPL-2.0 */
/* Rewriting of system-call sites, docs/rewriting.md. */
#ifndef __PARACELL_REWRITE_H
#define __PARACELL_REWRITE_H

#include <linux/sched.h>

struct pt_regs;

/*
 * Of a task, in its personality: inherited by fork and kept by exec. No
 * personality of Linux uses the bit.
 */
#define PARACELL_PER_PLAIN	0x00010000

/* arch_prctl() options of ours; the argument is 0 or 1 for SET. */
#define PARACELL_ARCH_SET_REWRITE	0x50430001
#define PARACELL_ARCH_GET_REWRITE	0x50430002

/*
 * A system call by instruction is about to be made. Rewrites its site, if it
 * can, for the next time. May sleep.
 */
void paracell_rewrite_trapped(struct pt_regs *regs);

/*
 * Put the registers of the current task, which has been in user mode, where
 * they would be without rewriting. May sleep. Signals, debuggers and whoever
 * gets the processor meanwhile see only this.
 */
void paracell_rewrite_restore(struct pt_regs *regs);

/*
 * Before it goes on: to the trampoline, instead of the middle of a site, which
 * costs a trap. May sleep.
 */
void paracell_rewrite_resume(struct pt_regs *regs);

/*
 * The same for the duration of a system call that somebody looks at, or of a
 * page fault. What begin returns goes to end, which puts the place in the
 * trampoline back.
 */
unsigned long paracell_rewrite_begin(struct pt_regs *regs);
void paracell_rewrite_end(struct pt_regs *regs, unsigned long cookie);

/* Make the system call that is about to return run again, as number nr. */
void paracell_rewrite_restart(struct pt_regs *regs, unsigned long nr);

/*
 * An invalid instruction or a single step of the current task. True if it was
 * in the middle of a site, and has been led to where it was going.
 */
bool paracell_rewrite_trap(struct pt_regs *regs);

/*
 * After views have been mapped: part with the rewritten ones if the trampolines
 * are no longer where they should be. May sleep.
 */
void paracell_rewrite_settle(void);

/* The current process shall execute what its files hold, or shall no more. */
int paracell_rewrite_set(bool on);
bool paracell_rewrite_get(void);

/* A call has been made; for the share of the gate. */
void paracell_rewrite_count(bool via_gate);

#endif
