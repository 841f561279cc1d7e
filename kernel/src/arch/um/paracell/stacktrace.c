// SPDX-License-Identifier: GPL-2.0
/* Call traces by scanning a stack for kernel text addresses. */
#include <linux/kallsyms.h>
#include <linux/kernel.h>
#include <linux/sched.h>
#include <linux/sched/debug.h>
#include <linux/sched/task_stack.h>
#include <linux/stacktrace.h>
#include <sysdep/ptrace.h>
#include "paracell.h"

static bool on_stack(struct task_struct *t, unsigned long sp)
{
	unsigned long low = (unsigned long)task_stack_page(t);

	return sp >= low && sp < low + THREAD_SIZE;
}

static void walk(struct task_struct *t, unsigned long sp,
		 bool (*fn)(void *, unsigned long), void *arg)
{
	sp = ALIGN(sp, sizeof(long));
	for (; on_stack(t, sp); sp += sizeof(long)) {
		unsigned long addr = *(unsigned long *)sp;

		if (__kernel_text_address(addr) && !fn(arg, addr))
			return;
	}
}

static unsigned long start_of(struct task_struct *t)
{
	if (t == current)
		return (unsigned long)__builtin_frame_address(0);
	return t->thread.ksp;
}

static bool print_entry(void *level, unsigned long addr)
{
	printk("%s ? %pS\n", (const char *)level, (void *)addr);
	return true;
}

void show_stack(struct task_struct *t, unsigned long *sp, const char *level)
{
	t = t ?: current;
	printk("%sCall trace (all text addresses on the stack):\n", level);
	walk(t, sp ? (unsigned long)sp : start_of(t), print_entry, (void *)level);
}

struct save {
	stack_trace_consume_fn fn;
	void *cookie;
};

static bool save_entry(void *arg, unsigned long addr)
{
	struct save *s = arg;

	return s->fn(s->cookie, addr);
}

void arch_stack_walk(stack_trace_consume_fn fn, void *cookie,
		     struct task_struct *t, struct pt_regs *regs)
{
	struct save s = { fn, cookie };

	walk(t, regs ? PT_REGS_SP(regs) : start_of(t), save_entry, &s);
}
