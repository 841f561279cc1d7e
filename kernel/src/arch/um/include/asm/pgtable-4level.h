/* SPDX-License-Identifier: GPL-2.0 */
/* Four levels of 512 entries, as the processor has them: 48 bits. */
#ifndef __UM_PGTABLE_4LEVEL_H
#define __UM_PGTABLE_4LEVEL_H

#include <asm-generic/pgtable-nop4d.h>

#define PGDIR_SHIFT	39
#define PGDIR_SIZE	(1UL << PGDIR_SHIFT)
#define PGDIR_MASK	(~(PGDIR_SIZE - 1))

#define PUD_SHIFT	30
#define PUD_SIZE	(1UL << PUD_SHIFT)
#define PUD_MASK	(~(PUD_SIZE - 1))

#define PMD_SHIFT	21
#define PMD_SIZE	(1UL << PMD_SHIFT)
#define PMD_MASK	(~(PMD_SIZE - 1))

#define PTRS_PER_PTE	512
#define PTRS_PER_PMD	512
#define PTRS_PER_PUD	512
#define PTRS_PER_PGD	512

#define USER_PTRS_PER_PGD ((TASK_SIZE + (PGDIR_SIZE - 1)) / PGDIR_SIZE)

#define pte_ERROR(e) \
	pr_err("%s:%d: bad pte %p(%016lx).\n", __FILE__, __LINE__, &(e), pte_val(e))
#define pmd_ERROR(e) \
	pr_err("%s:%d: bad pmd %p(%016lx).\n", __FILE__, __LINE__, &(e), pmd_val(e))
#define pud_ERROR(e) \
	pr_err("%s:%d: bad pud %p(%016lx).\n", __FILE__, __LINE__, &(e), pud_val(e))
#define pgd_ERROR(e) \
	pr_err("%s:%d: bad pgd %p(%016lx).\n", __FILE__, __LINE__, &(e), pgd_val(e))

#define __PTE_FLAGS(v)	((v) & ~__PHYSICAL_PFN_MASK)

#define pmd_none(x)	(!pmd_val(x))
#define pmd_present(x)	(pmd_val(x) & _PAGE_PRESENT)
#define pmd_bad(x)	((__PTE_FLAGS(pmd_val(x)) & ~_PAGE_USER) != _KERNPG_TABLE)
#define set_pmd(pmdptr, pmdval) (*(pmdptr) = (pmdval))
#define pmd_clear(xp)	set_pmd(xp, __pmd(0))
#define pmd_pfn(x)	((pmd_val(x) & __PHYSICAL_PFN_MASK) >> PAGE_SHIFT)
#define pmd_page(x)	pfn_to_page(pmd_pfn(x))
#define pmd_page_vaddr(x) ((unsigned long)__va(pmd_val(x) & __PHYSICAL_PFN_MASK))

#define pud_none(x)	(!pud_val(x))
#define pud_present(x)	(pud_val(x) & _PAGE_PRESENT)
#define pud_bad(x)	((__PTE_FLAGS(pud_val(x)) & ~_PAGE_USER) != _KERNPG_TABLE)
#define set_pud(pudptr, pudval) (*(pudptr) = (pudval))
#define pud_clear(xp)	set_pud(xp, __pud(0))
#define pud_populate(mm, pud, pmd) set_pud(pud, __pud(_PAGE_TABLE + __pa(pmd)))
#define pud_page(x)	pfn_to_page((pud_val(x) & __PHYSICAL_PFN_MASK) >> PAGE_SHIFT)
#define pud_pgtable(x)	((pmd_t *)__va(pud_val(x) & __PHYSICAL_PFN_MASK))

#define p4d_none(x)	(!p4d_val(x))
#define p4d_present(x)	(p4d_val(x) & _PAGE_PRESENT)
#define p4d_bad(x)	((__PTE_FLAGS(p4d_val(x)) & ~_PAGE_USER) != _KERNPG_TABLE)
#define set_p4d(p4dptr, p4dv) (*(p4dptr) = (p4dv))
#define p4d_clear(xp)	set_p4d(xp, (p4d_t) { __pgd(0) })
#define p4d_populate(mm, p4d, pud) \
	set_p4d(p4d, (p4d_t) { __pgd(_PAGE_TABLE + __pa(pud)) })
#define p4d_page(x)	pfn_to_page((p4d_val(x) & __PHYSICAL_PFN_MASK) >> PAGE_SHIFT)
#define p4d_pgtable(x)	((pud_t *)__va(p4d_val(x) & __PHYSICAL_PFN_MASK))

static inline pmd_t pfn_pmd(unsigned long pfn, pgprot_t prot)
{
	return __pmd((pfn << PAGE_SHIFT) | pgprot_val(prot));
}

#endif
