/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the page allocator tells the Pager (docs/pager.md): frames that enter
 * and leave its free lists, and frames that are about to be used. All of it is
 * a load and a branch when the cell has no pager.
 */
#ifndef __UM_PARACELL_PAGER_H
#define __UM_PARACELL_PAGER_H

#include <linux/types.h>
#include <asm/paracell_ring.h>

struct page;
struct zone;

/* A word of state per frame, NULL without a pager. */
extern u32 *pager_words;

void __pager_take(unsigned long pfn, unsigned int order);
void __pager_taken(struct zone *zone, unsigned int order, int migratetype);
void __pager_give(unsigned long pfn, unsigned int order);
void __pager_given(void);
void __pager_use(unsigned long pfn, unsigned int order, bool zero);
void __pager_grown(unsigned long frames);

/* A block has left the free lists. zone->lock is held. */
static inline void pager_take(unsigned long pfn, unsigned int order)
{
	if (pager_words)
		__pager_take(pfn, order);
}

/* End of a batch of pager_take: what will be next? zone->lock is held. */
static inline void pager_taken(struct zone *zone, unsigned int order,
			       int migratetype)
{
	if (pager_words)
		__pager_taken(zone, order, migratetype);
}

/* A block has entered the free lists. zone->lock is held. */
static inline void pager_give(unsigned long pfn, unsigned int order)
{
	if (pager_words)
		__pager_give(pfn, order);
}

/* End of a batch of pager_give. zone->lock is held. */
static inline void pager_given(void)
{
	if (pager_words)
		__pager_given();
}

/*
 * A block gets its user, who wants it zeroed or does not care. True if the
 * caller has to zero it.
 */
static inline bool pager_use(unsigned long pfn, unsigned int order, bool zero)
{
	if (!pager_words)
		return zero;
	__pager_use(pfn, order, zero);
	return false;
}

void pager_reserve(void);
void pager_start(void);

#endif
