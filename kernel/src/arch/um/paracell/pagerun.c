// SPDX-License-Identifier: GPL-2.0
/*
 * Contiguous pages for the page cache.
 *
 * A host mapping is a run of pages contiguous in both address spaces. Pages of
 * a file taken one by one lie wherever the allocator's lists are at the time,
 * and a mapping of the file costs a host call for each of them. So they are cut
 * off a larger block, in order, while there are larger blocks to be had.
 */
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/shrinker.h>
#include <linux/spinlock.h>

#define RUN_ORDER 6

static DEFINE_SPINLOCK(run_lock);
static struct page *run_page;	/* next page to hand out */
static unsigned int run_count;	/* how many are left */

struct folio *arch_take_cache_folio(gfp_t gfp);

static bool new_run(void)
{
	static const unsigned int orders[] = { RUN_ORDER, 4, 2 };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(orders); i++) {
		run_page = alloc_pages((GFP_HIGHUSER_MOVABLE & ~__GFP_RECLAIM) |
				       __GFP_NOWARN | __GFP_NOMEMALLOC, orders[i]);
		if (!run_page)
			continue;
		split_page(run_page, orders[i]);
		run_count = 1 << orders[i];
		return true;
	}
	return false;
}

/* A page for the page cache, or NULL: the caller takes any. */
struct folio *arch_take_cache_folio(gfp_t gfp)
{
	struct folio *folio = NULL;
	unsigned long flags;

	/* For others than plain file pages there are zones and pools to mind. */
	if ((gfp & (GFP_HIGHUSER_MOVABLE & ~__GFP_RECLAIM & ~__GFP_HARDWALL)) !=
	    (GFP_HIGHUSER_MOVABLE & ~__GFP_RECLAIM & ~__GFP_HARDWALL) ||
	    gfp & (__GFP_ZERO | __GFP_DMA | __GFP_DMA32 | __GFP_ACCOUNT))
		return NULL;
	spin_lock_irqsave(&run_lock, flags);
	if (run_count || new_run()) {
		run_count--;
		folio = page_folio(run_page++);
	}
	spin_unlock_irqrestore(&run_lock, flags);
	return folio;
}

static unsigned long count_run(struct shrinker *s, struct shrink_control *sc)
{
	return READ_ONCE(run_count) ?: SHRINK_EMPTY;
}

static unsigned long scan_run(struct shrinker *s, struct shrink_control *sc)
{
	unsigned long flags, freed;

	spin_lock_irqsave(&run_lock, flags);
	freed = run_count;
	for (; run_count; run_count--)
		__free_page(run_page++);
	spin_unlock_irqrestore(&run_lock, flags);
	return freed ?: SHRINK_STOP;
}

static int __init init_run(void)
{
	struct shrinker *s = shrinker_alloc(0, "paracell-pagerun");

	if (!s)
		return -ENOMEM;
	s->count_objects = count_run;
	s->scan_objects = scan_run;
	shrinker_register(s);
	return 0;
}
late_initcall(init_run);
