/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __UM_VDSO_PROCESSOR_H
#define __UM_VDSO_PROCESSOR_H

#ifndef __ASSEMBLY__
#ifdef BUILD_VDSO

static __always_inline void cpu_relax(void)
{
	asm volatile("pause" ::: "memory");
}

#else
#include <asm/processor.h>
#endif
#endif
#endif
