// SPDX-License-Identifier: GPL-2.0
/* Guest physical memory and kernel page tables. */
#include <linux/memblock.h>
#include <linux/mm.h>
#include <linux/swap.h>
#include <asm/page.h>
#include <asm/paracell_grow.h>
#include <asm/paracell_pager.h>
#include <asm/pgalloc.h>
#include <asm/sections.h>
#include "paracell.h"

unsigned long empty_zero_page[PAGE_SIZE / sizeof(unsigned long)] __page_aligned_bss;
EXPORT_SYMBOL(empty_zero_page);

pgd_t swapper_pg_dir[PTRS_PER_PGD] __page_aligned_bss;

void __init paging_init(void)
{
	unsigned long zones[MAX_NR_ZONES] = { 0 };

	max_pfn = max_low_pfn = PFN_DOWN(paracell_control->boot.mem_size);
	min_low_pfn = 0;
	max_mapnr = max_pfn;
	high_memory = __va(paracell_control->boot.mem_size);
	pager_reserve();
	zones[ZONE_NORMAL] = max_pfn;
	free_area_init(zones);
	grow_span();
}

void __init mem_init(void)
{
	pager_start();
	memblock_free_all();
	grow_start();
}

/* The image's own init sections go back to the page allocator. */
void free_initmem(void)
{
	free_initmem_default(POISON_FREE_INITMEM);
}

pgd_t *pgd_alloc(struct mm_struct *mm)
{
	/* The kernel half is the monitor's on this platform; see KernelGen. */
	return (pgd_t *)__get_free_page(GFP_KERNEL | __GFP_ZERO);
}

static const pgprot_t protection_map[16] = {
	[VM_NONE]					= PAGE_NONE,
	[VM_READ]					= PAGE_READONLY,
	[VM_WRITE]					= PAGE_COPY,
	[VM_WRITE | VM_READ]				= PAGE_COPY,
	[VM_EXEC]					= PAGE_READONLY_EXEC,
	[VM_EXEC | VM_READ]				= PAGE_READONLY_EXEC,
	[VM_EXEC | VM_WRITE]				= PAGE_READONLY_EXEC,
	[VM_EXEC | VM_WRITE | VM_READ]			= PAGE_READONLY_EXEC,
	[VM_SHARED]					= PAGE_NONE,
	[VM_SHARED | VM_READ]				= PAGE_READONLY,
	[VM_SHARED | VM_WRITE]				= PAGE_SHARED,
	[VM_SHARED | VM_WRITE | VM_READ]		= PAGE_SHARED,
	[VM_SHARED | VM_EXEC]				= PAGE_READONLY_EXEC,
	[VM_SHARED | VM_EXEC | VM_READ]			= PAGE_READONLY_EXEC,
	[VM_SHARED | VM_EXEC | VM_WRITE]		= PAGE_SHARED_EXEC,
	[VM_SHARED | VM_EXEC | VM_WRITE | VM_READ]	= PAGE_SHARED_EXEC
};
DECLARE_VM_GET_PAGE_PROT
