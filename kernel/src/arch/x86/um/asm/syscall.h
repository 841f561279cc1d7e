/* SPDX-License-Identifier: GPL-2.0 */
/* Access to the system call that a stopped or running task is in. */
#ifndef __UM_ASM_SYSCALL_H
#define __UM_ASM_SYSCALL_H

#include <linux/err.h>
#include <linux/sched.h>
#include <asm/ptrace.h>
#include <uapi/linux/audit.h>

typedef asmlinkage long (*sys_call_ptr_t)(unsigned long, unsigned long,
					  unsigned long, unsigned long,
					  unsigned long, unsigned long);

extern const sys_call_ptr_t sys_call_table[];

/* -1 outside of a system call. */
static inline int syscall_get_nr(struct task_struct *task, struct pt_regs *regs)
{
	return PT_REGS_SYSCALL_NR(regs);
}

/* As if the call had not been made: a SIGSYS handler sees what the user had. */
static inline void syscall_rollback(struct task_struct *task,
				    struct pt_regs *regs)
{
	PT_REGS_AX(regs) = regs->regs.gp[HOST_ORIG_AX];
}

static inline long syscall_get_error(struct task_struct *task,
				     struct pt_regs *regs)
{
	unsigned long error = PT_REGS_AX(regs);

	return IS_ERR_VALUE(error) ? error : 0;
}

static inline long syscall_get_return_value(struct task_struct *task,
					    struct pt_regs *regs)
{
	return PT_REGS_AX(regs);
}

static inline void syscall_set_return_value(struct task_struct *task,
					    struct pt_regs *regs,
					    int error, long val)
{
	PT_REGS_AX(regs) = (long)error ?: val;
}

static inline void syscall_get_arguments(struct task_struct *task,
					 struct pt_regs *regs,
					 unsigned long *args)
{
	const struct uml_pt_regs *r = &regs->regs;

	args[0] = UPT_SYSCALL_ARG1(r);
	args[1] = UPT_SYSCALL_ARG2(r);
	args[2] = UPT_SYSCALL_ARG3(r);
	args[3] = UPT_SYSCALL_ARG4(r);
	args[4] = UPT_SYSCALL_ARG5(r);
	args[5] = UPT_SYSCALL_ARG6(r);
}

static inline int syscall_get_arch(struct task_struct *task)
{
	return AUDIT_ARCH_X86_64;
}

#endif /* __UM_ASM_SYSCALL_H */
