/* SPDX-License-Identifier: GPL-2.0 */
/* What the parts of the rewriter share: rewrite.c, rewrite_file.c, rewrite_regs.c. */
#ifndef __PARACELL_REWRITE_INTERNAL_H
#define __PARACELL_REWRITE_INTERNAL_H

#include <linux/bitmap.h>
#include <linux/list.h>
#include <linux/mm_types.h>
#include <linux/time64.h>
#include "rewrite.h"
#include "template.h"
#include "text.h"

/* Trampolines are allocated in units of so many bytes. */
#define UNIT		4
#define UNITS		(PAGE_SIZE / UNIT)

struct rewrite_site {
	u64 offset;		/* of the syscall, in the file */
	u16 slot;		/* of the trampoline, in the tail's page */
	bool off;
	u16 middle;		/* entries in the middle so far */
	u8 patch[8];
	struct paracell_template t;
};

struct rewrite_file {
	struct list_head list;		/* youngest first */
	struct hlist_node hash;		/* by mapping */
	/* Which file it is. */
	struct address_space *mapping;
	unsigned long ino;
	u32 generation;
	/* Asked only while no views say that it is the same. */
	loff_t size;
	struct timespec64 mtime;

	struct text_file *text;		/* NULL: no views now */
	bool dead;			/* not what it was: no sites in views */
	/* The tail: [start, end) of page index, zero in the file. */
	pgoff_t index;
	unsigned int start, end;
	u8 tail[PAGE_SIZE];		/* with the trampolines; zero elsewhere */
	DECLARE_BITMAP(used, UNITS);
	unsigned int nr, room;
	struct rewrite_site *sites;
};

/* Of the cell, for /proc/paracell/calls. */
struct rewrite_stats {
	unsigned int files;
	unsigned long sites, refused, middle;
};

extern struct rewrite_stats rewrite_stats;

/* Flags of struct text_mm. */
#define MM_PLAIN	1UL
#define MM_SETTLE	2UL	/* there are views of the other kind yet */
#define MM_NAME_SHIFT	2	/* above them, see mm_name() */

static inline u64 rewrite_tail_offset(struct rewrite_file *f)
{
	return (u64)f->index << PAGE_SHIFT;
}

static inline u64 rewrite_common_at(struct rewrite_file *f)
{
	return rewrite_tail_offset(f) + f->start;
}

/* The file that mapping is of now; NULL if it has no sites. */
struct rewrite_file *rewrite_find_file(struct address_space *mapping);

/* What of the file is at addr, if it can be rewritten there. Under mmap lock. */
struct rewrite_file *rewrite_file_at(struct mm_struct *mm, unsigned long addr,
				     u64 *offset);

struct rewrite_site *rewrite_site_at(struct rewrite_file *f, u64 offset);

/* The site whose trampoline a place in the file is in. */
struct rewrite_site *rewrite_site_of_slot(struct rewrite_file *f, u64 offset);

/* A file with a tail behind the segment that holds offset, or NULL. May sleep. */
struct rewrite_file *rewrite_make_file(struct file *file, u64 offset);

/* Write a part of the tail to the views of it that there are. */
bool rewrite_update_tail(struct rewrite_file *f, unsigned int at, unsigned int len);

/* Finds a place for the site's trampoline and writes it there. */
bool rewrite_place(struct rewrite_file *f, struct rewrite_site *s);

/* From now on mm executes what the files hold. Any context. */
void rewrite_make_plain(struct mm_struct *mm);

#endif
