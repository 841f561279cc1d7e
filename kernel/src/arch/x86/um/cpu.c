// SPDX-License-Identifier: GPL-2.0
/* What programs are told about the processor in the aux vector. */

#include <linux/cache.h>
#include <linux/init.h>
#include <linux/types.h>
#include <asm/elf.h>
#include <asm/hwcap2.h>

unsigned long um_elf_hwcap __ro_after_init;
unsigned long um_elf_hwcap2 __ro_after_init;

static void __init cpuid(u32 leaf, u32 r[4])
{
	asm volatile("cpuid"
		     : "=a" (r[0]), "=b" (r[1]), "=c" (r[2]), "=d" (r[3])
		     : "0" (leaf), "2" (0));
}

static int __init read_hwcaps(void)
{
	u32 r[4], max;

	cpuid(0, r);
	max = r[0];
	cpuid(1, r);
	um_elf_hwcap = r[3];
	if (max >= 7) {
		cpuid(7, r);
		/* The monitor uses these instructions: the host allows them. */
		if (r[1] & 1)
			um_elf_hwcap2 |= HWCAP2_FSGSBASE;
	}
	return 0;
}
early_initcall(read_hwcaps);
