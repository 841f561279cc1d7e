/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __SYSDEP_X86_64_SYSCALLS_H__
#define __SYSDEP_X86_64_SYSCALLS_H__

#include <asm/syscall.h>

/* nr is below NR_syscalls; clobbers nothing but what the call itself does. */
#define EXECUTE_SYSCALL(nr, regs)				\
	((*sys_call_table[nr])(UPT_SYSCALL_ARG1(&(regs)->regs),	\
			       UPT_SYSCALL_ARG2(&(regs)->regs),	\
			       UPT_SYSCALL_ARG3(&(regs)->regs),	\
			       UPT_SYSCALL_ARG4(&(regs)->regs),	\
			       UPT_SYSCALL_ARG5(&(regs)->regs),	\
			       UPT_SYSCALL_ARG6(&(regs)->regs)))

#endif
