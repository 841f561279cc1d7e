// SPDX-License-Identifier: GPL-2.0
/*
 * Memory is taken into the page allocator when it is needed, in steps: see
 * asm/paracell_grow.h.
 *
 * Until then the zone ends where the allocator's part does, so that nobody who
 * walks it meets descriptors that are not filled in; its array of them has room
 * for all.
 */
#include <linux/irqflags.h>
#include <linux/memblock.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/page-isolation.h>
#include <linux/pageblock-flags.h>
#include <linux/sizes.h>
#include <asm/paracell_grow.h>
#include <asm/paracell_pager.h>
#include "paracell.h"

/* A step: its descriptors take 256 KiB, which the host binds in some 100 us. */
#define GROW_STEP	(SZ_16M >> PAGE_SHIFT)
/* What the allocator has at first, besides what was reserved before it. */
#define GROW_FIRST	(SZ_32M >> PAGE_SHIFT)

unsigned long grow_left __read_mostly;

/* mm/internal.h: a frame above it in a page table is taken for an error. */
extern unsigned long highest_memmap_pfn;

static unsigned long grow_next;	/* the first frame that it has not got */

static bool grow_on __initdata = true;

static int __init grow_setup(char *arg)
{
	return kstrtobool(arg, &grow_on);
}
early_param("paracell.grow", grow_setup);

unsigned long __init grow_loaded(void)
{
	struct paracell_boot_params *boot = &paracell_control->boot;
	unsigned long end = PFN_UP(boot->kernel_end);

	if (boot->initrd_size)
		end = max(end, PFN_UP(boot->initrd_gpa + boot->initrd_size));
	return end;
}

/* Tell memblock, and with it everyone at boot, of the first part of memory. */
void __init grow_reserve(void)
{
	unsigned long frames = PFN_DOWN(paracell_control->boot.mem_size);

	/* A share for tables whose size follows that of memory, the Pager's too. */
	grow_next = grow_loaded() + PFN_UP(frames * sizeof(struct page)) +
		    GROW_FIRST + frames / 32;
	grow_next = ALIGN(grow_next, MAX_ORDER_NR_PAGES);
	if (!grow_on || grow_next >= frames)
		grow_next = frames;
	grow_left = frames - grow_next;
	memblock_add(0, PFN_PHYS(grow_next));
}

/* The bits of page blocks were sized by what memblock knows. */
void __init grow_span(void)
{
	struct zone *zone = &NODE_DATA(0)->node_zones[ZONE_NORMAL];
	unsigned long blocks = DIV_ROUND_UP(max_pfn, pageblock_nr_pages);
	unsigned long longs = BITS_TO_LONGS(blocks * NR_PAGEBLOCK_BITS);
	unsigned long had = BITS_TO_LONGS(DIV_ROUND_UP(grow_next, pageblock_nr_pages) *
					  NR_PAGEBLOCK_BITS);
	unsigned long *bits;

	if (!grow_left)
		return;
	bits = memblock_alloc(longs * sizeof(long), SMP_CACHE_BYTES);
	if (!bits)
		panic("no memory for the bits of page blocks");
	memcpy(bits, zone->pageblock_flags, had * sizeof(long));
	zone->pageblock_flags = bits;
}

/* The allocator has its first part: from now on it may ask for more. */
void __init grow_start(void)
{
	struct zone *zone = &NODE_DATA(0)->node_zones[ZONE_NORMAL];

	if (!grow_left)
		return;
	adjust_managed_page_count(pfn_to_page(0), grow_left);
	zone->present_pages += grow_left;
	NODE_DATA(0)->node_present_pages += grow_left;
}

static void grow_page(unsigned long pfn)
{
	struct page *page = pfn_to_page(pfn);

	mm_zero_struct_page(page);
	set_page_links(page, ZONE_NORMAL, 0, pfn);
	atomic_set(&page->_mapcount, -1);
	INIT_LIST_HEAD(&page->lru);
}

static void grow_block(struct zone *zone, unsigned long start, unsigned long n)
{
	unsigned long pfn, end = start + n;
	unsigned int order;

	for (pfn = start; pfn < end; pfn++)
		grow_page(pfn);
	for (pfn = start; pfn < end; pfn += pageblock_nr_pages)
		set_pageblock_migratetype(pfn_to_page(pfn), MIGRATE_MOVABLE);
	highest_memmap_pfn = end - 1;
	zone->spanned_pages = end - zone->zone_start_pfn;
	zone->zone_pgdat->node_spanned_pages = end;
	for (pfn = start; pfn < end; pfn += 1UL << order) {
		order = min_t(unsigned int, MAX_PAGE_ORDER, ilog2(end - pfn));
		init_page_count(pfn_to_page(pfn));
		__free_pages(pfn_to_page(pfn), order);
	}
}

bool __grow_zone(struct zone *zone)
{
	unsigned long flags, n;

	/* One processor: with interrupts off nobody else is here. */
	BUILD_BUG_ON(IS_ENABLED(CONFIG_SMP));
	local_irq_save(flags);
	n = min(grow_left, GROW_STEP);
	if (n) {
		unsigned long start = grow_next;

		grow_next += n;
		grow_left -= n;
		if (pager_words)
			__pager_grown(n);
		grow_block(zone, start, n);
	}
	local_irq_restore(flags);
	return n;
}
