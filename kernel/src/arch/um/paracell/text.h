/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Text views: what user code executes.
 *
 * Keys do not stop instruction fetch, so user memory may hold no instruction
 * that loads PKRU. The host never maps a user frame executable. It maps a view:
 * a copy of the frame that only the kernel can write, made harmless before it
 * is mapped. Whoever writes the frame, by whatever alias, does not write what
 * executes; a changed frame gets a new view (docs/text.md).
 *
 * One view serves all processes that map the frame. Views are a cache: one goes
 * when its frame changes or is freed, or when memory is short and nobody maps
 * it. What was patched into it goes with it.
 *
 * There is one vCPU and the kernel is not preemptible. Where it is not said
 * otherwise the functions are for process context and do not sleep.
 */
#ifndef __ARCH_UM_PARACELL_TEXT_H
#define __ARCH_UM_PARACELL_TEXT_H

#include <linux/list.h>
#include <linux/mm_types.h>
#include <linux/xarray.h>

struct uml_pt_regs;

/* A file with views. Gone when the last of them is. */
struct text_file {
	struct address_space *mapping;	/* to compare with only */
	unsigned long ino;
	u32 generation;
	unsigned int views;
	struct hlist_node node;
	void *rewrite;			/* of the rewriter */
};

struct text_view {
	struct hlist_head maps;		/* struct text_map */
	struct text_view *next;		/* the other variant, same frame */
	unsigned long pfn;		/* of the frame that it is a copy of */
	struct page *page;		/* what executes */
	struct page *tail;		/* the same, its last bytes trapped; or NULL */
	u8 *orig;			/* the frame's bytes, if any are trapped */
	struct text_file *file;		/* NULL: anonymous memory */
	pgoff_t index;			/* in file */
	struct list_head list;		/* nobody maps it, or condemned */
	bool plain;			/* without rewritten sites */
	bool condemned;
	bool stepped;			/* never mapped, see text_trap.c */
	bool held;			/* so, because of who else may write it */
	bool tail_stepped;
};

/* A view in an address space: TEXT_WINDOW pages together. */
#define TEXT_WINDOW 8
#define TEXT_WINDOW_SIZE (TEXT_WINDOW * PAGE_SIZE)

struct text_map {
	struct hlist_node node;		/* of view->maps */
	struct text_view *view;		/* NULL: none here */
	u8 index;			/* in the window */
	bool tail;			/* view->tail is what is mapped */
	bool data;			/* the frame is, to be read only */
};

struct text_window {
	struct mm_struct *mm;
	unsigned long start;		/* address */
	unsigned int used;
	struct text_map maps[TEXT_WINDOW];
};

/* mm->context.text, from the first fault for execution on. */
struct text_mm {
	struct xarray windows;		/* by address / (TEXT_WINDOW * PAGE_SIZE) */
	unsigned long rewrite_flags;	/* of the rewriter */
	u64 gate_calls, trap_calls;	/* of the rewriter */
};

struct text_stats {
	unsigned long views;		/* now */
	unsigned long pages;		/* now, all kinds */
	unsigned long unused;		/* now, views that nobody maps */
	unsigned long made, dropped, faults;
	unsigned long hits, emulated, steps, refused;
};

extern struct text_stats text_stats;
extern bool paracell_text_on;

/* For the fault path. */

/*
 * A user fault at an address whose entry is present. True: it has been seen to.
 * False: not executable, or meant as data. May sleep.
 */
bool paracell_text_fault(struct mm_struct *mm, unsigned long address,
			 bool write, bool exec);

/* For tlb.c. */

static inline struct text_window *text_window(struct mm_struct *mm,
					      unsigned long addr)
{
	struct text_mm *text = mm->context.text;

	return text ? xa_load(&text->windows, addr / TEXT_WINDOW_SIZE) : NULL;
}

/*
 * The window that addr is in, and where it ends; or NULL, and where the next one
 * begins. *to is at most end.
 */
static inline struct text_window *text_window_above(struct mm_struct *mm,
						    unsigned long addr, unsigned long end,
						    unsigned long *to)
{
	struct text_mm *text = mm->context.text;
	unsigned long index = addr / TEXT_WINDOW_SIZE;
	struct text_window *w = NULL;

	*to = end;
	if (text)
		w = xa_find(&text->windows, &index, (end - 1) / TEXT_WINDOW_SIZE,
			    XA_PRESENT);
	if (!w)
		return NULL;
	if (w->start > addr) {
		*to = w->start;
		return NULL;
	}
	*to = min(end, w->start + TEXT_WINDOW_SIZE);
	return w;
}

static inline struct text_map *text_map(struct text_window *w, unsigned long addr)
{
	struct text_map *m;

	if (!w)
		return NULL;
	m = &w->maps[(addr >> PAGE_SHIFT) % TEXT_WINDOW];
	return m->view ? m : NULL;
}

/*
 * What to map: a page, and how (PARACELL_PROT_*). NULL: nothing, every
 * instruction is stepped through.
 */
struct page *text_map_page(struct text_map *m, u32 *prot);

/* The host has no view at this place any more, or will not have before user code runs. */
void text_unmap(struct text_map *m);

/* The same for all in a range; frees windows that are empty. */
void text_unmap_range(struct mm_struct *mm, unsigned long start, unsigned long end);

/* Bring what the host has for a page up to date before user code runs. */
void text_resync(struct mm_struct *mm, unsigned long addr);

/* User code is about to be able to write this frame. Any context. */
void text_written(unsigned long pfn);

/*
 * Unmap and free what has been condemned; mark in the tables, and as dirty,
 * what is to be unmapped. True if there was something.
 */
bool text_reap(void);

/* Part with all views, for a guest at rest: they come back by fault. */
void text_forget(void);

void text_destroy(struct mm_struct *mm);

/* For the rewriter. */

/* The view that executes at addr, or NULL. */
struct text_view *paracell_view_at(struct mm_struct *mm, unsigned long addr);

/* The view of a page of a file, or NULL. */
struct text_view *paracell_view_of(struct address_space *mapping, pgoff_t index,
				   bool plain);

/* The PAGE_SIZE bytes that execute. To be written by paracell_view_patch() only. */
u8 *paracell_view_bytes(struct text_view *view);

/*
 * Change bytes of a view for all who map it. -ERANGE: not within the page, or
 * its first or last two bytes, which matter for the neighbours. -EBUSY: some
 * are trapped. -EPERM: a forbidden instruction would appear.
 */
int paracell_view_patch(struct text_view *view, unsigned int offset,
			const u8 *bytes, unsigned int len);

/* Drop all views of mm, or the one at addr; they come back by fault. */
void paracell_text_flush(struct mm_struct *mm);
void paracell_text_drop(struct mm_struct *mm, unsigned long addr);

/*
 * What the rewriter supplies. Whether the views of a mapping are to have
 * rewritten sites: asked with the mmap lock held when one is mapped.
 */
bool paracell_rewrite_allowed(struct mm_struct *mm, struct vm_area_struct *vma,
			      unsigned long addr);

/*
 * A view has been made: rewrite sites and supply trampolines in bytes. A
 * change that makes a forbidden instruction appear is undone as a whole.
 */
void paracell_rewrite_fill(struct text_file *file, pgoff_t index, u8 *bytes,
			   bool plain);

/* The last view of the file is gone. */
void paracell_rewrite_free(struct text_file *file);

#endif
