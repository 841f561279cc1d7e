// SPDX-License-Identifier: GPL-2.0
/*
 * Views of executable pages; see text.h.
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
#include <linux/proc_fs.h>
#include <linux/rmap.h>
#include <linux/seq_file.h>
#include <linux/shrinker.h>
#include <linux/slab.h>
#include <asm/pgtable.h>
#include "paracell.h"
#include "text.h"
#include "text_scan.h"

bool paracell_text_on __ro_after_init = true;
struct text_stats text_stats;

static DEFINE_XARRAY(views);		/* by frame number */
static LIST_HEAD(unused_views);		/* least recently used first */
static unsigned long nr_unused;
static LIST_HEAD(condemned_views);
static DEFINE_HASHTABLE(files, 8);

static struct kmem_cache *view_cache, *window_cache;

static int __init text_setup(char *arg)
{
	if (!strcmp(arg, "off"))
		paracell_text_on = false;
	return 0;
}
early_param("paracell.text", text_setup);

/* Files. */

/* Of a frame that is mapped; NULL: anonymous memory, or the kernel's. */
static struct address_space *file_of(struct page *frame)
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

static void list_unused(struct text_view *view)
{
	unsigned long flags;

	local_irq_save(flags);
	if (!view->condemned) {
		list_move_tail(&view->list, &unused_views);
		nr_unused++;
	}
	local_irq_restore(flags);
}

static void list_used(struct text_view *view)
{
	unsigned long flags;

	local_irq_save(flags);
	if (!view->condemned) {
		list_del_init(&view->list);
		nr_unused--;
	}
	local_irq_restore(flags);
}

static void condemn(unsigned long pfn)
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
			nr_unused--;
		list_move_tail(&view->list, &condemned_views);
	}
	local_irq_restore(flags);
}

void text_written(unsigned long pfn)
{
	if (unlikely(test_bit(PG_arch_1, &pfn_to_page(pfn)->flags)))
		condemn(pfn);
}

/* A write by the kernel that it reports to architectures like this one. */
void flush_dcache_page(struct page *page)
{
	text_written(page_to_pfn(page));
}
EXPORT_SYMBOL(flush_dcache_page);

/* Maps. */

static unsigned long map_addr(struct text_map *m)
{
	struct text_window *w = container_of(m, struct text_window, maps[m->index]);

	return w->start + m->index * PAGE_SIZE;
}

void text_unmap(struct text_map *m)
{
	struct text_window *w = container_of(m, struct text_window, maps[m->index]);
	struct text_view *view = m->view;

	hlist_del(&m->node);
	m->view = NULL;
	m->tail = false;
	m->data = false;
	w->used--;
	if (!hlist_empty(&view->maps))
		return;
	list_unused(view);
	/* Anonymous memory is not mapped by the next process. */
	if (!view->file && !view->condemned)
		condemn(view->pfn);
}

void text_unmap_range(struct mm_struct *mm, unsigned long start, unsigned long end)
{
	struct text_mm *text = mm->context.text;
	unsigned long index, addr;
	struct text_window *w;
	unsigned int i;

	if (!text)
		return;
	xa_for_each_range(&text->windows, index, w, start / TEXT_WINDOW_SIZE,
			  (end - 1) / TEXT_WINDOW_SIZE) {
		for (i = 0; i < TEXT_WINDOW; i++) {
			addr = w->start + i * PAGE_SIZE;
			if (w->maps[i].view && addr >= start && addr < end)
				text_unmap(&w->maps[i]);
		}
		if (w->used)
			continue;
		xa_erase(&text->windows, index);
		kmem_cache_free(window_cache, w);
	}
}

void text_resync(struct mm_struct *mm, unsigned long addr)
{
	pte_t *pte = virt_to_pte(mm, addr);

	if (pte && pte_present(*pte))
		*pte = pte_set_flags(*pte, _PAGE_SYNC_MASK);
	paracell_mark_dirty(mm, addr, addr + PAGE_SIZE, true);
}

static void unmap_and_resync(struct text_map *m)
{
	struct text_window *w = container_of(m, struct text_window, maps[m->index]);

	text_resync(w->mm, map_addr(m));
	text_unmap(m);
}

struct page *text_map_page(struct text_map *m, u32 *prot)
{
	struct text_view *view = m->view;

	*prot = PARACELL_PROT_READ;
	if (m->data)
		return pfn_to_page(view->pfn);
	if (view->stepped || (m->tail && view->tail_stepped))
		return NULL;
	*prot |= PARACELL_PROT_EXEC;
	return m->tail ? view->tail : view->page;
}

/* Views. */

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
		unmap_and_resync(m);
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
	if (view->file)
		paracell_rewrite_changed(view->file, view->index);
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

static struct text_view *find_view(unsigned long pfn, bool plain)
{
	struct text_view *view = xa_load(&views, pfn);

	if (!view)
		return NULL;
	if (!test_bit(PG_arch_1, &pfn_to_page(pfn)->flags)) {
		condemn(pfn);
		text_reap();
		return NULL;
	}
	while (view && view->plain != plain)
		view = view->next;
	return view;
}

static unsigned long shrink_count(struct shrinker *s, struct shrink_control *sc)
{
	return nr_unused ?: SHRINK_EMPTY;
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
			nr_unused--;
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
			condemn(view->pfn);
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

/*
 * A view of a frame, in page, which belongs to the view on success. Nothing
 * sleeps here, so the frame stays what it is.
 */
static struct text_view *make_view(unsigned long pfn, struct page *page, bool plain)
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
	mapping = file_of(frame);
	if (mapping) {
		view->file = file_get(mapping);
		if (!view->file)
			goto fail;
		view->index = page_to_pgoff(frame);
	}
	copy_page(page_address(page), page_address(frame));
	if (text_make_harmless(view, page_address(page)))
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
	list_unused(view);
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

static struct text_map *map_at(struct mm_struct *mm, unsigned long addr)
{
	return text_map(text_window(mm, addr), addr);
}

/* A second version of the view whose end traps; false without memory. */
static bool make_tail(struct text_view *view, const u8 *after)
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

/* Whether the end of the first and the start of the second must not execute together. */
static bool edge_forbidden(struct text_map *first, struct text_map *second)
{
	return !first->view->stepped && !second->view->stepped &&
	       text_edge_forbidden(page_address(first->view->page),
				   page_address(second->view->page));
}

static void map_view(struct text_window *w, unsigned long addr,
		     struct text_view *view)
{
	unsigned int index = (addr - w->start) / PAGE_SIZE;
	struct text_map *m = &w->maps[index], *other;

	if (m->view == view)
		return;
	if (m->view)
		text_unmap(m);
	if (hlist_empty(&view->maps))
		list_used(view);
	m->index = index;
	m->view = view;
	hlist_add_head(&m->node, &view->maps);
	w->used++;

	other = map_at(w->mm, addr - PAGE_SIZE);
	if (other && !other->tail && edge_forbidden(other, m)) {
		if (make_tail(other->view, page_address(view->page))) {
			other->tail = true;
			text_resync(w->mm, addr - PAGE_SIZE);
		} else {
			unmap_and_resync(other);
		}
	}
	other = map_at(w->mm, addr + PAGE_SIZE);
	if (other && edge_forbidden(m, other)) {
		if (make_tail(view, page_address(other->view->page)))
			m->tail = true;
		else
			text_unmap(m);
	}
}

static struct text_window *window_make(struct mm_struct *mm, unsigned long addr)
{
	struct text_mm *text = mm->context.text;
	struct text_window *w;
	unsigned int i;

	if (!text) {
		text = kzalloc(sizeof(*text), GFP_KERNEL_ACCOUNT);
		if (!text)
			return NULL;
		xa_init(&text->windows);
		/* Another thread may have been first while we slept. */
		if (mm->context.text)
			kfree(text);
		else
			mm->context.text = text;
	}
	w = text_window(mm, addr);
	if (w)
		return w;
	w = kmem_cache_zalloc(window_cache, GFP_KERNEL_ACCOUNT);
	if (!w)
		return NULL;
	w->mm = mm;
	w->start = addr & ~(TEXT_WINDOW_SIZE - 1);
	for (i = 0; i < TEXT_WINDOW; i++)
		w->maps[i].index = i;
	if (xa_insert(&mm->context.text->windows, addr / TEXT_WINDOW_SIZE, w,
		      GFP_KERNEL_ACCOUNT)) {
		kmem_cache_free(window_cache, w);
		return text_window(mm, addr);
	}
	return w;
}

/* Whether somebody may have the frame mapped for writing at another address. */
static bool has_writers(struct page *frame)
{
	struct address_space *mapping = file_of(frame);

	return mapping && mapping_writably_mapped(mapping);
}

/*
 * Take write permission from all shared mappings of the frame: the next write
 * through any of them faults, and text_written() hears of it. Sleeps.
 */
static void protect_from_writers(struct page *frame)
{
	struct folio *folio = page_folio(frame);

	folio_get(folio);
	folio_lock(folio);
	if (folio->mapping && folio_mkclean(folio))
		folio_mark_dirty(folio);
	folio_unlock(folio);
	folio_put(folio);
}

/*
 * Whether a view is worth making before it is asked for. Code in anonymous
 * memory is written again and again, often a few bytes of many pages.
 */
static bool worth_making(pte_t pte, bool asked)
{
	return asked || file_of(pte_page(pte));
}

/* Entries that get views with the one that was asked for. */
static bool wants_view(pte_t pte, bool asked)
{
	if (!pte_present(pte) || !pte_exec(pte) || !pfn_valid(pte_pfn(pte)))
		return false;
	return asked || (!pte_write(pte) && !has_writers(pte_page(pte)));
}

/*
 * Map the view for addr and those of its neighbours. New ones are made in
 * contiguous memory, so that the host maps all in one call.
 */
static void map_window(struct mm_struct *mm, struct vm_area_struct *vma,
		       unsigned long addr)
{
	unsigned long start, end, a, protected = -1;
	struct text_window *w = window_make(mm, addr);
	bool plain = !paracell_rewrite_allowed(mm, vma, addr);
	unsigned long taken = 0;
	struct page *block = NULL, *page;
	struct text_view *view;
	unsigned int i, need = 0;
	bool asked;
	pte_t *pte;

	if (!w)
		return;
	start = max(w->start, vma->vm_start);
	end = min(w->start + TEXT_WINDOW_SIZE, vma->vm_end);

	for (a = start; a < end; a += PAGE_SIZE) {
		pte = virt_to_pte(mm, a);
		if (pte && wants_view(*pte, a == addr) &&
		    worth_making(*pte, a == addr) &&
		    !find_view(pte_pfn(*pte), plain))
			need++;
	}
	if (need > 1) {
		block = alloc_pages(GFP_KERNEL | __GFP_NOWARN | __GFP_NORETRY,
				    ilog2(TEXT_WINDOW));
		if (block)
			split_page(block, ilog2(TEXT_WINDOW));
	}
	page = alloc_page(GFP_KERNEL);
	pte = virt_to_pte(mm, addr);
	if (pte && wants_view(*pte, true) && has_writers(pte_page(*pte))) {
		protected = pte_pfn(*pte);
		protect_from_writers(pfn_to_page(protected));
	}

	/* From here on nothing sleeps. The window may have gone meanwhile. */
	w = text_window(mm, addr);
	for (a = start; w && a < end; a += PAGE_SIZE) {
		asked = a == addr;
		i = (a - w->start) / PAGE_SIZE;
		pte = virt_to_pte(mm, a);
		if (!pte || !wants_view(*pte, asked))
			continue;
		if (has_writers(pte_page(*pte)) && pte_pfn(*pte) != protected)
			continue;
		view = find_view(pte_pfn(*pte), plain);
		if (!view && !worth_making(*pte, asked))
			continue;
		if (!view && block) {
			view = make_view(pte_pfn(*pte), block + i, plain);
			if (view)
				set_bit(i, &taken);
		} else if (!view && asked && page) {
			view = make_view(pte_pfn(*pte), page, plain);
			if (view)
				page = NULL;
		}
		if (!view)
			continue;
		map_view(w, a, view);
		*pte = pte_set_flags(pte_mkyoung(*pte), _PAGE_SYNC_MASK);
	}
	paracell_mark_dirty(mm, start, end, false);

	if (page)
		__free_page(page);
	for (i = 0; block && i < TEXT_WINDOW; i++)
		if (!test_bit(i, &taken))
			__free_page(block + i);
}

bool paracell_text_fault(struct mm_struct *mm, unsigned long address,
			 bool write, bool exec)
{
	unsigned long addr = address & PAGE_MASK;
	pte_t *pte = virt_to_pte(mm, addr);
	struct vm_area_struct *vma;
	struct text_map *m;
	u32 prot;

	if (!paracell_text_on || !pte || !pte_present(*pte) || !pte_exec(*pte))
		return false;
	text_stats.faults++;
	if (write || (pte_write(*pte) && !exec)) {
		m = map_at(mm, addr);
		if (m)
			unmap_and_resync(m);
		*pte = pte_set_flags(pte_mkyoung(*pte), _PAGE_SYNC_MASK);
		paracell_mark_dirty(mm, addr, addr + PAGE_SIZE, false);
		return true;
	}
	mmap_read_lock(mm);
	vma = vma_lookup(mm, addr);
	if (vma)
		map_window(mm, vma, addr);
	/* What is stepped through can be read as it is. */
	m = map_at(mm, addr);
	if (m) {
		m->data = !exec && !text_map_page(m, &prot);
		text_resync(mm, addr);
	}
	mmap_read_unlock(mm);
	return true;
}

void text_destroy(struct mm_struct *mm)
{
	struct text_mm *text = mm->context.text;
	struct text_window *w;
	unsigned long index;
	unsigned int i;

	if (!text)
		return;
	xa_for_each(&text->windows, index, w) {
		for (i = 0; i < TEXT_WINDOW; i++)
			if (w->maps[i].view)
				text_unmap(&w->maps[i]);
		kmem_cache_free(window_cache, w);
	}
	xa_destroy(&text->windows);
	kfree(text);
	mm->context.text = NULL;
}

/* For the rewriter. */

struct text_view *paracell_view_at(struct mm_struct *mm, unsigned long addr)
{
	struct text_map *m = map_at(mm, addr);

	return m && !m->view->condemned ? m->view : NULL;
}

struct text_view *paracell_view_of(struct address_space *mapping, pgoff_t index,
				   bool plain)
{
	struct folio *folio = xa_load(&mapping->i_pages, index);

	if (!folio || xa_is_value(folio))
		return NULL;
	return find_view(page_to_pfn(folio_file_page(folio, index)), plain);
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

void paracell_text_drop(struct mm_struct *mm, unsigned long addr)
{
	struct text_map *m = map_at(mm, addr);

	if (m)
		unmap_and_resync(m);
}

void paracell_text_flush(struct mm_struct *mm)
{
	struct text_mm *text = mm->context.text;
	struct text_window *w;
	unsigned long index;
	unsigned int i;

	if (!text)
		return;
	xa_for_each(&text->windows, index, w)
		for (i = 0; i < TEXT_WINDOW; i++)
			if (w->maps[i].view)
				unmap_and_resync(&w->maps[i]);
}

bool __weak paracell_rewrite_allowed(struct mm_struct *mm,
				     struct vm_area_struct *vma, unsigned long addr)
{
	return false;
}

void __weak paracell_rewrite_fill(struct text_file *file, pgoff_t index,
				  u8 *bytes, bool plain)
{
}

void __weak paracell_rewrite_changed(struct text_file *file, pgoff_t index)
{
}

void __weak paracell_rewrite_free(struct text_file *file)
{
}

static int show_text(struct seq_file *m, void *v)
{
	seq_printf(m, "on %d\nviews %lu\npages %lu\nunused %lu\nmade %lu\ndropped %lu\nfaults %lu\n"
		   "hits %lu\nemulated %lu\nsteps %lu\nrefused %lu\n",
		   paracell_text_on, text_stats.views, text_stats.pages, nr_unused,
		   text_stats.made, text_stats.dropped, text_stats.faults,
		   text_stats.hits, text_stats.emulated, text_stats.steps,
		   text_stats.refused);
	return 0;
}

/* Its prefix REX2 stands for the 0x0f of an opcode. */
#define XCR0_APX BIT(19)

static int __init text_init(void)
{
	u32 xcr0, xcr0_high;
	struct shrinker *s;

	asm volatile("xgetbv" : "=a" (xcr0), "=d" (xcr0_high) : "c" (0));
	if (paracell_text_on && (xcr0 & XCR0_APX) &&
	    paracell_control->boot.isolation == PARACELL_ISOLATION_MPK)
		panic("this processor has APX, which can encode wrpkru in a way that is not looked for: disable it on the host (clearcpuid=apx)");
	/* Not charged: that could fail for good where nothing can be reclaimed. */
	view_cache = KMEM_CACHE(text_view, SLAB_PANIC);
	window_cache = KMEM_CACHE(text_window, SLAB_PANIC | SLAB_ACCOUNT);
	s = shrinker_alloc(0, "paracell-text");
	if (!s)
		panic("no memory for the shrinker of text views");
	s->count_objects = shrink_count;
	s->scan_objects = shrink_scan;
	shrinker_register(s);
	return 0;
}
core_initcall(text_init);

static int __init text_proc_init(void)
{
	proc_mkdir("paracell", NULL);
	proc_create_single("paracell/text", 0400, NULL, show_text);
	return 0;
}
fs_initcall(text_proc_init);
