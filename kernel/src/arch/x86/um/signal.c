// SPDX-License-Identifier: GPL-2.0
/*
 * Signal frames of x86-64, byte by byte as arch/x86 lays them out:
 *
 *   interrupted stack, or top of the alternate stack
 *   red zone, 128 bytes		(not on a fresh alternate stack)
 *   XSAVE image and second magic number, 64-byte aligned
 *   struct rt_sigframe, so that sp % 16 is 8 in the handler
 */

#include <linux/kernel.h>
#include <linux/ptrace.h>
#include <linux/ratelimit.h>
#include <linux/sched/signal.h>
#include <linux/sched/task_stack.h>
#include <linux/signal.h>
#include <linux/syscalls.h>
#include <linux/uaccess.h>
#include <asm/paracell_fpu.h>
#include <asm/ptrace.h>
#include <asm/sigframe.h>
#include <asm/ucontext.h>
#include "../../um/paracell/rewrite.h"

#define RED_ZONE		128
#define FRAME_ALIGNMENT		16UL
#define XSAVE_ALIGNMENT		64UL

/* Flags that user code may set through a frame; the rest stay as they are. */
#define FIX_EFLAGS	(X86_EFLAGS_AC | X86_EFLAGS_OF | X86_EFLAGS_DF | \
			 X86_EFLAGS_TF | X86_EFLAGS_SF | X86_EFLAGS_ZF | \
			 X86_EFLAGS_AF | X86_EFLAGS_PF | X86_EFLAGS_CF | \
			 X86_EFLAGS_RF)

/* No address of user memory: writing to it fails. */
#define NO_FRAME	((struct rt_sigframe __user *)-1L)

/* The largest frame with its padding, for AT_MINSIGSTKSZ. */
unsigned long get_sigframe_size(void)
{
	return round_up(sizeof(struct rt_sigframe) + FRAME_ALIGNMENT - 1 +
			paracell_fpu_frame_size() + XSAVE_ALIGNMENT - 1,
			FRAME_ALIGNMENT);
}

#ifdef CONFIG_DYNAMIC_SIGFRAME
static bool strict_sigaltstack_size __ro_after_init;

static int __init strict_sas_size(char *arg)
{
	return kstrtobool(arg, &strict_sigaltstack_size) == 0;
}
__setup("strict_sas_size", strict_sas_size);

/*
 * MINSIGSTKSZ cannot grow and is smaller than a frame with AVX-512. Programs
 * that set up such a stack and never use it have to keep working; the others
 * get SIGSEGV from get_frame().
 */
bool sigaltstack_size_valid(size_t ss_size)
{
	return !strict_sigaltstack_size || ss_size > get_sigframe_size();
}
#endif

static struct rt_sigframe __user *get_frame(struct ksignal *ksig,
					    struct pt_regs *regs,
					    void __user **fpstate)
{
	bool altstack = on_sig_stack(PT_REGS_SP(regs));
	unsigned long sp = PT_REGS_SP(regs) - RED_ZONE;

	if ((ksig->ka.sa.sa_flags & SA_ONSTACK) && sas_ss_flags(sp) == 0) {
		sp = current->sas_ss_sp + current->sas_ss_size;
		altstack = true;
	}

	sp = round_down(sp - paracell_fpu_frame_size(), XSAVE_ALIGNMENT);
	*fpstate = (void __user *)sp;
	sp = round_down(sp - sizeof(struct rt_sigframe), FRAME_ALIGNMENT) - 8;

	/* Better no handler than one that runs over what lies below. */
	if (unlikely(altstack && !__on_sig_stack(sp))) {
		pr_info_ratelimited("%s[%d] overflowed sigaltstack\n",
				    current->comm, task_pid_nr(current));
		return NO_FRAME;
	}
	return (struct rt_sigframe __user *)sp;
}

static void save_sigcontext(struct sigcontext *sc, struct pt_regs *regs,
			    void __user *fpstate, unsigned long oldmask)
{
	const unsigned long *gp = regs->regs.gp;
	const struct faultinfo *fi = &current->thread.arch.faultinfo;

	sc->r8 = gp[HOST_R8];
	sc->r9 = gp[HOST_R9];
	sc->r10 = gp[HOST_R10];
	sc->r11 = gp[HOST_R11];
	sc->r12 = gp[HOST_R12];
	sc->r13 = gp[HOST_R13];
	sc->r14 = gp[HOST_R14];
	sc->r15 = gp[HOST_R15];
	sc->di = gp[HOST_DI];
	sc->si = gp[HOST_SI];
	sc->bp = gp[HOST_BP];
	sc->bx = gp[HOST_BX];
	sc->dx = gp[HOST_DX];
	sc->ax = gp[HOST_AX];
	sc->cx = gp[HOST_CX];
	sc->sp = gp[HOST_SP];
	sc->ip = gp[HOST_IP];
	sc->flags = gp[HOST_EFLAGS];
	sc->cs = gp[HOST_CS];
	sc->ss = gp[HOST_SS];
	sc->err = fi->error_code;
	sc->trapno = fi->trap_no;
	sc->cr2 = fi->cr2;
	sc->oldmask = oldmask;
	sc->fpstate = (unsigned long)fpstate;
}

/*
 * Segments that the processor would not take make a bad frame; without
 * UC_STRICT_RESTORE_SS the stack segment does not matter.
 */
static bool restore_sigcontext(struct pt_regs *regs, const struct sigcontext *sc,
			       unsigned long uc_flags)
{
	unsigned long *gp = regs->regs.gp;

	if ((sc->cs | 3) != UM_USER_CS && (sc->cs | 3) != UM_USER_CS32)
		return false;
	if ((uc_flags & UC_STRICT_RESTORE_SS) && (sc->ss | 3) != UM_USER_SS)
		return false;

	gp[HOST_R8] = sc->r8;
	gp[HOST_R9] = sc->r9;
	gp[HOST_R10] = sc->r10;
	gp[HOST_R11] = sc->r11;
	gp[HOST_R12] = sc->r12;
	gp[HOST_R13] = sc->r13;
	gp[HOST_R14] = sc->r14;
	gp[HOST_R15] = sc->r15;
	gp[HOST_DI] = sc->di;
	gp[HOST_SI] = sc->si;
	gp[HOST_BP] = sc->bp;
	gp[HOST_BX] = sc->bx;
	gp[HOST_DX] = sc->dx;
	gp[HOST_AX] = sc->ax;
	gp[HOST_CX] = sc->cx;
	gp[HOST_SP] = sc->sp;
	gp[HOST_IP] = sc->ip;
	gp[HOST_EFLAGS] = (gp[HOST_EFLAGS] & ~FIX_EFLAGS) |
			  (sc->flags & FIX_EFLAGS);
	gp[HOST_CS] = sc->cs | 3;
	gp[HOST_SS] = UM_USER_SS;
	return true;
}

int setup_rt_frame(struct ksignal *ksig, struct pt_regs *regs)
{
	sigset_t *set = sigmask_to_save();
	struct rt_sigframe __user *frame;
	struct rt_sigframe kframe;
	void __user *fpstate;
	size_t size;

	/* x86-64 has no way back but the restorer. */
	if (!(ksig->ka.sa.sa_flags & SA_RESTORER))
		return -EFAULT;

	frame = get_frame(ksig, regs, &fpstate);
	if (frame == NO_FRAME)
		return -EFAULT;
	if (!paracell_fpu_to_frame(fpstate))
		return -EFAULT;

	/* One copy: each access to user memory is a walk of the page tables. */
	memset(&kframe, 0, sizeof(kframe));
	kframe.pretcode = (char __user *)ksig->ka.sa.sa_restorer;
	kframe.uc.uc_flags = UC_FP_XSTATE | UC_SIGCONTEXT_SS;
	if (PT_REGS_CS(regs) == UM_USER_CS)
		kframe.uc.uc_flags |= UC_STRICT_RESTORE_SS;
	kframe.uc.uc_stack.ss_sp = (void __user *)current->sas_ss_sp;
	kframe.uc.uc_stack.ss_flags = current->sas_ss_flags;
	kframe.uc.uc_stack.ss_size = current->sas_ss_size;
	kframe.uc.uc_sigmask = *set;
	save_sigcontext(&kframe.uc.uc_mcontext, regs, fpstate, set->sig[0]);

	size = offsetof(struct rt_sigframe, info);
	if (ksig->ka.sa.sa_flags & SA_SIGINFO) {
		memcpy(&kframe.info, &ksig->info, sizeof(ksig->info));
		size = sizeof(kframe);
	}
	if (copy_to_user(frame, &kframe, size))
		return -EFAULT;

	PT_REGS_DI(regs) = ksig->sig;
	/* In case the handler was declared without a prototype. */
	PT_REGS_AX(regs) = 0;
	/* Handlers without SA_SIGINFO find their context with these as well. */
	PT_REGS_SI(regs) = (unsigned long)&frame->info;
	PT_REGS_DX(regs) = (unsigned long)&frame->uc;
	PT_REGS_IP(regs) = (unsigned long)ksig->ka.sa.sa_handler;
	PT_REGS_SP(regs) = (unsigned long)frame;
	/* Handlers are 64-bit code, whatever they interrupt. */
	PT_REGS_CS(regs) = UM_USER_CS;
	PT_REGS_SS(regs) = UM_USER_SS;
	return 0;
}

SYSCALL_DEFINE0(rt_sigreturn)
{
	struct pt_regs *regs = current_pt_regs();
	struct rt_sigframe __user *frame =
		(struct rt_sigframe __user *)(PT_REGS_SP(regs) - sizeof(long));
	struct ucontext uc;

	if (copy_from_user(&uc, &frame->uc, sizeof(uc)))
		goto bad_frame;
	set_current_blocked(&uc.uc_sigmask);

	if (restore_altstack(&frame->uc.uc_stack))
		goto bad_frame;

	/* Always make any pending restarted system call return -EINTR. */
	current->restart_block.fn = do_no_restart_syscall;

	if (!restore_sigcontext(regs, &uc.uc_mcontext, uc.uc_flags))
		goto bad_frame;
	/* Not to be restarted, whatever is in ax. */
	regs->regs.gp[HOST_ORIG_AX] = -1;
	PT_REGS_SYSCALL_NR(regs) = -1;

	if (!paracell_fpu_from_frame((void __user *)uc.uc_mcontext.fpstate))
		goto bad_frame;
	paracell_rewrite_resume(regs);
	return PT_REGS_AX(regs);

bad_frame:
	pr_info_ratelimited("%s[%d] bad frame in rt_sigreturn: %px ip %lx sp %lx\n",
			    current->comm, task_pid_nr(current), frame,
			    PT_REGS_IP(regs), PT_REGS_SP(regs));
	force_sig(SIGSEGV);
	return 0;
}
