// SPDX-License-Identifier: GPL-2.0
/*
 * Files with rewritten sites, and the trampolines in their tails.
 *
 * What is known of a file outlives its views: somebody may still have to return
 * to a trampoline, and the next view of a page gets the same sites again.
 */
#include <linux/elf.h>
#include <linux/fs.h>
#include <linux/hashtable.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include "rewrite_internal.h"

/* Places in the tail that are tried for a site that cannot use all. */
#define TRIES		64

/* Files that are remembered; beyond that, those without views are forgotten. */
#define MAX_FILES	1024

static LIST_HEAD(files);
static DEFINE_HASHTABLE(by_mapping, 8);

struct rewrite_stats rewrite_stats;

struct rewrite_file *rewrite_find_file(struct address_space *mapping)
{
	struct inode *inode = mapping->host;
	struct rewrite_file *f;
	struct timespec64 mtime = inode_get_mtime(inode);

	hash_for_each_possible(by_mapping, f, hash, (unsigned long)mapping)
		if (f->mapping == mapping && f->ino == inode->i_ino &&
		    f->generation == inode->i_generation &&
		    (f->text || (f->size == i_size_read(inode) &&
				 timespec64_equal(&f->mtime, &mtime))))
			return f;
	return NULL;
}

/* Views of a file in memory; text may be about to forget the file. */
static struct rewrite_file *file_of_text(struct text_file *text)
{
	struct rewrite_file *f = text->rewrite;

	if (!f) {
		f = rewrite_find_file(text->mapping);
		if (f) {
			f->text = text;
			text->rewrite = f;
		}
	}
	return f;
}

struct rewrite_site *rewrite_site_at(struct rewrite_file *f, u64 offset)
{
	unsigned int i;

	for (i = 0; i < f->nr; i++)
		if (f->sites[i].offset == offset)
			return &f->sites[i];
	return NULL;
}

struct rewrite_site *rewrite_site_of_slot(struct rewrite_file *f, u64 offset)
{
	unsigned int i, at = offset - rewrite_tail_offset(f);

	if (offset < rewrite_tail_offset(f) || at < f->start || at >= f->end)
		return NULL;
	for (i = 0; i < f->nr; i++)
		if (at >= f->sites[i].slot &&
		    at < f->sites[i].slot + f->sites[i].t.slot_len)
			return &f->sites[i];
	return NULL;
}

struct rewrite_file *rewrite_file_at(struct mm_struct *mm, unsigned long addr,
				    u64 *offset)
{
	struct vm_area_struct *vma = vma_lookup(mm, addr);

	if (!vma || !vma->vm_file || (vma->vm_flags & (VM_SHARED | VM_EXEC)) != VM_EXEC)
		return NULL;
	*offset = ((u64)vma->vm_pgoff << PAGE_SHIFT) + (addr - vma->vm_start);
	return rewrite_find_file(vma->vm_file->f_mapping);
}

static bool zero_in_file(struct rewrite_file *f, const u8 *page)
{
	return !memchr_inv(page + f->start, 0, f->end - f->start);
}

/* Take the sites out of the views that there are, or put them in again. */
static void show_sites(struct rewrite_file *f, bool shown)
{
	unsigned int i;

	for (i = 0; i < f->nr; i++) {
		struct rewrite_site *s = &f->sites[i];
		u64 first = s->offset - s->t.before;
		struct text_view *view = paracell_view_of(f->mapping,
							  first >> PAGE_SHIFT, false);

		if (!view || s->off)
			continue;
		if (memcmp(paracell_view_bytes(view) + offset_in_page(first),
			   shown ? s->t.orig : s->patch, s->t.patch_len))
			continue;
		paracell_view_patch(view, offset_in_page(first),
				    shown ? s->patch : s->t.orig, s->t.patch_len);
	}
}

/* text_view.c has made a view of a page of the file. */
void paracell_rewrite_fill(struct text_file *text, pgoff_t index, u8 *bytes, bool plain)
{
	struct rewrite_file *f = file_of_text(text);
	unsigned int i;

	if (!f)
		return;
	if (index == f->index) {
		if (zero_in_file(f, bytes)) {
			memcpy(bytes + f->start, f->tail + f->start, f->end - f->start);
			if (f->dead) {
				f->dead = false;
				show_sites(f, true);
			}
		} else if (!f->dead) {
			f->dead = true;
			show_sites(f, false);
		}
	}
	if (plain || f->dead)
		return;
	for (i = 0; i < f->nr; i++) {
		struct rewrite_site *s = &f->sites[i];
		u64 first = s->offset - s->t.before;
		u8 *p = bytes + offset_in_page(first);

		if (first >> PAGE_SHIFT == index && !s->off &&
		    !memcmp(p, s->t.orig, s->t.len))
			memcpy(p, s->patch, s->t.patch_len);
	}
}

void paracell_rewrite_free(struct text_file *text)
{
	struct rewrite_file *f = text->rewrite;

	/* Somebody may still have to return to a trampoline: keep it. */
	if (f)
		f->text = NULL;
}

/* Room for one more object. */
static void forget_files(void)
{
	struct rewrite_file *f, *next;

	list_for_each_entry_safe_reverse(f, next, &files, list) {
		if (rewrite_stats.files < MAX_FILES)
			break;
		if (f->text)
			continue;
		list_del(&f->list);
		hash_del(&f->hash);
		rewrite_stats.files--;
		rewrite_stats.sites -= f->nr;
		kfree(f->sites);
		kvfree(f);
	}
}

static bool read_all(struct file *file, void *buf, size_t len, loff_t pos)
{
	return kernel_read(file, buf, len, &pos) == len;
}

/* The segment that holds offset; its end is where the tail begins. */
static bool find_tail(struct file *file, struct rewrite_file *f, u64 offset)
{
	struct elf64_phdr ph;
	struct elfhdr eh;
	unsigned int i;
	u64 end;

	if (!read_all(file, &eh, sizeof(eh), 0) ||
	    memcmp(eh.e_ident, ELFMAG, SELFMAG) || eh.e_ident[EI_CLASS] != ELFCLASS64 ||
	    eh.e_machine != EM_X86_64 || eh.e_phentsize != sizeof(ph) || eh.e_phnum > 64)
		return false;
	for (i = 0; i < eh.e_phnum; i++) {
		if (!read_all(file, &ph, sizeof(ph), eh.e_phoff + i * sizeof(ph)))
			return false;
		if (ph.p_type != PT_LOAD || !(ph.p_flags & PF_X) ||
		    ph.p_filesz != ph.p_memsz || ph.p_filesz > (1UL << 31) ||
		    offset < ph.p_offset || offset - ph.p_offset >= ph.p_filesz)
			continue;
		end = ph.p_offset + ph.p_filesz;
		if (!offset_in_page(end))
			return false;
		f->index = end >> PAGE_SHIFT;
		f->start = ALIGN(offset_in_page(end), 16);
		/* The last bytes belong to text_view.c, which looks across the edge. */
		f->end = PAGE_SIZE - 4;
		if (f->start + 64 > f->end)
			return false;
		return read_all(file, f->tail + f->start, f->end - f->start,
				rewrite_tail_offset(f) + f->start) &&
		       !memchr_inv(f->tail + f->start, 0, f->end - f->start);
	}
	return false;
}

struct rewrite_file *rewrite_make_file(struct file *file, u64 offset)
{
	struct inode *inode = file->f_mapping->host;
	struct rewrite_file *f = kvzalloc(sizeof(*f), GFP_KERNEL);

	if (!f)
		return NULL;
	f->mapping = file->f_mapping;
	f->ino = inode->i_ino;
	f->generation = inode->i_generation;
	f->size = i_size_read(inode);
	f->mtime = inode_get_mtime(inode);
	if (!find_tail(file, f, offset)) {
		kvfree(f);
		return NULL;
	}
	bitmap_fill(f->used, UNITS);
	bitmap_clear(f->used, f->start / UNIT, (f->end - f->start) / UNIT);
	bitmap_set(f->used, f->start / UNIT, DIV_ROUND_UP(PARACELL_COMMON_BYTES, UNIT));
	paracell_template_common(PARACELL_GATE, f->tail + f->start);
	forget_files();
	list_add(&f->list, &files);
	hash_add(by_mapping, &f->hash, (unsigned long)f->mapping);
	rewrite_stats.files++;
	return f;
}

bool rewrite_update_tail(struct rewrite_file *f, unsigned int at, unsigned int len)
{
	int plain;

	for (plain = 0; plain < 2; plain++) {
		struct text_view *view = paracell_view_of(f->mapping, f->index, plain);

		if (view && paracell_view_patch(view, at, f->tail + at, len))
			return false;
	}
	return true;
}

bool rewrite_place(struct rewrite_file *f, struct rewrite_site *s)
{
	unsigned int units = DIV_ROUND_UP(s->t.slot_len, UNIT), tries, start = 0;
	u8 slot[PARACELL_SLOT_BYTES];

	for (tries = 0; tries < TRIES; tries++) {
		start = bitmap_find_next_zero_area(f->used, UNITS, start, units, 0);
		if (start >= UNITS)
			return false;
		if (paracell_template_emit(&s->t, s->offset,
					   rewrite_tail_offset(f) + start * UNIT,
					   rewrite_common_at(f), slot, s->patch))
			break;
		start += 16;
	}
	if (tries == TRIES)
		return false;
	s->slot = start * UNIT;
	memcpy(f->tail + s->slot, slot, s->t.slot_len);
	if (!rewrite_update_tail(f, s->slot, s->t.slot_len)) {
		memset(f->tail + s->slot, 0, s->t.slot_len);
		return false;
	}
	bitmap_set(f->used, start, units);
	return true;
}
