// SPDX-License-Identifier: GPL-2.0
/* The registers that a new program starts with. */

#include <linux/ptrace.h>
#include <linux/sched.h>
#include <linux/sched/task_stack.h>
#include <asm/paracell_fpu.h>
#include <asm/processor.h>

/* The old program's FP state goes, with what its last fault said. */
void flush_thread(void)
{
	paracell_fpu_drop();
	paracell_fpu_init(current);
	memset(&current->thread.arch.faultinfo, 0,
	       sizeof(current->thread.arch.faultinfo));
}

void start_thread(struct pt_regs *regs, unsigned long ip, unsigned long sp)
{
	struct uml_pt_regs *r = &regs->regs;
	unsigned long orig_ax = r->gp[HOST_ORIG_AX];

	memset(r->gp, 0, sizeof(r->gp));
	/* Tracers see an execve return. */
	r->gp[HOST_ORIG_AX] = orig_ax;
	UPT_IP(r) = ip;
	UPT_SP(r) = sp;
	UPT_CS(r) = UM_USER_CS;
	UPT_SS(r) = UM_USER_SS;
	UPT_EFLAGS(r) = UM_USER_FLAGS;
}
