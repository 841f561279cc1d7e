/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The user registers of a task. The head of struct uml_pt_regs is the
 * monitor's struct paracell_regs: it is filled when the user stops and
 * loaded when the user goes on (static assertions in the core hold the two
 * together).
 */
#ifndef __SYSDEP_X86_PTRACE_H
#define __SYSDEP_X86_PTRACE_H

#include <sysdep/ptrace_64.h>

#define MAX_REG_NR	HOST_NUM_REGS
#define MAX_REG_OFFSET	(MAX_REG_NR * 8)

#define REGS_IP(r)	((r)[HOST_IP])
#define REGS_SP(r)	((r)[HOST_SP])
#define REGS_EFLAGS(r)	((r)[HOST_EFLAGS])
#define REGS_AX(r)	((r)[HOST_AX])
#define REGS_BX(r)	((r)[HOST_BX])
#define REGS_CX(r)	((r)[HOST_CX])
#define REGS_DX(r)	((r)[HOST_DX])
#define REGS_SI(r)	((r)[HOST_SI])
#define REGS_DI(r)	((r)[HOST_DI])
#define REGS_BP(r)	((r)[HOST_BP])
#define REGS_CS(r)	((r)[HOST_CS])
#define REGS_SS(r)	((r)[HOST_SS])
#define REGS_DS(r)	((r)[HOST_DS])
#define REGS_ES(r)	((r)[HOST_ES])

#define UPT_IP(r)	REGS_IP((r)->gp)
#define UPT_SP(r)	REGS_SP((r)->gp)
#define UPT_EFLAGS(r)	REGS_EFLAGS((r)->gp)
#define UPT_AX(r)	REGS_AX((r)->gp)
#define UPT_BX(r)	REGS_BX((r)->gp)
#define UPT_CX(r)	REGS_CX((r)->gp)
#define UPT_DX(r)	REGS_DX((r)->gp)
#define UPT_SI(r)	REGS_SI((r)->gp)
#define UPT_DI(r)	REGS_DI((r)->gp)
#define UPT_BP(r)	REGS_BP((r)->gp)
#define UPT_CS(r)	REGS_CS((r)->gp)
#define UPT_SS(r)	REGS_SS((r)->gp)
#define UPT_DS(r)	REGS_DS((r)->gp)
#define UPT_ES(r)	REGS_ES((r)->gp)

#ifndef __ASSEMBLY__

struct uml_pt_regs {
	/* struct paracell_regs: shared with the monitor. */
	unsigned long gp[MAX_REG_NR];
	unsigned long trap_no;
	unsigned long error_code;
	unsigned long cr2;

	/* The kernel's own. */
	long syscall;		/* number of the call in progress, -1: none */
	int is_user;
	int via_gate;		/* the call came through the gate, not by instruction */
};

#define EMPTY_UML_PT_REGS { }

#define UPT_SYSCALL_NR(r)	((r)->syscall)
#define UPT_IS_USER(r)		((r)->is_user)
#define UPT_VIA_GATE(r)		((r)->via_gate)

#endif /* __ASSEMBLY__ */

#endif /* __SYSDEP_X86_PTRACE_H */
