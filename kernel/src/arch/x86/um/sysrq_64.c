// SPDX-License-Identifier: GPL-2.0
/* Registers for reports; of the kernel, or of a user task. */

#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/pid.h>
#include <linux/sched.h>
#include <linux/sched/debug.h>
#include <asm/ptrace.h>

void show_regs(struct pt_regs *regs)
{
	const unsigned long *gp = regs->regs.gp;

	show_regs_print_info(KERN_DEFAULT);
	print_modules();
	if (user_mode(regs))
		printk("RIP: %04lx:%016lx\n", gp[HOST_CS] & 0xffff, gp[HOST_IP]);
	else
		printk("RIP: %04lx:%pS\n", gp[HOST_CS] & 0xffff,
		       (void *)gp[HOST_IP]);
	printk("RSP: %016lx EFLAGS: %08lx\n", gp[HOST_SP], gp[HOST_EFLAGS]);
	printk("RAX: %016lx RBX: %016lx RCX: %016lx\n",
	       gp[HOST_AX], gp[HOST_BX], gp[HOST_CX]);
	printk("RDX: %016lx RSI: %016lx RDI: %016lx\n",
	       gp[HOST_DX], gp[HOST_SI], gp[HOST_DI]);
	printk("RBP: %016lx R08: %016lx R09: %016lx\n",
	       gp[HOST_BP], gp[HOST_R8], gp[HOST_R9]);
	printk("R10: %016lx R11: %016lx R12: %016lx\n",
	       gp[HOST_R10], gp[HOST_R11], gp[HOST_R12]);
	printk("R13: %016lx R14: %016lx R15: %016lx\n",
	       gp[HOST_R13], gp[HOST_R14], gp[HOST_R15]);
}
