/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __UM_ASM_CACHEFLUSH_H
#define __UM_ASM_CACHEFLUSH_H

#include <asm/tlbflush.h>
#define flush_cache_vmap		paracell_kernel_mapped
#define flush_cache_vmap_early(s, e)	do { } while (0)
#define flush_cache_vunmap(s, e)	do { } while (0)

/*
 * User code executes copies of its pages (arch/um/paracell/text.c), so this is
 * an architecture whose instruction cache has to be told of writes.
 */
struct page;
extern void flush_dcache_page(struct page *page);
#define flush_dcache_page flush_dcache_page
#define ARCH_IMPLEMENTS_FLUSH_DCACHE_PAGE 1

/* Somebody gets hold of a page of a user, perhaps to write it later. */
struct vm_area_struct;
extern void flush_anon_page(struct vm_area_struct *vma, struct page *page,
			    unsigned long addr);
#define flush_anon_page flush_anon_page
#define ARCH_HAS_FLUSH_ANON_PAGE

#define flush_icache_user_page(vma, page, addr, len) flush_dcache_page(page)

#include <asm-generic/cacheflush.h>
#endif
