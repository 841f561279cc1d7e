/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The host's mappings are the TLB. Those of an address space are brought up
 * to date when it is entered next; the kernel's (vmalloc) at once.
 */
#ifndef __UM_TLBFLUSH_H
#define __UM_TLBFLUSH_H

#include <linux/mm.h>

extern void flush_tlb_all(void);
extern void flush_tlb_mm(struct mm_struct *mm);
extern void flush_tlb_kernel_range(unsigned long start, unsigned long end);
extern void paracell_kernel_mapped(unsigned long start, unsigned long end);

/* Turn what is dirty into map operations of the vCPU. */
extern void paracell_tlb_sync(struct mm_struct *mm);

static inline void flush_tlb_page(struct vm_area_struct *vma,
				  unsigned long address)
{
	paracell_mark_dirty(vma->vm_mm, address, address + PAGE_SIZE, true);
}

static inline void flush_tlb_range(struct vm_area_struct *vma,
				   unsigned long start, unsigned long end)
{
	paracell_mark_dirty(vma->vm_mm, start, end, true);
}

#endif
