/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Register numbers, in the order of struct user_regs_struct. The monitor ABI
 * (xgate/abi) uses the same order.
 */
#ifndef __SYSDEP_X86_64_PTRACE_H
#define __SYSDEP_X86_64_PTRACE_H

#define HOST_R15	0
#define HOST_R14	1
#define HOST_R13	2
#define HOST_R12	3
#define HOST_BP		4
#define HOST_BX		5
#define HOST_R11	6
#define HOST_R10	7
#define HOST_R9		8
#define HOST_R8		9
#define HOST_AX		10
#define HOST_CX		11
#define HOST_DX		12
#define HOST_SI		13
#define HOST_DI		14
#define HOST_ORIG_AX	15
#define HOST_IP		16
#define HOST_CS		17
#define HOST_EFLAGS	18
#define HOST_SP		19
#define HOST_SS		20
#define HOST_FS_BASE	21
#define HOST_GS_BASE	22
#define HOST_DS		23
#define HOST_ES		24
#define HOST_FS		25
#define HOST_GS		26
#define HOST_NUM_REGS	27

/*
 * Selectors and flags of a user context as Linux on x86-64 hands them out.
 * Programs start as 64-bit code. They can jump to the host's segment for 32-bit
 * code; the monitor knows these two and takes any other value for 64-bit code.
 */
#define UM_USER_CS	0x33
#define UM_USER_CS32	0x23
#define UM_USER_SS	0x2b
#define UM_USER_FLAGS	0x202

/* Byte offsets, for PEEKUSR; asm/ptrace-abi.h has the same names. */
#ifndef FS_BASE
#define FS_BASE	(HOST_FS_BASE * 8)
#define GS_BASE	(HOST_GS_BASE * 8)
#define DS	(HOST_DS * 8)
#define ES	(HOST_ES * 8)
#define FS	(HOST_FS * 8)
#define GS	(HOST_GS * 8)
#endif

#define REGS_R8(r)	((r)[HOST_R8])
#define REGS_R9(r)	((r)[HOST_R9])
#define REGS_R10(r)	((r)[HOST_R10])
#define REGS_R11(r)	((r)[HOST_R11])
#define REGS_R12(r)	((r)[HOST_R12])
#define REGS_R13(r)	((r)[HOST_R13])
#define REGS_R14(r)	((r)[HOST_R14])
#define REGS_R15(r)	((r)[HOST_R15])

#define UPT_R8(r)	REGS_R8((r)->gp)
#define UPT_R9(r)	REGS_R9((r)->gp)
#define UPT_R10(r)	REGS_R10((r)->gp)
#define UPT_R11(r)	REGS_R11((r)->gp)
#define UPT_R12(r)	REGS_R12((r)->gp)
#define UPT_R13(r)	REGS_R13((r)->gp)
#define UPT_R14(r)	REGS_R14((r)->gp)
#define UPT_R15(r)	REGS_R15((r)->gp)

#define UPT_SYSCALL_ARG1(r)	UPT_DI(r)
#define UPT_SYSCALL_ARG2(r)	UPT_SI(r)
#define UPT_SYSCALL_ARG3(r)	UPT_DX(r)
#define UPT_SYSCALL_ARG4(r)	UPT_R10(r)
#define UPT_SYSCALL_ARG5(r)	UPT_R8(r)
#define UPT_SYSCALL_ARG6(r)	UPT_R9(r)

#endif
