/* SPDX-License-Identifier: GPL-2.0 */
/* Views as such (text_view.c), for who maps them (text.c). None of this sleeps. */
#ifndef __ARCH_UM_PARACELL_TEXT_VIEW_H
#define __ARCH_UM_PARACELL_TEXT_VIEW_H

#include <linux/init.h>
#include "text.h"

/* Of a frame that is mapped; NULL: anonymous memory, or the kernel's. */
struct address_space *text_file_of(struct page *frame);

/* The view of a frame, with or without rewritten sites; NULL: none yet. */
struct text_view *text_view_find(unsigned long pfn, bool plain);

/*
 * A view of a frame, in page, which belongs to the view on success. Nothing
 * sleeps here, so the frame stays what it is. NULL without memory.
 */
struct text_view *text_view_make(unsigned long pfn, struct page *page, bool plain);

/*
 * A second version of the view whose end traps, because of the bytes after it;
 * false without memory.
 */
bool text_view_make_tail(struct text_view *view, const u8 *after);

/* The last map of a view has gone, or its first has come. */
void text_view_unused(struct text_view *view);
void text_view_used(struct text_view *view);

/*
 * Whether the kernel or a device may write the frame at any time without saying
 * so: then what executes is looked up for every instruction.
 */
bool text_held(struct page *frame);

/* No view of the frame may be mapped again. Any context. */
void text_condemn(unsigned long pfn);

void __init text_view_init(void);

/* Of text.c: take a map out of its address space. */
void text_unmap_and_resync(struct text_map *m);

#endif
