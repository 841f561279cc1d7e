// SPDX-License-Identifier: GPL-2.0
/*
 * Views as such: which there are, of which frame and file, and when they go.
 *
 * A frame that has views is marked with PG_arch_1, which the page allocator
 * clears when the frame is freed. So a view whose frame has lost the mark is
 * stale. Where a write to a marked frame becomes possible its views are
 * condemned at once; unmapping and freeing them is left to the way to user mode
 * (text_reap), because condemning may happen in any context.
 */
#include <linux/cacheflush.h>
#include <linux/hashtable.h>
#include <linux/highmem.h>
#include <linux/init.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/shrinker.h>
#include <linux/slab.h>
#include "paracell.h"
#include "text.h"
#include "text_scan.h"
#include "text_view.h"

struct text_stats text_stats;

static DEFINE_XARRAY(views);		/* by frame number */
static LIST_HEAD(unused_views);		/* least recently used first */
static LIST_HEAD(condemned_views);
static DEFINE_HASHTABLE(files, 8);

static struct kmem_cache *view_cache;

struct address_space *text_file_of(struct page *frame)
{
	struct folio *folio = page_folio(frame);

	if (folio_test_anon(folio) || folio_test_reserved(folio))
		return NULL;
	return folio->mapping;
}

static struct text_file *file_get(struct address_space *mapping)
{
	struct inode *inode = mapping->host;
	struct text_file *f;

	hash_for_each_possible(files, f, node, (unsigned long)mapping)
		if (f->mapping == mapping && f->ino == inode->i_ino &&
		    f->generation == inode->i_generation)
			goto found;
	f = kzalloc(sizeof(*f), GFP_NOWAIT | __GFP_NOWARN);
	if (!f)
		return NULL;
	f->mapping = mapping;
	f->ino = inode->i_ino;
	f->generation = inode->i_generation;
	hash_add(files, &f->node, (unsigned long)mapping);
found:
	f->views++;
	return f;
}

static void file_put(struct text_file *f)
{
	if (--f->views)
		return;
	paracell_rewrite_free(f);
	hash_del(&f->node);
	kfree(f);
}

/* The lists of views: also touched by interrupts. */

void text_view_unused(struct text_view *view)
{
	unsigned long flags;

	local_irq_save(flags);
	if (!view->condemned) {
		list_move_tail(&view->list, &unused_views);
		text_stats.unused++;
	}
	local_irq_restore(flags);
}

void text_view_used(struct text_view *view)
{
	unsigned long flags;

	local_irq_save(flags);
	if (!view->condemned) {
		list_del_init(&view->list);
		text_stats.unused--;
	}
	local_irq_restore(flags);
}

void text_condemn(unsigned long pfn)
{
	struct text_view *view;
	unsigned long flags;

	local_irq_save(flags);
	clear_bit(PG_arch_1, &pfn_to_page(pfn)->flags);
	for (view = xa_load(&views, pfn); view; view = view->next) {
		if (view->condemned)
			continue;
		view->condemned = true;
		if (hlist_empty(&view->maps))
			text_stats.unused--;
		list_move_tail(&view->list, &condemned_views);
	}
	local_irq_restore(flags);
}

void text_written(unsigned long pfn)
{
	if (unlikely(test_bit(PG_arch_1, &pfn_to_page(pfn)->flags)))
		text_condemn(pfn);
}

/* A write by the kernel that it reports to architectures like this one. */
void flush_dcache_page(struct page *page)
{
	text_written(page_to_pfn(page));
}
EXPORT_SYMBOL(flush_dcache_page);

/*
 * Every page that get_user_pages() finds comes by here. What can be written
 * through the mapping may be pinned for that, for as long as its new holder
 * wants: direct I/O until it is done, a buffer of io_uring until it is
 * unregistered. Whether it is pinned shows in its reference count, but that is
 * raised by other things, too, as by many mappings of one page of a library; so
 * only frames are looked at that have been here.
 */
void flush_anon_page(struct vm_area_struct *vma, struct page *page,
		     unsigned long addr)
{
	pte_t *pte = virt_to_pte(vma->vm_mm, addr);

	if (pte && pte_present(*pte) && pte_write(*pte))
		set_bit(PG_arch_2, &page->flags);
}
EXPORT_SYMBOL(flush_anon_page);

bool text_held(struct page *frame)
{
	struct folio *folio = page_folio(frame);

	/* The kernel's own image: the vDSO. */
	if (folio_test_reserved(folio))
		return false;
	/* Memory of the kernel that users may map: rings, for example. */
	if (!folio_test_anon(folio) && !folio->mapping)
		return true;
	if (!test_bit(PG_arch_2, &frame->flags) || !folio_maybe_dma_pinned(folio))
		return false;
	return folio_test_large(folio) ||
	       folio_ref_count(folio) - folio_mapcount(folio) >= GUP_PIN_COUNTING_BIAS;
}

static void free_view(struct text_view *view)
{
	if (view->page) {
		__free_page(view->page);
		text_stats.pages--;
	}
	if (view->tail) {
		__free_page(view->tail);
		text_stats.pages--;
	}
	if (view->orig) {
		free_page((unsigned long)view->orig);
		text_stats.pages--;
	}
	if (view->file)
		file_put(view->file);
	kmem_cache_free(view_cache, view);
	text_stats.views--;
}

/* Take a condemned view out of everything. */
static void drop_view(struct text_view *view)
{
	struct text_view *head = xa_load(&views, view->pfn);
	struct hlist_node *next;
	struct text_map *m;

	hlist_for_each_entry_safe(m, next, &view->maps, node)
		text_unmap_and_resync(m);
	list_del(&view->list);
	if (head != view) {
		while (head->next != view)
			head = head->next;
		head->next = view->next;
	} else if (view->next) {
		/* Takes the place of an entry: no memory is needed. */
		xa_store(&views, view->pfn, view->next, GFP_ATOMIC);
	} else {
		xa_erase(&views, view->pfn);
	}
	free_view(view);
	text_stats.dropped++;
}

bool text_reap(void)
{
	unsigned long flags;
	bool any = false;

	local_irq_save(flags);
	while (!list_empty(&condemned_views)) {
		drop_view(list_first_entry(&condemned_views, struct text_view, list));
		any = true;
	}
	local_irq_restore(flags);
	return any;
}

void text_forget(void)
{
	struct text_view *view;
	unsigned long pfn;

	xa_for_each(&views, pfn, view)
		text_condemn(pfn);
	text_reap();
}

struct text_view *text_view_find(unsigned long pfn, bool plain)
{
	struct text_view *view = xa_load(&views, pfn);

	if (!view)
		return NULL;
	if (!test_bit(PG_arch_1, &pfn_to_page(pfn)->flags)) {
		text_condemn(pfn);
		text_reap();
		return NULL;
	}
	while (view && view->plain != plain)
		view = view->next;
	return view;
}

static unsigned long shrink_count(struct shrinker *s, struct shrink_control *sc)
{
	return text_stats.unused ?: SHRINK_EMPTY;
}

static unsigned long shrink_scan(struct shrinker *s, struct shrink_control *sc)
{
	unsigned long n, flags;

	for (n = 0; n < sc->nr_to_scan; n++) {
		struct text_view *view;

		local_irq_save(flags);
		view = list_first_entry_or_null(&unused_views, struct text_view, list);
		if (view) {
			list_move_tail(&view->list, &condemned_views);
			view->condemned = true;
			text_stats.unused--;
			/* The mark stays if the other variant does. */
			drop_view(view);
		}
		local_irq_restore(flags);
		if (!view)
			break;
	}
	return n ?: SHRINK_STOP;
}

/*
 * Frames of files that went away take their views along only when somebody
 * looks: whoever makes a view looks at the two that have not been used longest.
 */
static void drop_stale(void)
{
	struct text_view *view;
	int i;

	for (i = 0; i < 2; i++) {
		view = list_first_entry_or_null(&unused_views, struct text_view, list);
		if (!view)
			return;
		if (!test_bit(PG_arch_1, &pfn_to_page(view->pfn)->flags)) {
			text_condemn(view->pfn);
			text_reap();
		} else {
			list_move_tail(&view->list, &unused_views);
		}
	}
}

/* Let the rewriter change the bytes of a view; not if they get forbidden by it. */
static void fill(struct text_view *view, u8 *bytes)
{
	static u8 before[PAGE_SIZE];

	copy_page(before, bytes);
	paracell_rewrite_fill(view->file, view->index, bytes, view->plain);
	if (text_forbidden(bytes, PAGE_SIZE) >= 0)
		copy_page(bytes, before);
}

struct text_view *text_view_make(unsigned long pfn, struct page *page, bool plain)
{
	struct page *frame = pfn_to_page(pfn);
	struct text_view *view, *head;
	struct address_space *mapping;

	drop_stale();
	view = kmem_cache_zalloc(view_cache, GFP_NOWAIT | __GFP_NOWARN);
	if (!view)
		return NULL;
	INIT_LIST_HEAD(&view->list);
	view->pfn = pfn;
	view->plain = plain;
	mapping = text_file_of(frame);
	if (mapping) {
		view->file = file_get(mapping);
		if (!view->file)
			goto fail;
		view->index = page_to_pgoff(frame);
	}
	copy_page(page_address(page), page_address(frame));
	view->held = text_held(frame);
	if (view->held)
		view->stepped = true;
	else if (text_make_harmless(view, page_address(page)))
		goto fail_file;
	if (view->file && !view->stepped)
		fill(view, page_address(page));

	head = xa_load(&views, pfn);
	if (head) {
		view->next = head->next;
		head->next = view;
	} else if (xa_err(xa_store(&views, pfn, view, GFP_NOWAIT | __GFP_NOWARN))) {
		goto fail_orig;
	}
	set_bit(PG_arch_1, &frame->flags);
	view->page = page;
	/* No map yet. */
	text_view_unused(view);
	text_stats.views++;
	text_stats.pages++;
	text_stats.made++;
	return view;

fail_orig:
	if (view->orig) {
		free_page((unsigned long)view->orig);
		text_stats.pages--;
	}
fail_file:
	if (view->file)
		file_put(view->file);
fail:
	kmem_cache_free(view_cache, view);
	return NULL;
}

bool text_view_make_tail(struct text_view *view, const u8 *after)
{
	if (view->tail || view->tail_stepped)
		return true;
	view->tail = alloc_page(GFP_NOWAIT | __GFP_NOWARN);
	if (!view->tail)
		return false;
	text_stats.pages++;
	if (!view->orig) {
		view->orig = (u8 *)__get_free_page(GFP_NOWAIT | __GFP_NOWARN);
		if (!view->orig) {
			__free_page(view->tail);
			view->tail = NULL;
			text_stats.pages--;
			return false;
		}
		text_stats.pages++;
		copy_page(view->orig, page_address(view->page));
	}
	text_stats.hits++;
	copy_page(page_address(view->tail), page_address(view->page));
	text_cut_tail(view, page_address(view->tail), after);
	return true;
}

struct text_view *paracell_view_of(struct address_space *mapping, pgoff_t index,
				   bool plain)
{
	struct folio *folio = xa_load(&mapping->i_pages, index);

	if (!folio || xa_is_value(folio))
		return NULL;
	return text_view_find(page_to_pfn(folio_file_page(folio, index)), plain);
}

u8 *paracell_view_bytes(struct text_view *view)
{
	return page_address(view->page);
}

int paracell_view_patch(struct text_view *view, unsigned int offset,
			const u8 *bytes, unsigned int len)
{
	u8 *text = page_address(view->page), old[64];
	unsigned int i;

	if (len > sizeof(old) || offset < 2 || offset > PAGE_SIZE - 2 ||
	    len > PAGE_SIZE - 2 - offset)
		return -ERANGE;
	if (view->condemned || view->stepped)
		return -EBUSY;
	for (i = 0; view->orig && i < len; i++)
		if (text[offset + i] == INT3 && view->orig[offset + i] != INT3)
			return -EBUSY;
	memcpy(old, text + offset, len);
	memcpy(text + offset, bytes, len);
	if (text_forbidden(text + offset - 2, len + 4) >= 0) {
		memcpy(text + offset, old, len);
		return -EPERM;
	}
	if (view->tail) {
		u8 *tail = page_address(view->tail);

		for (i = 0; i < len; i++)
			if (tail[offset + i] == old[i])
				tail[offset + i] = bytes[i];
	}
	return 0;
}

void __init text_view_init(void)
{
	struct shrinker *s = shrinker_alloc(0, "paracell-text");

	if (!s)
		panic("no memory for the shrinker of text views");
	s->count_objects = shrink_count;
	s->scan_objects = shrink_scan;
	shrinker_register(s);
	/* Not charged: that could fail for good where nothing can be reclaimed. */
	view_cache = KMEM_CACHE(text_view, SLAB_PANIC);
}
