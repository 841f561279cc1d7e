/* SPDX-License-Identifier: GPL-2.0 */
/* Forbidden instructions in executable bytes. */
#ifndef __ARCH_UM_PARACELL_TEXT_SCAN_H
#define __ARCH_UM_PARACELL_TEXT_SCAN_H

#include <linux/types.h>

#define INT3 0xcc

struct text_view;

/* Offset of the first forbidden opcode that lies within the bytes, or -1. */
int text_forbidden(const u8 *bytes, int len);

/*
 * Make the bytes of a new view, a copy of its frame, harmless: 0 or -ENOMEM.
 * Sets view->orig and view->stepped where there is something to be trapped.
 */
int text_make_harmless(struct text_view *view, u8 *bytes);

/* Whether the last bytes of one page and the first of the next are forbidden. */
bool text_edge_forbidden(const u8 *first, const u8 *second);

/*
 * Trap the end of a page before one with which it would be forbidden. bytes is
 * a copy of what the view executes, view->orig is set.
 */
void text_cut_tail(struct text_view *view, u8 *bytes, const u8 *after);

#endif
