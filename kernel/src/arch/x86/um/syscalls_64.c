// SPDX-License-Identifier: GPL-2.0
/* System calls that x86-64 has for itself. */

#include <linux/ptrace.h>
#include <linux/sched.h>
#include <linux/sched/task_stack.h>
#include <linux/syscalls.h>
#include <linux/uaccess.h>
#include <asm/paracell_fpu.h>
#include <asm/prctl.h>
#include <asm/processor.h>
#include <asm/ptrace.h>
#include "../../um/paracell/rewrite.h"

/* AMX tile data: the one component that x86 grants on request. */
#define XFEATURE_XTILE_DATA	18
#define XFEATURE_MAX		64

/*
 * The kernel must not contain wrfsbase, so a base is changed in the saved
 * registers and loaded with the rest of them on the way to user mode. For
 * another task, which is stopped, they are the truth anyway.
 */
static void set_base(struct task_struct *task, int reg, unsigned long base)
{
	if (task == current) {
		paracell_fpu_sync(task);
		paracell_fpu_drop();
	}
	task_pt_regs(task)->regs.gp[reg] = base;
}

static unsigned long get_base(struct task_struct *task, int reg)
{
	paracell_fpu_sync(task);
	return task_pt_regs(task)->regs.gp[reg];
}

long arch_prctl(struct task_struct *task, int option, unsigned long arg2)
{
	u64 __user *uptr = (u64 __user *)arg2;

	switch (option) {
	case ARCH_SET_FS:
	case ARCH_SET_GS:
		if (arg2 >= TASK_SIZE_MAX)
			return -EPERM;
		set_base(task, option == ARCH_SET_FS ? HOST_FS_BASE :
						       HOST_GS_BASE, arg2);
		return 0;

	case ARCH_GET_FS:
		return put_user(get_base(task, HOST_FS_BASE), uptr);
	case ARCH_GET_GS:
		return put_user(get_base(task, HOST_GS_BASE), uptr);
	}

	/* The others concern the caller only. */
	if (task != current)
		return -EINVAL;

	switch (option) {
	case PARACELL_ARCH_SET_REWRITE:
		return arg2 > 1 ? -EINVAL : paracell_rewrite_set(arg2);
	case PARACELL_ARCH_GET_REWRITE:
		return paracell_rewrite_get();

	case ARCH_GET_CPUID:
		return 1;	/* CPUID works, and */
	case ARCH_SET_CPUID:
		return -ENODEV;	/* cannot be made to fault. */

	case ARCH_GET_XCOMP_SUPP:
	case ARCH_GET_XCOMP_PERM:
		return put_user(paracell_xfeatures, uptr);
	case ARCH_REQ_XCOMP_PERM:
		return arg2 >= XFEATURE_MAX ? -EINVAL : -EOPNOTSUPP;
	case ARCH_GET_XCOMP_GUEST_PERM:
	case ARCH_REQ_XCOMP_GUEST_PERM:
		return -EOPNOTSUPP;
	}
	return -EINVAL;
}

SYSCALL_DEFINE2(arch_prctl, int, option, unsigned long, arg2)
{
	return arch_prctl(current, option, arg2);
}

/* CLONE_SETTLS; t has not run yet. */
int arch_set_tls(struct task_struct *t, unsigned long tls)
{
	if (tls >= TASK_SIZE_MAX)
		return -EPERM;
	task_pt_regs(t)->regs.gp[HOST_FS_BASE] = tls;
	return 0;
}

SYSCALL_DEFINE6(mmap, unsigned long, addr, unsigned long, len,
		unsigned long, prot, unsigned long, flags,
		unsigned long, fd, unsigned long, off)
{
	if (off & ~PAGE_MASK)
		return -EINVAL;

	return ksys_mmap_pgoff(addr, len, prot, flags, fd, off >> PAGE_SHIFT);
}
