// SPDX-License-Identifier: GPL-2.0
/*
 * The guest's end of the Pager (docs/pager.md).
 *
 * Every frame has a word of state, which both sides change by compare-and-swap
 * only. The page allocator calls in here when blocks enter or leave its free
 * lists, under the zone's lock; those calls flip words and tell the host about
 * runs of frames. The host is trusted: it provides the memory.
 */
#include <linux/interrupt.h>
#include <linux/memblock.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/swap.h>
#include <linux/timex.h>
#include <linux/vmstat.h>
#include <linux/workqueue.h>
#include <asm/barrier.h>
#include <asm/paracell_grow.h>
#include <asm/paracell_pager.h>
#include "paracell.h"

u32 *pager_words __ro_after_init;

static struct pager_area *const area =
	(struct pager_area *)(PARACELL_CONTROL_BASE + PAGER_OFFSET);

/* Reserved by pager_reserve(), in use from pager_start() on. */
static u32 *words __initdata;

/* The kernel may be built for one processor; the host is another one. */
static bool word_cas(u32 *word, u32 *old, u32 new)
{
	bool done;

	asm volatile("lock cmpxchgl %3, %1"
		     : "=@ccz" (done), "+m" (*word), "+a" (*old)
		     : "r" (new) : "memory");
	return done;
}

static unsigned int next_state(unsigned long table, u32 word)
{
	return table >> (4 * (word & PAGER_STATE_MASK)) & 15;
}

static bool reads_as_zero(u32 word)
{
	return word & PAGER_ZERO ||
	       PAGER_ZERO_STATES >> (word & PAGER_STATE_MASK) & 1;
}

/* The ring. Producers hold the zone's lock; there is one zone. */

static void put_entry(unsigned int op, unsigned long pfn, unsigned long count)
{
	u64 tail = area->tail;
	u32 depth;

	if (tail - READ_ONCE(area->head) >= PAGER_ENTRIES) {
		WRITE_ONCE(area->overflow, 1);
	} else {
		area->ring[tail % PAGER_ENTRIES] = (u64)op << PAGER_OP_SHIFT |
			(u64)count << PAGER_COUNT_SHIFT | pfn;
		barrier();
		WRITE_ONCE(area->tail, tail + 1);
	}
	/* The host looks at the ring once more after it has set sleeping. */
	virt_mb();
	depth = READ_ONCE(area->sleeping);
	if (depth == PAGER_SLEEP_DEEP ||
	    (depth == PAGER_SLEEP_NAP &&
	     (op == PAGER_OP_BIND || tail - READ_ONCE(area->head) > PAGER_ENTRIES / 2))) {
		if (!word_cas(&area->sleeping, &depth, PAGER_SLEEP_NOT))
			return;
		area->stats.kicks++;
		paracell_call(PARACELL_CALL_NOTIFY, 0, PARACELL_NOTIFY_STATUS, 0, 0);
	}
}

/* Frames that have entered the free lists and that the host does not know of. */
static unsigned long given_start, given_end;

static void put_given(void)
{
	if (given_end != given_start && area->flags & PAGER_FLAG_GIVE)
		put_entry(PAGER_OP_GIVE, given_start, given_end - given_start);
	given_start = given_end = 0;
}

void __pager_give(unsigned long pfn, unsigned int order)
{
	unsigned long i, n = 1UL << order;
	u32 stamp = READ_ONCE(area->epoch) << PAGER_STAMP_SHIFT;
	bool bound = false;

	for (i = 0; i < n; i++) {
		u32 *word = &pager_words[pfn + i], old = READ_ONCE(*word);

		for (;;) {
			unsigned int next = next_state(PAGER_NEXT_GIVE, old);

			if (WARN_ON_ONCE(next >= PAGER_NUM_STATES))
				break;
			if (next == (old & PAGER_STATE_MASK))
				break;
			bound = true;
			if (word_cas(word, &old, next | stamp))
				break;
		}
	}
	area->stats.free_frames += n;
	if (!bound)
		return;
	area->stats.given += n;
	if (pfn == given_end && given_end - given_start < PAGER_COUNT_MASK / 2) {
		given_end += n;
	} else if (pfn + n == given_start &&
		   given_end - given_start < PAGER_COUNT_MASK / 2) {
		given_start = pfn;
	} else {
		put_given();
		given_start = pfn;
		given_end = pfn + n;
	}
}

void __pager_given(void)
{
	put_given();
}

/* The host is punching the hole: some microseconds. */
static u32 wait_for_host(u32 *word)
{
	u64 begin = get_cycles(), took;
	u32 now;

	for (;;) {
		now = READ_ONCE(*word);
		if (next_state(PAGER_NEXT_TAKE, now) != PAGER_NEXT_WAIT)
			break;
		cpu_relax();
	}
	took = get_cycles() - begin;
	area->stats.waits++;
	area->stats.wait_cycles += took;
	if (took > area->stats.wait_max_cycles)
		area->stats.wait_max_cycles = took;
	return now;
}

/* What the present batch has found; see __pager_taken(). */
static unsigned int batch_missed, batch_ahead;
static unsigned long last_missed;

void __pager_take(unsigned long pfn, unsigned int order)
{
	unsigned long i, n = 1UL << order;
	struct pager_guest_stats *stats = &area->stats;

	for (i = 0; i < n; i++) {
		u32 *word = &pager_words[pfn + i], old = READ_ONCE(*word);

		for (;;) {
			unsigned int next = next_state(PAGER_NEXT_TAKE, old);
			u32 zero = reads_as_zero(old) ? PAGER_ZERO : 0;

			if (next == PAGER_NEXT_WAIT) {
				old = wait_for_host(word);
				continue;
			}
			if (next == (old & PAGER_STATE_MASK))
				break;	/* captured: it never got to the lists */
			if (!word_cas(word, &old, next | zero))
				continue;
			stats->free_frames--;
			stats->taken++;
			switch (old & PAGER_STATE_MASK) {
			case PAGER_STATE_UNBOUND:
				stats->taken_unbound++;
				batch_missed++;
				last_missed = pfn + i;
				break;
			case PAGER_STATE_BINDING:
				stats->taken_binding++;
				batch_missed++;
				break;
			default:
				if (zero) {
					stats->taken_ahead++;
					batch_ahead++;
				}
			}
			break;
		}
	}
}

/*
 * Binding ahead of need. What the allocator will hand out next stands at the
 * heads of its lists. The window opens when frames have to be taken that the
 * host has not bound, doubles while that goes on, and closes after a pause.
 */
#define AHEAD_MIN 32
/* Frames that will be taken before the host gets to them. */
#define AHEAD_GAP 32
static unsigned int ahead_window, ahead_left;
static unsigned long ahead_time;

/* Blocks to look at: they may be small and many, and all of them bound. */
#define AHEAD_BLOCKS 64

/* Ask for the unbound frames of a block, at most *want, without the first *gap. */
static void ask_block(unsigned long pfn, unsigned int order,
		      unsigned int *want, unsigned int *gap)
{
	unsigned long end = pfn + (1UL << order), run;
	unsigned int skip = min(*gap, 1U << order);

	pfn += skip;
	*gap -= skip;
	for (; pfn < end && *want; pfn = run + 1) {
		for (run = pfn; run < end && run - pfn < *want; run++)
			if ((READ_ONCE(pager_words[run]) & PAGER_STATE_MASK) !=
			    PAGER_STATE_UNBOUND)
				break;
		if (run == pfn)
			continue;
		put_entry(PAGER_OP_BIND, pfn, run - pfn);
		ahead_left += run - pfn;
		*want -= run - pfn;
	}
}

static void ask_ahead(struct zone *zone, unsigned int order, int migratetype,
		      unsigned int gap)
{
	unsigned int want = ahead_window - ahead_left, blocks = AHEAD_BLOCKS;
	struct page *page;

	for (; order < NR_PAGE_ORDERS && want; order++) {
		list_for_each_entry(page, &zone->free_area[order].free_list[migratetype],
				    buddy_list) {
			if (!want || !blocks--)
				return;
			ask_block(page_to_pfn(page), order, &want, &gap);
		}
	}
}

void __pager_taken(struct zone *zone, unsigned int order, int migratetype)
{
	unsigned int most = READ_ONCE(area->ahead_max);
	unsigned int grain = READ_ONCE(area->bind_grain);
	unsigned int missed = batch_missed, ahead = batch_ahead;

	if (likely(!missed && !ahead))
		return;
	batch_missed = batch_ahead = 0;
	if (missed && grain > 1 && !(grain & (grain - 1)))
		put_entry(PAGER_OP_BIND, last_missed & ~(grain - 1UL), grain);
	if (!most || migratetype >= MIGRATE_TYPES)
		return;
	if (time_after(jiffies, ahead_time + HZ / 10))
		ahead_window = ahead_left = 0;
	ahead_time = jiffies;
	ahead_left -= min(ahead_left, ahead + missed);
	if (missed)
		ahead_window = clamp(2 * ahead_window, AHEAD_MIN, most);
	ahead_window = min(ahead_window, most);
	if (ahead_left <= ahead_window / 2)
		ask_ahead(zone, order, migratetype, missed ? AHEAD_GAP : 0);
}

static void zero_frame(unsigned long pfn)
{
	clear_page(page_address(pfn_to_page(pfn)));
}

static void verify_zero(unsigned long pfn)
{
	if (memchr_inv(page_address(pfn_to_page(pfn)), 0, PAGE_SIZE))
		panic("pager: frame %#lx is taken for zero and is not", pfn);
}

void __pager_use(unsigned long pfn, unsigned int order, bool zero)
{
	unsigned long i, n = 1UL << order;

	for (i = 0; i < n; i++) {
		u32 *word = &pager_words[pfn + i], old = READ_ONCE(*word);

		if (!(old & PAGER_ZERO)) {
			if (zero)
				zero_frame(pfn + i);
			continue;
		}
		/* Bound: nobody but us changes it. */
		word_cas(word, &old, old & ~PAGER_ZERO);
		if (unlikely(area->flags & PAGER_FLAG_VERIFY))
			verify_zero(pfn + i);
		if (zero)
			area->stats.zero_skipped++;
	}
}

/*
 * Giving back page cache, when the host asks: the coldest first, as under
 * memory pressure, and nothing that is in use.
 */
static void reclaim(struct work_struct *work)
{
	u32 seq = READ_ONCE(area->reclaim_seq);
	unsigned long want = READ_ONCE(area->reclaim_frames), got;

	if (seq == area->reclaim_ack)
		return;
	while (want) {
		got = try_to_free_mem_cgroup_pages(root_mem_cgroup,
						   min(want, SWAP_CLUSTER_MAX * 8),
						   GFP_KERNEL,
						   MEMCG_RECLAIM_PROACTIVE, NULL);
		if (!got)
			break;
		area->stats.reclaimed += got;
		want -= min(want, got);
		cond_resched();
	}
	lru_add_drain();
	drain_all_pages(NULL);
	area->stats.cache_frames = global_node_page_state(NR_FILE_PAGES);
	area->stats.cold_frames = global_node_page_state(NR_INACTIVE_FILE);
	barrier();
	WRITE_ONCE(area->reclaim_ack, seq);
}
static DECLARE_WORK(reclaim_work, reclaim);

static irqreturn_t pager_interrupt(int irq, void *dev)
{
	schedule_work(&reclaim_work);
	return IRQ_HANDLED;
}

static int __init pager_init(void)
{
	if (!pager_words)
		return 0;
	return request_irq(PAGER_IRQ, pager_interrupt, IRQF_NOBALANCING, "pager", NULL);
}
device_initcall(pager_init);

/* As soon as there is memory: a word for every frame, none of it touched. */
void __init pager_reserve(void)
{
	unsigned long frames = PFN_DOWN(paracell_control->boot.mem_size);

	if (area->version != PAGER_VERSION || !(area->flags & PAGER_FLAG_TRACK))
		return;
	words = memblock_alloc_raw(frames * sizeof(*words), PAGE_SIZE);
	if (!words)
		return;
	area->table_gpa = __pa(words);
	barrier();
	WRITE_ONCE(area->table_frames, frames);
}

/*
 * Before the allocator gets its memory. Early allocations come from the top
 * down, so between what the host has loaded and the lowest of them nobody has
 * been.
 */
void __init pager_start(void)
{
	unsigned long image = grow_loaded();
	unsigned long low = max_pfn - grow_left, pfn;
	struct memblock_region *r;

	if (!words)
		return;
	for_each_reserved_mem_region(r)
		if (PFN_DOWN(r->base) >= image)
			low = min(low, PFN_DOWN(r->base));
	for (pfn = 0; pfn < image; pfn++)
		words[pfn] = PAGER_STATE_BOUND;
	for (pfn = low; pfn < max_pfn - grow_left; pfn++)
		words[pfn] = PAGER_STATE_BOUND;
	area->stats.free_frames = grow_left;
	pager_words = words;
}

/* The allocator is about to be given frames that have been counted as free. */
void __pager_grown(unsigned long frames)
{
	area->stats.free_frames -= frames;
}
