/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __UM_X86_MMAN_H
#define __UM_X86_MMAN_H

#include <uapi/asm/mman.h>

/* For MAP_32BIT: arch/x86/um/mmap.c. */
#define HAVE_ARCH_UNMAPPED_AREA
#define HAVE_ARCH_UNMAPPED_AREA_TOPDOWN

/*
 * The monitor cannot map anything below PARACELL_USER_MIN (vm.mmap_min_addr of
 * the host), so not even CAP_SYS_RAWIO helps.
 */
#define arch_mmap_check(addr, len, flags)				\
	((((flags) & MAP_FIXED) && (addr) < PARACELL_USER_MIN) ? -EPERM : 0)

#endif
