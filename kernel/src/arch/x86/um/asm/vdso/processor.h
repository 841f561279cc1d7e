/* SPDX-License-Identifier: GPL-2.0 */
/* Shared by the kernel and the vDSO. */
#ifndef __UM_VDSO_PROCESSOR_H
#define __UM_VDSO_PROCESSOR_H

#ifndef __ASSEMBLY__

static __always_inline void rep_nop(void)
{
	asm volatile("rep; nop" ::: "memory");
}

static __always_inline void cpu_relax(void)
{
	rep_nop();
}

#endif
#endif
