// SPDX-License-Identifier: GPL-2.0
/*
 * Tasks: creation, the switch between them, and the loop at the bottom of
 * every user task's kernel stack that runs user code until an event.
 */
#include <linux/cpu.h>
#include <linux/personality.h>
#include <linux/ptrace.h>
#include <linux/resume_user_mode.h>
#include <linux/sched.h>
#include <linux/sched/debug.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/sched/task_stack.h>
#include <linux/rseq.h>
#include <linux/seccomp.h>
#include <linux/elfcore.h>
#include <linux/random.h>
#include <linux/audit.h>
#include <asm/mmu_context.h>
#include <asm/exec.h>
#include <asm/switch_to.h>
#include <asm/tlbflush.h>
#include <asm/syscall.h>
#include <sysdep/syscalls.h>
#include <sysdep/ptrace.h>
#include <kern_util.h>
#include "paracell.h"
#include "rewrite.h"
#include "text_trap.h"

struct task_struct *current_task = &init_task;
EXPORT_SYMBOL(current_task);

static_assert(offsetof(struct uml_pt_regs, trap_no) ==
	      offsetof(struct paracell_regs, trap_no));
static_assert(offsetof(struct uml_pt_regs, cr2) ==
	      offsetof(struct paracell_regs, cr2));

/* Who ran before the task that runs now; each vCPU will need its own. */
static struct task_struct *last_task;

struct task_struct *__switch_to(struct task_struct *prev,
				struct task_struct *next)
{
	paracell_fpu_switch(prev, next);
	last_task = prev;
	current_task = next;
	paracell_switch(&prev->thread.ksp, next->thread.ksp);
	/* Now on the stack of a task that was switched out here earlier. */
	return last_task;
}

/* First C function of a new task, entered with prev in the switch above. */
void __noreturn paracell_task_start(void)
{
	struct task_struct *me = current;

	schedule_tail(last_task);
	if (me->thread.fn) {
		/* Returns only if the thread has become a user program. */
		me->thread.fn(me->thread.fn_arg);
		me->thread.fn = NULL;
	}
	paracell_userspace();
}

struct new_task_frame {
	unsigned long r15, r14, r13, r12, bx, bp, ret, align;
};

int copy_thread(struct task_struct *p, const struct kernel_clone_args *args)
{
	struct new_task_frame *frame;

	memset(&p->thread, 0, offsetof(struct thread_struct, arch));
	p->thread.regs.regs.syscall = -1;
	frame = (void *)((unsigned long)task_stack_page(p) + THREAD_SIZE) -
		sizeof(*frame) - 64;
	memset(frame, 0, sizeof(*frame));
	frame->ret = (unsigned long)paracell_new_task;
	p->thread.ksp = (unsigned long)frame;

	if (args->fn) {
		p->thread.fn = args->fn;
		p->thread.fn_arg = args->fn_arg;
		paracell_fpu_init(p);
		return 0;
	}

	p->thread.regs = *current_pt_regs();
	p->thread.regs.regs.syscall = -1;
	PT_REGS_SET_SYSCALL_RETURN(&p->thread.regs, 0);
	if (args->stack)
		REGS_SP(p->thread.regs.regs.gp) = args->stack;
	paracell_fpu_copy(p);
	if (args->flags & CLONE_SETTLS)
		return arch_set_tls(p, args->tls);
	return 0;
}

void arch_cpu_idle(void)
{
	/* Interrupts are off: what is pending ends the wait and is run after. */
	paracell_call(PARACELL_CALL_IDLE, 0, 0, 0, 0);
}

static void handle_syscall(struct uml_pt_regs *r, int via_gate)
{
	struct pt_regs *regs = container_of(r, struct pt_regs, regs);
	unsigned long nr = r->gp[HOST_AX], cookie = 0;

	r->via_gate = via_gate;
	paracell_rewrite_count(via_gate);
	if (!via_gate)
		paracell_rewrite_trapped(regs);
	r->gp[HOST_ORIG_AX] = nr;
	r->syscall = (int)nr;
	r->gp[HOST_AX] = -ENOSYS;

	if (unlikely(read_thread_flags() & _TIF_SYSCALL_WORK)) {
		if (via_gate)
			cookie = paracell_rewrite_begin(regs);
		if (syscall_trace_enter(regs) || secure_computing() == -1)
			goto out;
	}
	nr = (unsigned int)r->syscall;
	if (likely(nr < NR_syscalls))
		r->gp[HOST_AX] = EXECUTE_SYSCALL(nr, regs);
	else if (r->syscall != -1)
		/* Whatever a tracer has put there: a call, but none of ours. */
		r->gp[HOST_AX] = -ENOSYS;
	if (likely(!(read_thread_flags() & _TIF_SYSCALL_WORK))) {
		rseq_syscall(regs);
	} else {
out:
		if (via_gate && !cookie)
			cookie = paracell_rewrite_begin(regs);
		rseq_syscall(regs);
		syscall_trace_leave(regs);
	}
	if (unlikely(cookie))
		paracell_rewrite_end(regs, cookie);
}

/* Interrupts are on. Returns with interrupts off and nothing left to do. */
static void exit_work(struct pt_regs *regs)
{
	unsigned long flags;

	local_irq_disable();
	while (unlikely((flags = read_thread_flags()) & _TIF_WORK_MASK)) {
		local_irq_enable();
		if (flags & _TIF_NEED_RESCHED)
			schedule();
		if (flags & (_TIF_SIGPENDING | _TIF_NOTIFY_SIGNAL))
			do_signal(regs);
		if (flags & _TIF_NOTIFY_RESUME)
			resume_user_mode_work(regs);
		paracell_rewrite_resume(regs);
		local_irq_disable();
	}
}

void __noreturn paracell_userspace(void)
{
	struct uml_pt_regs *r = &current->thread.regs.regs;
	struct paracell_vcpu *vcpu = paracell_vcpu();
	long (*enter)(void *) =
		(void *)(PARACELL_MONITOR_BASE + PARACELL_ENTRY_ENTER);
	struct mm_struct *mm;
	long code;

	local_irq_enable();
	for (;;) {
		exit_work(container_of(r, struct pt_regs, regs));
		/* The call is over, also for who looks at the registers later. */
		r->syscall = -1;
		r->gp[HOST_ORIG_AX] = -1;
		mm = current->mm;
		if (unlikely(!mm->context.as) && paracell_space_get(mm)) {
			local_irq_enable();
			pr_err_ratelimited("%s[%d]: the host gives no address space, killed\n",
					   current->comm, task_pid_nr(current));
			force_fatal_sig(SIGKILL);
			continue;
		}
		mm->context.ran = true;
		vcpu->as = mm->context.as;
		paracell_tlb_sync(mm);
		if (unlikely(text_step_task == current)) {
			text_step_begin(r);
			code = text_step_end(r, enter(r));
		} else {
			code = enter(r);
		}

		r->is_user = 1;
		switch (code) {
		case PARACELL_EXIT_GATE:
			local_irq_enable();
			handle_syscall(r, 1);
			break;
		case PARACELL_EXIT_SYSCALL:
			local_irq_enable();
			handle_syscall(r, 0);
			break;
		case PARACELL_EXIT_FAULT:
			local_irq_enable();
			paracell_user_fault(r);
			break;
		case PARACELL_EXIT_IRQ:
			paracell_run_irqs(container_of(r, struct pt_regs, regs));
			local_irq_enable();
			/* Others are about to run, or to look at the registers. */
			if (read_thread_flags() & _TIF_WORK_MASK)
				paracell_rewrite_restore(container_of(r, struct pt_regs, regs));
			break;
		case PARACELL_EXIT_FLUSHED:
			/* Nothing is mapped: every page comes back by fault. */
			paracell_tlb_dropped(mm);
			local_irq_enable();
			break;
		case PARACELL_EXIT_ATTACK:
			local_irq_enable();
			pr_err_ratelimited("%s[%d] jumped into the monitor, killed\n",
					   current->comm, task_pid_nr(current));
			force_fatal_sig(SIGKILL);
			break;
		default:
			local_irq_enable();
			pr_err_ratelimited("%s[%d]: cannot enter: monitor says %ld, error %lld\n",
					   current->comm, task_pid_nr(current),
					   code, vcpu->error);
			force_fatal_sig(SIGKILL);
		}
	}
}

/* Where a switched-out task waits: the first return address outside the scheduler. */
unsigned long __get_wchan(struct task_struct *p)
{
	unsigned long low = (unsigned long)task_stack_page(p);
	unsigned long *sp = (unsigned long *)p->thread.ksp;
	bool in_sched = false;

	for (; (unsigned long)sp >= low && (unsigned long)sp < low + THREAD_SIZE; sp++) {
		if (!__kernel_text_address(*sp))
			continue;
		if (in_sched_functions(*sp))
			in_sched = true;
		else if (in_sched)
			return *sp;
	}
	return 0;
}

unsigned long arch_align_stack(unsigned long sp)
{
	if (!(current->personality & ADDR_NO_RANDOMIZE) && randomize_va_space)
		sp -= get_random_u32_below(8192);
	return sp & ~0xful;
}
