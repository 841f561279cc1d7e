/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __SYSDEP_X86_PTRACE_USER_H
#define __SYSDEP_X86_PTRACE_USER_H

#include <sysdep/ptrace_64.h>

#define PT_OFFSET(r)		((r) * sizeof(long))

#define PT_SYSCALL_NR(regs)	((regs)[HOST_ORIG_AX])
#define PT_SYSCALL_NR_OFFSET	PT_OFFSET(HOST_ORIG_AX)
#define PT_SYSCALL_RET_OFFSET	PT_OFFSET(HOST_AX)

#define REGS_IP_INDEX	HOST_IP
#define REGS_SP_INDEX	HOST_SP

#endif
