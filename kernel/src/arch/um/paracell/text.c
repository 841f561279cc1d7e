// SPDX-License-Identifier: GPL-2.0
/* Views of executable pages in address spaces; see text.h. */
#include <linux/init.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/proc_fs.h>
#include <linux/rmap.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <asm/pgtable.h>
#include "paracell.h"
#include "text.h"
#include "text_scan.h"
#include "text_view.h"

bool paracell_text_on __ro_after_init = true;

static struct kmem_cache *window_cache;

static int __init text_setup(char *arg)
{
	if (!strcmp(arg, "off"))
		paracell_text_on = false;
	return 0;
}
early_param("paracell.text", text_setup);

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
	text_view_unused(view);
	/* Anonymous memory is not mapped by the next process. */
	if (!view->file && !view->condemned)
		text_condemn(view->pfn);
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

void text_unmap_and_resync(struct text_map *m)
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

static struct text_map *map_at(struct mm_struct *mm, unsigned long addr)
{
	return text_map(text_window(mm, addr), addr);
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
		text_view_used(view);
	m->index = index;
	m->view = view;
	hlist_add_head(&m->node, &view->maps);
	w->used++;

	other = map_at(w->mm, addr - PAGE_SIZE);
	if (other && !other->tail && edge_forbidden(other, m)) {
		if (text_view_make_tail(other->view, page_address(view->page))) {
			other->tail = true;
			text_resync(w->mm, addr - PAGE_SIZE);
		} else {
			text_unmap_and_resync(other);
		}
	}
	other = map_at(w->mm, addr + PAGE_SIZE);
	if (other && edge_forbidden(m, other)) {
		if (text_view_make_tail(view, page_address(other->view->page)))
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
	struct address_space *mapping = text_file_of(frame);

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
	return asked || text_file_of(pte_page(pte));
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
		    !text_view_find(pte_pfn(*pte), plain))
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
		view = text_view_find(pte_pfn(*pte), plain);
		if (!view && !worth_making(*pte, asked))
			continue;
		if (!view && block) {
			view = text_view_make(pte_pfn(*pte), block + i, plain);
			if (view)
				set_bit(i, &taken);
		} else if (!view && asked && page) {
			view = text_view_make(pte_pfn(*pte), page, plain);
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
			text_unmap_and_resync(m);
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

struct text_view *paracell_view_at(struct mm_struct *mm, unsigned long addr)
{
	struct text_map *m = map_at(mm, addr);

	return m && !m->view->condemned ? m->view : NULL;
}

void paracell_text_drop(struct mm_struct *mm, unsigned long addr)
{
	struct text_map *m = map_at(mm, addr);

	if (m)
		text_unmap_and_resync(m);
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
				text_unmap_and_resync(&w->maps[i]);
}

static int show_text(struct seq_file *m, void *v)
{
	seq_printf(m, "on %d\nviews %lu\npages %lu\nunused %lu\nmade %lu\ndropped %lu\nfaults %lu\n"
		   "hits %lu\nemulated %lu\nsteps %lu\nrefused %lu\n",
		   paracell_text_on, text_stats.views, text_stats.pages, text_stats.unused,
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

	asm volatile("xgetbv" : "=a" (xcr0), "=d" (xcr0_high) : "c" (0));
	if (paracell_text_on && (xcr0 & XCR0_APX) &&
	    paracell_control->boot.isolation == PARACELL_ISOLATION_MPK)
		panic("this processor has APX, which can encode wrpkru in a way that is not looked for: disable it on the host (clearcpuid=apx)");
	text_view_init();
	window_cache = KMEM_CACHE(text_window, SLAB_PANIC | SLAB_ACCOUNT);
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
