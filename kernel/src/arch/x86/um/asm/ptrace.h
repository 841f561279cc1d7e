/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __UM_X86_PTRACE_H
#define __UM_X86_PTRACE_H

#ifndef __ASSEMBLY__

#include <linux/compiler.h>
#include <linux/err.h>
#include <linux/errno.h>
#include <asm/paracell_abi.h>
#include <asm/ptrace-abi.h>
#include <asm/processor-flags.h>
#include <sysdep/ptrace.h>

struct pt_regs {
	struct uml_pt_regs regs;
};

#define EMPTY_REGS { .regs = EMPTY_UML_PT_REGS }

#define arch_has_single_step()	(1)
#define ARCH_HAS_USER_SINGLE_STEP_REPORT

/* The address at which user code finds the system-call gate. */
#define PARACELL_GATE		(PARACELL_MONITOR_BASE + PARACELL_ENTRY_GATE)

#define PT_REGS_IP(r)		UPT_IP(&(r)->regs)
#define PT_REGS_SP(r)		UPT_SP(&(r)->regs)
#define PT_REGS_AX(r)		UPT_AX(&(r)->regs)
#define PT_REGS_BX(r)		UPT_BX(&(r)->regs)
#define PT_REGS_CX(r)		UPT_CX(&(r)->regs)
#define PT_REGS_DX(r)		UPT_DX(&(r)->regs)
#define PT_REGS_SI(r)		UPT_SI(&(r)->regs)
#define PT_REGS_DI(r)		UPT_DI(&(r)->regs)
#define PT_REGS_BP(r)		UPT_BP(&(r)->regs)
#define PT_REGS_R8(r)		UPT_R8(&(r)->regs)
#define PT_REGS_R9(r)		UPT_R9(&(r)->regs)
#define PT_REGS_R10(r)		UPT_R10(&(r)->regs)
#define PT_REGS_R11(r)		UPT_R11(&(r)->regs)
#define PT_REGS_R12(r)		UPT_R12(&(r)->regs)
#define PT_REGS_R13(r)		UPT_R13(&(r)->regs)
#define PT_REGS_R14(r)		UPT_R14(&(r)->regs)
#define PT_REGS_R15(r)		UPT_R15(&(r)->regs)
#define PT_REGS_EFLAGS(r)	UPT_EFLAGS(&(r)->regs)
#define PT_REGS_CS(r)		UPT_CS(&(r)->regs)
#define PT_REGS_SS(r)		UPT_SS(&(r)->regs)
#define PT_REGS_DS(r)		UPT_DS(&(r)->regs)
#define PT_REGS_ES(r)		UPT_ES(&(r)->regs)

#define PT_REGS_SYSCALL_NR(r)	UPT_SYSCALL_NR(&(r)->regs)
#define PT_REGS_SYSCALL_RET(r)	PT_REGS_AX(r)
#define PT_REGS_SET_SYSCALL_RETURN(r, res) (PT_REGS_AX(r) = (res))

#define user_mode(r)			UPT_IS_USER(&(r)->regs)
#define instruction_pointer(r)		PT_REGS_IP(r)
#define instruction_pointer_set(r, v)	(PT_REGS_IP(r) = (v))
#define user_stack_pointer(r)		PT_REGS_SP(r)
#define kernel_stack_pointer(r)		PT_REGS_SP(r)
#define frame_pointer(r)		PT_REGS_BP(r)
#define profile_pc(r)			PT_REGS_IP(r)

static inline long regs_return_value(struct pt_regs *regs)
{
	return PT_REGS_AX(regs);
}

static inline void regs_set_return_value(struct pt_regs *regs, unsigned long rc)
{
	PT_REGS_AX(regs) = rc;
}

static inline bool is_syscall_success(struct pt_regs *regs)
{
	return !IS_ERR_VALUE(PT_REGS_AX(regs));
}

/*
 * Make the system call that is about to return run again, as number nr. A
 * syscall instruction has two bytes. The gate has been jumped to with the
 * return address in rcx, and is jumped to again in the same way.
 */
static inline void um_restart_syscall(struct pt_regs *regs, unsigned long nr)
{
	struct uml_pt_regs *r = &regs->regs;

	UPT_AX(r) = nr;
	if (UPT_VIA_GATE(r)) {
		UPT_CX(r) = UPT_IP(r);
		UPT_IP(r) = PARACELL_GATE;
	} else {
		UPT_IP(r) -= 2;
	}
}

struct task_struct;

extern long arch_prctl(struct task_struct *task, int option, unsigned long arg2);
extern int arch_set_tls(struct task_struct *new, unsigned long tls);
extern int syscall_trace_enter(struct pt_regs *regs);
extern void syscall_trace_leave(struct pt_regs *regs);
struct ksignal;
extern void do_signal(struct pt_regs *regs);
extern int setup_rt_frame(struct ksignal *ksig, struct pt_regs *regs);

/* PEEKUSR and POKEUSR on struct user; addr in bytes, checked by the callee. */
extern int um_peek_user(struct task_struct *child, unsigned long addr,
			unsigned long *value);
extern int um_poke_user(struct task_struct *child, unsigned long addr,
			unsigned long value);
extern unsigned long get_sigframe_size(void);

#endif /* __ASSEMBLY__ */
#endif /* __UM_X86_PTRACE_H */
