/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __UM_PROCESSOR_GENERIC_H
#define __UM_PROCESSOR_GENERIC_H

struct pt_regs;
struct task_struct;
struct mm_struct;

#include <asm/ptrace.h>
#include <asm/paracell.h>
#include <asm/paracell_fpu.h>

#include <linux/prefetch.h>

#include <asm/cpufeatures.h>

struct thread_struct {
	struct pt_regs regs;		/* the user context */
	unsigned long ksp;		/* kernel stack pointer while switched out */
	int (*fn)(void *);		/* of a kernel thread */
	void *fn_arg;
	struct arch_thread arch;
};

#define INIT_THREAD				\
{						\
	.regs	= EMPTY_REGS,			\
	.arch	= INIT_ARCH_THREAD,		\
}

#define TASK_SIZE	(0UL + PARACELL_USER_MAX)
#define TASK_SIZE_MAX	TASK_SIZE
#define STACK_TOP	(TASK_SIZE - PAGE_SIZE)
#define STACK_TOP_MAX	STACK_TOP
#define TASK_UNMAPPED_BASE	(PAGE_ALIGN(TASK_SIZE / 3))

extern void start_thread(struct pt_regs *regs, unsigned long entry,
			 unsigned long stack);

struct cpuinfo_um {
	unsigned long loops_per_jiffy;
	int cache_alignment;
	union {
		__u32		x86_capability[NCAPINTS + NBUGINTS];
		unsigned long	x86_capability_alignment;
	};
};

extern struct cpuinfo_um boot_cpu_data;

#define cpu_data(cpu)	boot_cpu_data
#define current_cpu_data boot_cpu_data
#define cache_line_size()	(boot_cpu_data.cache_alignment)

extern unsigned long __get_wchan(struct task_struct *p);

#endif
