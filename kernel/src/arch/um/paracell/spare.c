// SPDX-License-Identifier: GPL-2.0
/*
 * /proc/paracell/spare: free frames for the host to take back.
 *
 * While the file is open free blocks are out of the allocator's reach, and
 * reading it tells which: 64-bit words, the first frame in bits 0-47, the order
 * above. The host drops what is behind them before the file is closed. A pager
 * takes back what is free all the time: for a guest that has one it is enough
 * that more is free, and there is nothing to read.
 */
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/mutex.h>
#include <linux/proc_fs.h>
#include <linux/slab.h>
#include <linux/swap.h>
#include <linux/vmstat.h>
#include <asm/paracell_pager.h>
#include "text.h"

/* mm/internal.h */
extern int __isolate_free_page(struct page *page, unsigned int order);
extern void __putback_isolated_page(struct page *page, unsigned int order, int mt);

#define SPARE_MAX	4096	/* blocks */
#define SPARE_ORDER	48	/* where the order begins */
/* Stays free, beyond the watermark, for whoever comes meanwhile. */
#define SPARE_LEAVE	((1UL << 20) >> PAGE_SHIFT)

struct spare {
	unsigned int count;
	u64 blocks[SPARE_MAX];
};

static DEFINE_MUTEX(spare_lock);	/* held from open to release */

/* Small blocks first: those have been used. */
static void set_aside(struct spare *s, struct zone *zone)
{
	unsigned long leave = low_wmark_pages(zone) + SPARE_LEAVE;
	unsigned int order, mt;
	struct page *page;

	spin_lock_irq(&zone->lock);
	for (order = 0; order < NR_PAGE_ORDERS; order++) {
		for (mt = 0; mt < MIGRATE_TYPES; mt++) {
			struct list_head *list = &zone->free_area[order].free_list[mt];

			while (!list_empty(list)) {
				if (s->count == SPARE_MAX ||
				    zone_page_state(zone, NR_FREE_PAGES) < leave + (1UL << order))
					goto out;
				page = list_first_entry(list, struct page, buddy_list);
				if (!__isolate_free_page(page, order))
					goto out;
				s->blocks[s->count++] = (u64)order << SPARE_ORDER |
							page_to_pfn(page);
			}
		}
	}
out:
	spin_unlock_irq(&zone->lock);
}

static int spare_open(struct inode *inode, struct file *file)
{
	struct zone *zone = &NODE_DATA(0)->node_zones[ZONE_NORMAL];
	struct spare *s;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	s = kvzalloc(sizeof(*s), GFP_KERNEL);
	if (!s)
		return -ENOMEM;
	if (!mutex_trylock(&spare_lock)) {
		kvfree(s);
		return -EBUSY;
	}
	text_forget();
	lru_add_drain_all();
	drain_all_pages(NULL);
	if (pager_words) {
		mutex_unlock(&spare_lock);
		kvfree(s);
		return -EOPNOTSUPP;
	}
	set_aside(s, zone);
	file->private_data = s;
	return 0;
}

static ssize_t spare_read(struct file *file, char __user *to, size_t n, loff_t *pos)
{
	struct spare *s = file->private_data;

	return simple_read_from_buffer(to, n, pos, s->blocks,
				       s->count * sizeof(s->blocks[0]));
}

static int spare_release(struct inode *inode, struct file *file)
{
	struct zone *zone = &NODE_DATA(0)->node_zones[ZONE_NORMAL];
	struct spare *s = file->private_data;
	unsigned int i;

	spin_lock_irq(&zone->lock);
	for (i = 0; i < s->count; i++) {
		struct page *page = pfn_to_page(s->blocks[i] & ((1ULL << SPARE_ORDER) - 1));

		__putback_isolated_page(page, s->blocks[i] >> SPARE_ORDER,
					get_pageblock_migratetype(page));
	}
	spin_unlock_irq(&zone->lock);
	mutex_unlock(&spare_lock);
	kvfree(s);
	return 0;
}

static const struct proc_ops spare_ops = {
	.proc_open	= spare_open,
	.proc_read	= spare_read,
	.proc_release	= spare_release,
};

static int __init spare_init(void)
{
	proc_create("paracell/spare", 0400, NULL, &spare_ops);
	return 0;
}
late_initcall(spare_init);
