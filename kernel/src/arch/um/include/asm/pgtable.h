/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Page table entries have the processor's layout, so that on platform kvm a
 * guest page table can be the one the processor walks. On platform process
 * the host's mappings stand in for the TLB: set_ptes() and flush_tlb_*() note
 * what has changed (struct paracell_dirty), and the way to user mode brings the
 * host's mappings up to date (arch/um/paracell/tlb.c).
 *
 * Two of the bits that the processor leaves to software say whether the host
 * has the entry already. They are set for every entry that is present:
 *
 * NEWPAGE: the host has something else, or nothing, at this address.
 * NEWPROT: the host has this page with other permissions.
 */
#ifndef __UM_PGTABLE_H
#define __UM_PGTABLE_H

#include <asm/page.h>
#include <asm/fixmap.h>

#define _PAGE_PRESENT	0x001UL
#define _PAGE_RW	0x002UL
#define _PAGE_USER	0x004UL
#define _PAGE_ACCESSED	0x020UL
#define _PAGE_DIRTY	0x040UL
#define _PAGE_PROTNONE	0x100UL		/* if PRESENT is clear: mapped with PROT_NONE */
#define _PAGE_NEWPAGE	0x200UL
#define _PAGE_NEWPROT	0x400UL
#define _PAGE_SPECIAL	0x800UL
#define _PAGE_NX	(1UL << 63)

#define _PAGE_SWP_EXCLUSIVE 0x040UL	/* in swap entries only */

#define _PAGE_SYNC_MASK	(_PAGE_NEWPAGE | _PAGE_NEWPROT)

#define __PHYSICAL_PFN_MASK	0x000ffffffffff000UL

#include <asm/pgtable-4level.h>

extern pgd_t swapper_pg_dir[PTRS_PER_PGD];

/* zero page used for uninitialized stuff */
extern unsigned long empty_zero_page[PAGE_SIZE / sizeof(unsigned long)];
#define ZERO_PAGE(vaddr) virt_to_page(empty_zero_page)

#define VMALLOC_START	(0UL + PARACELL_VMALLOC_BASE)
#define VMALLOC_END	(0UL + PARACELL_VMALLOC_END)
#define MODULES_VADDR	VMALLOC_START
#define MODULES_END	VMALLOC_END
#define MODULES_LEN	(MODULES_END - MODULES_VADDR)

#define _PAGE_TABLE	(_PAGE_PRESENT | _PAGE_RW | _PAGE_USER | _PAGE_ACCESSED | _PAGE_DIRTY)
#define _KERNPG_TABLE	(_PAGE_PRESENT | _PAGE_RW | _PAGE_ACCESSED | _PAGE_DIRTY)
#define _PAGE_CHG_MASK	(__PHYSICAL_PFN_MASK | _PAGE_ACCESSED | _PAGE_DIRTY | _PAGE_SPECIAL)

#define _PAGE_BASE	(_PAGE_PRESENT | _PAGE_USER | _PAGE_ACCESSED)

#define PAGE_NONE	__pgprot(_PAGE_PROTNONE | _PAGE_ACCESSED | _PAGE_NX)
#define PAGE_SHARED	__pgprot(_PAGE_BASE | _PAGE_RW | _PAGE_NX)
#define PAGE_SHARED_EXEC __pgprot(_PAGE_BASE | _PAGE_RW)
#define PAGE_COPY	__pgprot(_PAGE_BASE | _PAGE_NX)
#define PAGE_READONLY	__pgprot(_PAGE_BASE | _PAGE_NX)
#define PAGE_READONLY_EXEC __pgprot(_PAGE_BASE)
#define PAGE_KERNEL	__pgprot(_KERNPG_TABLE | _PAGE_NX)
#define PAGE_KERNEL_EXEC __pgprot(_KERNPG_TABLE)
#define PAGE_KERNEL_RO	__pgprot((_KERNPG_TABLE & ~_PAGE_RW) | _PAGE_NX)

#define pte_get_bits(p, bits)	((p).pte & (bits))

static inline pte_t pte_set_flags(pte_t pte, unsigned long set)
{
	return __pte(pte_val(pte) | set);
}

static inline pte_t pte_clear_flags(pte_t pte, unsigned long clear)
{
	return __pte(pte_val(pte) & ~clear);
}

static inline int pte_none(pte_t pte)
{
	return !pte_val(pte);
}

static inline int pte_present(pte_t pte)
{
	return pte_get_bits(pte, _PAGE_PRESENT | _PAGE_PROTNONE) != 0;
}

static inline unsigned long pte_pfn(pte_t pte)
{
	return (pte_val(pte) & __PHYSICAL_PFN_MASK) >> PAGE_SHIFT;
}

#define pte_page(x)	pfn_to_page(pte_pfn(x))

/* The following only work if pte_present() is true. */
static inline int pte_read(pte_t pte)
{
	return pte_get_bits(pte, _PAGE_USER) && pte_get_bits(pte, _PAGE_PRESENT);
}

static inline int pte_exec(pte_t pte)
{
	return pte_read(pte) && !pte_get_bits(pte, _PAGE_NX);
}

static inline int pte_write(pte_t pte)
{
	return !!pte_get_bits(pte, _PAGE_RW);
}

static inline int pte_dirty(pte_t pte)
{
	return !!pte_get_bits(pte, _PAGE_DIRTY);
}

static inline int pte_young(pte_t pte)
{
	return !!pte_get_bits(pte, _PAGE_ACCESSED);
}

static inline int pte_special(pte_t pte)
{
	return !!pte_get_bits(pte, _PAGE_SPECIAL);
}

static inline pte_t pte_mkclean(pte_t pte)
{
	return pte_clear_flags(pte, _PAGE_DIRTY);
}

static inline pte_t pte_mkold(pte_t pte)
{
	return pte_clear_flags(pte, _PAGE_ACCESSED);
}

static inline pte_t pte_wrprotect(pte_t pte)
{
	return pte_clear_flags(pte, _PAGE_RW);
}

static inline pte_t pte_mkdirty(pte_t pte)
{
	return pte_set_flags(pte, _PAGE_DIRTY);
}

static inline pte_t pte_mkyoung(pte_t pte)
{
	return pte_set_flags(pte, _PAGE_ACCESSED);
}

static inline pte_t pte_mkwrite_novma(pte_t pte)
{
	return pte_set_flags(pte, _PAGE_RW);
}

static inline pte_t pte_mkspecial(pte_t pte)
{
	return pte_set_flags(pte, _PAGE_SPECIAL);
}

static inline pte_t pfn_pte(unsigned long pfn, pgprot_t prot)
{
	return __pte((pfn << PAGE_SHIFT) | pgprot_val(prot));
}

static inline pgprot_t pte_pgprot(pte_t pte)
{
	return __pgprot(pte_val(pte) & ~__PHYSICAL_PFN_MASK);
}

#define mk_pte(page, pgprot) pfn_pte(page_to_pfn(page), (pgprot))

static inline pte_t pte_modify(pte_t pte, pgprot_t newprot)
{
	return __pte((pte_val(pte) & _PAGE_CHG_MASK) |
		     (pgprot_val(newprot) & ~_PAGE_CHG_MASK));
}

/*
 * A new entry is not the host's yet. If the page stays the same and the host
 * has it, only the permissions have to change there.
 */
static inline void set_pte(pte_t *ptep, pte_t pte)
{
	unsigned long old = pte_val(*ptep), new = pte_val(pte);

	if (new & (_PAGE_PRESENT | _PAGE_PROTNONE)) {
		unsigned long frame_and_present = __PHYSICAL_PFN_MASK | _PAGE_PRESENT;

		new |= _PAGE_NEWPROT;
		if (((old ^ new) & frame_and_present) || (old & _PAGE_NEWPAGE))
			new |= _PAGE_NEWPAGE;
		else
			new &= ~_PAGE_NEWPAGE;
	}
	WRITE_ONCE(*ptep, __pte(new));
}

#define pte_clear(mm, addr, xp)	WRITE_ONCE(*(xp), __pte(0))

#define __HAVE_ARCH_PTE_SAME
static inline int pte_same(pte_t a, pte_t b)
{
	return !((pte_val(a) ^ pte_val(b)) & ~_PAGE_SYNC_MASK) ||
	       pte_val(a) == pte_val(b);
}

#define PFN_PTE_SHIFT	PAGE_SHIFT

struct mm_struct;

/* Note that [start, end) has to be brought up to date; flush: also remove. */
extern void paracell_mark_dirty(struct mm_struct *mm, unsigned long start,
				unsigned long end, bool flush);

#define set_ptes set_ptes
static inline void set_ptes(struct mm_struct *mm, unsigned long addr,
			    pte_t *ptep, pte_t pte, int nr)
{
	unsigned long end = addr + ((unsigned long)nr << PAGE_SHIFT);

	for (;;) {
		set_pte(ptep, pte);
		if (--nr == 0)
			break;
		ptep++;
		pte = __pte(pte_val(pte) + (1UL << PFN_PTE_SHIFT));
	}
	paracell_mark_dirty(mm, addr, end, false);
}

/* Conversion functions. */
#define phys_to_page(phys)	pfn_to_page(phys_to_pfn(phys))
#define virt_to_page(addr)	phys_to_page(__pa(addr))
#define page_to_phys(page)	pfn_to_phys(page_to_pfn(page))

extern void paging_init(void);
extern pte_t *virt_to_pte(struct mm_struct *mm, unsigned long addr);

#define update_mmu_cache(vma, address, ptep) do {} while (0)
#define update_mmu_cache_range(vmf, vma, address, ptep, nr) do {} while (0)

/*
 * Swap entries: neither PRESENT nor PROTNONE.
 *
 *  63 .. 12   11 .. 7    6     5 .. 1    0
 *  offset      0         E      type     0
 *
 * E is the exclusive marker, which is not part of the entry.
 */
#define __swp_type(x)		(((x).val >> 1) & 0x1f)
#define __swp_offset(x)		((x).val >> 12)
#define __swp_entry(type, offset) \
	((swp_entry_t) { (((type) & 0x1f) << 1) | ((unsigned long)(offset) << 12) })
#define __pte_to_swp_entry(pte)	((swp_entry_t) { pte_val(pte) })
#define __swp_entry_to_pte(x)	((pte_t) { (x).val })

static inline int pte_swp_exclusive(pte_t pte)
{
	return !!pte_get_bits(pte, _PAGE_SWP_EXCLUSIVE);
}

static inline pte_t pte_swp_mkexclusive(pte_t pte)
{
	return pte_set_flags(pte, _PAGE_SWP_EXCLUSIVE);
}

static inline pte_t pte_swp_clear_exclusive(pte_t pte)
{
	return pte_clear_flags(pte, _PAGE_SWP_EXCLUSIVE);
}

#endif
