// SPDX-License-Identifier: GPL-2.0
/*
 * Registers of a stopped task, as debuggers and core dumps see them. All of
 * them are in task_pt_regs() and in the FP image: a task that does not run
 * has nothing in the processor.
 */

#include <linux/elf.h>
#include <linux/errno.h>
#include <linux/mm.h>
#include <linux/ptrace.h>
#include <linux/regset.h>
#include <linux/sched.h>
#include <linux/sched/task_stack.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/user.h>
#include <asm/paracell_fpu.h>
#include <asm/processor.h>
#include <asm/ptrace.h>

/* Flags that a debugger may change. */
#define FLAG_MASK	(X86_EFLAGS_CF | X86_EFLAGS_PF | X86_EFLAGS_AF | \
			 X86_EFLAGS_ZF | X86_EFLAGS_SF | X86_EFLAGS_TF | \
			 X86_EFLAGS_DF | X86_EFLAGS_OF | X86_EFLAGS_RF | \
			 X86_EFLAGS_AC | X86_EFLAGS_NT)

static_assert(sizeof(struct user_regs_struct) == MAX_REG_OFFSET);

static unsigned long get_reg(struct task_struct *child, unsigned int reg)
{
	const struct uml_pt_regs *r = &task_pt_regs(child)->regs;
	unsigned long value = r->gp[reg];

	switch (reg) {
	case HOST_EFLAGS:
		/* The debugger's own TF is not shown. */
		if (test_tsk_thread_flag(child, TIF_FORCED_TF))
			value &= ~X86_EFLAGS_TF;
		return value;

	case HOST_CS:
	case HOST_SS:
	case HOST_DS:
	case HOST_ES:
	case HOST_FS:
	case HOST_GS:
		return value & 0xffff;
	}
	return value;
}

static int put_reg(struct task_struct *child, unsigned int reg,
		   unsigned long value)
{
	struct uml_pt_regs *r = &task_pt_regs(child)->regs;

	switch (reg) {
	case HOST_ORIG_AX:
		/* -1 keeps a call from being restarted. */
		r->syscall = (int)value;
		break;

	case HOST_EFLAGS:
		/* A TF in the new value is the program's, else ours stays. */
		if (value & X86_EFLAGS_TF)
			clear_tsk_thread_flag(child, TIF_FORCED_TF);
		else if (test_tsk_thread_flag(child, TIF_FORCED_TF))
			value |= X86_EFLAGS_TF;
		value = (r->gp[reg] & ~FLAG_MASK) | (value & FLAG_MASK);
		break;

	case HOST_CS:
		value = (u16)value;
		if (value != UM_USER_CS && value != UM_USER_CS32)
			return -EIO;
		break;
	case HOST_SS:
		return (u16)value == UM_USER_SS ? 0 : -EIO;

	case HOST_DS:
	case HOST_ES:
	case HOST_FS:
	case HOST_GS:
		/* Kept for the debugger; never loaded. */
		value = (u16)value;
		if (value && (value & 3) != 3)
			return -EIO;
		break;

	case HOST_FS_BASE:
	case HOST_GS_BASE:
		if (value >= TASK_SIZE_MAX)
			return -EIO;
		break;
	}
	r->gp[reg] = value;
	return 0;
}

/* Index of a debug register, or -1. */
static int debugreg(unsigned long addr)
{
	unsigned long first = offsetof(struct user, u_debugreg[0]);

	if (addr < first || addr > offsetof(struct user, u_debugreg[7]))
		return -1;
	return (addr - first) / sizeof(long);
}

static bool bad_user_offset(unsigned long addr)
{
	return (addr & (sizeof(long) - 1)) || addr >= sizeof(struct user);
}

int um_peek_user(struct task_struct *child, unsigned long addr,
		 unsigned long *value)
{
	if (bad_user_offset(addr))
		return -EIO;
	*value = 0;
	if (addr < sizeof(struct user_regs_struct))
		*value = get_reg(child, addr / sizeof(long));
	/* Debug registers and the rest of struct user read as zero. */
	return 0;
}

/*
 * There are no debug registers. Clearing one is what debuggers do on attach;
 * setting one has to fail, so that they fall back to single steps.
 */
int um_poke_user(struct task_struct *child, unsigned long addr,
		 unsigned long value)
{
	if (bad_user_offset(addr))
		return -EIO;
	if (addr < sizeof(struct user_regs_struct))
		return put_reg(child, addr / sizeof(long), value);
	switch (debugreg(addr)) {
	case 0 ... 3:
	case 6:
	case 7:
		return value ? -EINVAL : 0;
	}
	return -EIO;
}

static int genregs_get(struct task_struct *target,
		       const struct user_regset *regset, struct membuf to)
{
	unsigned int reg;

	/* A task in a core dump still has its FS and GS bases live. */
	paracell_fpu_sync(target);
	for (reg = 0; to.left; reg++)
		membuf_store(&to, get_reg(target, reg));
	return 0;
}

static int genregs_set(struct task_struct *target,
		       const struct user_regset *regset,
		       unsigned int pos, unsigned int count,
		       const void *kbuf, const void __user *ubuf)
{
	unsigned int reg = pos / sizeof(long);
	unsigned long value;
	int ret = 0;

	for (; count >= sizeof(long) && !ret; count -= sizeof(long), reg++) {
		if (kbuf) {
			memcpy(&value, kbuf, sizeof(value));
			kbuf += sizeof(value);
		} else {
			if (copy_from_user(&value, ubuf, sizeof(value)))
				return -EFAULT;
			ubuf += sizeof(value);
		}
		ret = put_reg(target, reg, value);
	}
	return ret;
}

static int fpregs_get(struct task_struct *target,
		      const struct user_regset *regset, struct membuf to)
{
	paracell_fpu_get_fxsave(target, &to);
	return 0;
}

static int fpregs_set(struct task_struct *target,
		      const struct user_regset *regset,
		      unsigned int pos, unsigned int count,
		      const void *kbuf, const void __user *ubuf)
{
	struct user_i387_struct fxsave;
	int ret;

	/* No partial images: it would be unclear whose half is valid. */
	if (pos || count != sizeof(fxsave))
		return -EINVAL;
	ret = user_regset_copyin(&pos, &count, &kbuf, &ubuf, &fxsave, 0, -1);
	return ret ?: paracell_fpu_set_fxsave(target, &fxsave);
}

static int xstate_get(struct task_struct *target,
		      const struct user_regset *regset, struct membuf to)
{
	paracell_fpu_get_xsave(target, &to);
	return 0;
}

static int xstate_set(struct task_struct *target,
		      const struct user_regset *regset,
		      unsigned int pos, unsigned int count,
		      const void *kbuf, const void __user *ubuf)
{
	void *image;
	int ret;

	if (pos || count != paracell_xstate_size)
		return -EFAULT;
	image = kmalloc(count, GFP_KERNEL);
	if (!image)
		return -ENOMEM;
	ret = user_regset_copyin(&pos, &count, &kbuf, &ubuf, image, 0, -1);
	if (!ret)
		ret = paracell_fpu_set_xsave(target, image);
	kfree(image);
	return ret;
}

static struct user_regset regsets[] __ro_after_init = {
	{
		.core_note_type	= NT_PRSTATUS,
		.n		= MAX_REG_NR,
		.size		= sizeof(long),
		.align		= sizeof(long),
		.regset_get	= genregs_get,
		.set		= genregs_set,
	}, {
		.core_note_type	= NT_PRFPREG,
		.n		= sizeof(struct user_i387_struct) / sizeof(long),
		.size		= sizeof(long),
		.align		= sizeof(long),
		.regset_get	= fpregs_get,
		.set		= fpregs_set,
	}, {
		.core_note_type	= NT_X86_XSTATE,
		.size		= sizeof(long),
		.align		= sizeof(long),
		.regset_get	= xstate_get,
		.set		= xstate_set,
	},
};

static const struct user_regset_view view = {
	.name		= "x86_64",
	.e_machine	= EM_X86_64,
	.regsets	= regsets,
	.n		= ARRAY_SIZE(regsets),
};

const struct user_regset_view *task_user_regset_view(struct task_struct *task)
{
	return &view;
}

static int __init size_xstate_regset(void)
{
	regsets[2].n = paracell_xstate_size / sizeof(long);
	return 0;
}
early_initcall(size_xstate_regset);

/*
 * Single steps. A trap flag that the debugger has set (TIF_FORCED_TF) is kept
 * apart from the program's own.
 */

/* Whether the next instruction loads the flags: popf or iret, after prefixes. */
static bool changes_trap_flag(struct task_struct *child)
{
	unsigned char code[15];
	int i, n;

	n = access_process_vm(child, PT_REGS_IP(task_pt_regs(child)), code,
			      sizeof(code), FOLL_FORCE);
	for (i = 0; i < n; i++) {
		switch (code[i]) {
		case 0x9d:
		case 0xcf:
			return true;
		case 0x26: case 0x2e: case 0x36: case 0x3e:
		case 0x40 ... 0x4f:
		case 0x64 ... 0x67:
		case 0xf0: case 0xf2: case 0xf3:
			continue;
		default:
			return false;
		}
	}
	return false;
}

void user_enable_single_step(struct task_struct *child)
{
	unsigned long *flags = &PT_REGS_EFLAGS(task_pt_regs(child));
	unsigned long old = *flags;

	/*
	 * The flag also makes the exit of a system call report a step: the
	 * processor would trap one instruction later.
	 */
	set_tsk_thread_flag(child, TIF_SINGLESTEP);
	*flags |= X86_EFLAGS_TF;

	if (changes_trap_flag(child))
		clear_tsk_thread_flag(child, TIF_FORCED_TF);
	else if (!(old & X86_EFLAGS_TF))
		set_tsk_thread_flag(child, TIF_FORCED_TF);
}

void user_disable_single_step(struct task_struct *child)
{
	clear_tsk_thread_flag(child, TIF_SINGLESTEP);
	if (test_and_clear_tsk_thread_flag(child, TIF_FORCED_TF))
		PT_REGS_EFLAGS(task_pt_regs(child)) &= ~X86_EFLAGS_TF;
}
