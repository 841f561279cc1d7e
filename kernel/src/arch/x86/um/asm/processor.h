/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __UM_PROCESSOR_H
#define __UM_PROCESSOR_H

#include <sysdep/faultinfo.h>
#include <asm/paracell_fpu.h>

struct arch_thread {
	struct faultinfo faultinfo;	/* of the last exception */
	struct paracell_fpu fpu;	/* valid while the registers are not live */
};

#define INIT_ARCH_THREAD { }

static inline void arch_flush_thread(struct arch_thread *thread)
{
}

#define KSTK_EIP(tsk) (task_pt_regs(tsk)->regs.gp[HOST_IP])
#define KSTK_ESP(tsk) (task_pt_regs(tsk)->regs.gp[HOST_SP])
#define KSTK_EBP(tsk) (task_pt_regs(tsk)->regs.gp[HOST_BP])

#define ARCH_IS_STACKGROW(address) \
	((address) + 65536 + 32 * sizeof(unsigned long) >= \
	 UPT_SP(&current->thread.regs.regs))

#include <asm/user.h>

#include <asm/vdso/processor.h>

#define task_pt_regs(t) (&(t)->thread.regs)

#include <asm/processor-generic.h>

#endif
