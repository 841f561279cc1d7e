/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __ARCH_UM_MMU_H
#define __ARCH_UM_MMU_H

#include <linux/types.h>

/*
 * Part of an address space whose host mappings differ from its page tables.
 * With flush set, pages that are no longer there have to go; otherwise only
 * new ones have come.
 */
struct paracell_dirty {
	unsigned long start, end;
	bool flush;
};

#define PARACELL_MAX_DIRTY 16

struct text_mm;

typedef struct mm_context {
	unsigned int as;		/* address space of the monitor, 0: none now */
	unsigned int nr_dirty;
	struct list_head owners;	/* of address spaces (space.c) */
	bool ran;			/* since somebody looked */
	unsigned long vdso;		/* where it is mapped, 0: nowhere */
	struct text_mm *text;		/* executable pages; NULL: none yet */
	struct paracell_dirty dirty[PARACELL_MAX_DIRTY];
} mm_context_t;

#endif
