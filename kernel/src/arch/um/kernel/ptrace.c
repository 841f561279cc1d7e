// SPDX-License-Identifier: GPL-2.0
/* ptrace requests that are not generic, and system-call stops. */

#include <linux/audit.h>
#include <linux/ptrace.h>
#include <linux/regset.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>
#include <linux/user.h>
#include <asm/ptrace.h>
#include <asm/ptrace-abi.h>
#include <asm/syscall.h>

/* Called by kernel/ptrace.c when detaching. */
void ptrace_disable(struct task_struct *child)
{
	user_disable_single_step(child);
}

long arch_ptrace(struct task_struct *child, long request,
		 unsigned long addr, unsigned long data)
{
	const struct user_regset_view *view = task_user_regset_view(current);
	unsigned long __user *datap = (unsigned long __user *)data;
	unsigned long value;
	int ret;

	switch (request) {
	case PTRACE_PEEKUSR:
		ret = um_peek_user(child, addr, &value);
		return ret ?: put_user(value, datap);

	case PTRACE_POKEUSR:
		return um_poke_user(child, addr, data);

	case PTRACE_GETREGS:
		return copy_regset_to_user(child, view, 0, 0,
					   sizeof(struct user_regs_struct),
					   datap);

	case PTRACE_SETREGS:
		return copy_regset_from_user(child, view, 0, 0,
					     sizeof(struct user_regs_struct),
					     datap);

	case PTRACE_GETFPREGS:
		return copy_regset_to_user(child, view, 1, 0,
					   sizeof(struct user_i387_struct),
					   datap);

	case PTRACE_SETFPREGS:
		return copy_regset_from_user(child, view, 1, 0,
					     sizeof(struct user_i387_struct),
					     datap);

	case PTRACE_ARCH_PRCTL:
		/* The arguments are the other way round. */
		return arch_prctl(child, data, addr);

	default:
		return ptrace_request(child, request, addr, data);
	}
}

void user_single_step_report(struct pt_regs *regs)
{
	force_sig_fault(SIGTRAP, TRAP_BRKPT,
			(void __user *)instruction_pointer(regs));
}

/*
 * Before a system call, if _TIF_SYSCALL_WORK says that somebody wants to know.
 * The tracer may change everything, so the caller reads the registers and the
 * number afterwards. Seccomp comes next: the caller's. Returns non-zero when
 * the call is not to be made.
 */
int syscall_trace_enter(struct pt_regs *regs)
{
	unsigned long flags = read_thread_flags();

	if (flags & (_TIF_SYSCALL_TRACE | _TIF_SYSCALL_EMU)) {
		if (ptrace_report_syscall_entry(regs) ||
		    (flags & _TIF_SYSCALL_EMU))
			return -1;
	}
	if (flags & _TIF_SYSCALL_AUDIT)
		audit_syscall_entry(syscall_get_nr(current, regs),
				    UPT_SYSCALL_ARG1(&regs->regs),
				    UPT_SYSCALL_ARG2(&regs->regs),
				    UPT_SYSCALL_ARG3(&regs->regs),
				    UPT_SYSCALL_ARG4(&regs->regs));
	return 0;
}

/* After a system call, if _TIF_SYSCALL_WORK is set by then. */
void syscall_trace_leave(struct pt_regs *regs)
{
	unsigned long flags = read_thread_flags();
	bool step;

	audit_syscall_exit(regs);

	/* An emulated call has been reported at its entry. */
	step = (flags & _TIF_SINGLESTEP) && !(flags & _TIF_SYSCALL_EMU);
	if (step || (flags & _TIF_SYSCALL_TRACE))
		ptrace_report_syscall_exit(regs, step);
}
