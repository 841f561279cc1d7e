// SPDX-License-Identifier: GPL-2.0
/* Signals on the way to user mode: delivery and restart of system calls. */

#include <linux/ptrace.h>
#include <linux/rseq.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/signal.h>
#include <linux/unistd.h>
#include <asm/paracell_fpu.h>
#include <asm/ptrace.h>
#include <asm/syscall.h>
#include "../paracell/rewrite.h"

static void handle_signal(struct ksignal *ksig, struct pt_regs *regs)
{
	bool stepping, failed;

	if (syscall_get_nr(current, regs) != -1) {
		switch (syscall_get_error(current, regs)) {
		case -ERESTART_RESTARTBLOCK:
		case -ERESTARTNOHAND:
			PT_REGS_AX(regs) = -EINTR;
			break;

		case -ERESTARTSYS:
			if (!(ksig->ka.sa.sa_flags & SA_RESTART)) {
				PT_REGS_AX(regs) = -EINTR;
				break;
			}
			fallthrough;
		case -ERESTARTNOINTR:
			paracell_rewrite_restart(regs, regs->regs.gp[HOST_ORIG_AX]);
			break;
		}
	}

	/*
	 * A debugger's TF is not the program's: it does not belong into the
	 * frame. The debugger is told before the handler's first instruction.
	 */
	stepping = test_thread_flag(TIF_SINGLESTEP);
	if (stepping)
		user_disable_single_step(current);

	rseq_signal_deliver(ksig, regs);
	failed = setup_rt_frame(ksig, regs) < 0;
	if (!failed) {
		/* The ABI wants DF clear; TF would trap in a SIGTRAP handler. */
		PT_REGS_EFLAGS(regs) &= ~(X86_EFLAGS_DF | X86_EFLAGS_RF |
					  X86_EFLAGS_TF);
		/* Handlers start with fresh FP state; the frame has the old one. */
		paracell_fpu_init(current);
	}
	signal_setup_done(failed, ksig, stepping);
}

void do_signal(struct pt_regs *regs)
{
	struct ksignal ksig;

	/* Stops, core files and handlers see what the program's file holds. */
	paracell_rewrite_restore(regs);
	if (get_signal(&ksig)) {
		handle_signal(&ksig, regs);
		return;
	}

	if (syscall_get_nr(current, regs) != -1) {
		switch (syscall_get_error(current, regs)) {
		case -ERESTARTNOHAND:
		case -ERESTARTSYS:
		case -ERESTARTNOINTR:
			paracell_rewrite_restart(regs, regs->regs.gp[HOST_ORIG_AX]);
			break;

		case -ERESTART_RESTARTBLOCK:
			paracell_rewrite_restart(regs, __NR_restart_syscall);
			break;
		}
	}

	/* No handler runs, so the mask that one would have restored is due. */
	restore_saved_sigmask();
}
