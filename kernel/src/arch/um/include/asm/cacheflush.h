/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __UM_ASM_CACHEFLUSH_H
#define __UM_ASM_CACHEFLUSH_H

#include <asm/tlbflush.h>
#define flush_cache_vmap		paracell_kernel_mapped
#define flush_cache_vmap_early(s, e)	do { } while (0)
#define flush_cache_vunmap(s, e)	do { } while (0)

#include <asm-generic/cacheflush.h>
#endif
