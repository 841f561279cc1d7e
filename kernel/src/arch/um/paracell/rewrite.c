// SPDX-License-Identifier: GPL-2.0
/*
 * Rewriting of system-call sites.
 *
 * A system call by instruction costs a signal of the host, one through the gate
 * does not. The first trap of a site whose bytes match a template (template.c)
 * makes the view of its page (text.c) jump to a trampoline. The file, and the
 * memory that the process and debuggers read by system calls, stay as they are.
 *
 * Trampolines stand in the view of the last page of the program's executable
 * segment, in the zero bytes behind the segment's end: at the same distance
 * from the site in each process, there as long as the site is, and shared like
 * the text. A process that has mapped the file in another way gets views
 * without rewritten sites; the trampolines are in all views, so a thread can
 * always finish one.
 *
 * Saved registers of a task that is not running show the place without
 * rewriting, with one exception: a call from a site whose next instruction has
 * moved returns to its trampoline. Who looks at such registers calls
 * paracell_rewrite_restore() first.
 *
 * Locking: rewrite_lock is held by who makes or removes objects and sites; they
 * do not sleep while they change something, and readers do not sleep at all
 * (one vCPU, no preemption of the kernel). Several vCPUs would need RCU for the
 * objects, and a stop of all user code of the cell while a view is changed.
 */
#include <linux/bitmap.h>
#include <linux/elf.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/hash.h>
#include <linux/hashtable.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/proc_fs.h>
#include <linux/ptrace.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <asm/ptrace.h>
#include <asm/syscall.h>
#include "paracell.h"
#include "rewrite.h"
#include "template.h"
#include "text.h"

/* Trampolines are allocated in units of so many bytes. */
#define UNIT		4
#define UNITS		(PAGE_SIZE / UNIT)

/* Places in the tail that are tried for a site that cannot use all. */
#define TRIES		64

/* Files that are remembered; beyond that, those without views are forgotten. */
#define MAX_FILES	1024

/* A site that is entered in the middle so often is better left alone. */
#define MAX_MIDDLE	1000

struct site {
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
	struct site *sites;
};

static LIST_HEAD(files);
static DEFINE_HASHTABLE(by_mapping, 8);
static unsigned int nr_files;
static DEFINE_MUTEX(rewrite_lock);

static bool rewrite_on __read_mostly = true;

static unsigned long nr_sites, nr_refused, nr_middle;

static int __init rewrite_setup(char *s)
{
	return !kstrtobool(s, &rewrite_on);
}
__setup("paracell.rewrite=", rewrite_setup);

/* Flags of struct text_mm. */
#define MM_PLAIN	1UL
#define MM_SETTLE	2UL	/* there are views of the other kind yet */
#define MM_NAME_SHIFT	2	/* above them, see mm_name() */

static bool plain_mm(struct mm_struct *mm)
{
	struct text_mm *text = mm->context.text;

	return text && (text->rewrite_flags & MM_PLAIN);
}

/* From now on mm executes what the files hold. Any context. */
static void make_plain(struct mm_struct *mm)
{
	struct text_mm *text = mm->context.text;

	if (!text || (text->rewrite_flags & MM_PLAIN))
		return;
	text->rewrite_flags |= MM_PLAIN;
	paracell_text_flush(mm);
}

/*
 * A debugger has got hold of a task: called under the tasklist lock, from a
 * patch to kernel/ptrace.c. A mm without text is seen to by rewrite_allowed().
 */
void arch_ptrace_linked(struct task_struct *child);

void arch_ptrace_linked(struct task_struct *child)
{
	if (child->mm)
		make_plain(child->mm);
}

static struct rewrite_file *find_file(struct address_space *mapping)
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
		f = find_file(text->mapping);
		if (f) {
			f->text = text;
			text->rewrite = f;
		}
	}
	return f;
}

static u64 tail_offset(struct rewrite_file *f)
{
	return (u64)f->index << PAGE_SHIFT;
}

static struct site *site_at(struct rewrite_file *f, u64 offset)
{
	unsigned int i;

	for (i = 0; i < f->nr; i++)
		if (f->sites[i].offset == offset)
			return &f->sites[i];
	return NULL;
}

/* The site whose trampoline a place in the file is in. */
static struct site *site_of_slot(struct rewrite_file *f, u64 offset)
{
	unsigned int i, at = offset - tail_offset(f);

	if (offset < tail_offset(f) || at < f->start || at >= f->end)
		return NULL;
	for (i = 0; i < f->nr; i++)
		if (at >= f->sites[i].slot &&
		    at < f->sites[i].slot + f->sites[i].t.slot_len)
			return &f->sites[i];
	return NULL;
}

/* What of the file is at addr, if it can be rewritten there. */
static struct rewrite_file *file_at(struct mm_struct *mm, unsigned long addr,
				    u64 *offset)
{
	struct vm_area_struct *vma = vma_lookup(mm, addr);

	if (!vma || !vma->vm_file || (vma->vm_flags & (VM_SHARED | VM_EXEC)) != VM_EXEC)
		return NULL;
	*offset = ((u64)vma->vm_pgoff << PAGE_SHIFT) + (addr - vma->vm_start);
	return find_file(vma->vm_file->f_mapping);
}

/* Does the page at addr execute with its sites rewritten? */
static bool shows_sites(struct mm_struct *mm, unsigned long addr)
{
	struct text_view *view = paracell_view_at(mm, addr);

	return view && view->file && !view->plain;
}

/* The tail has to be where the sites jump to. */
static bool tail_mapped(struct mm_struct *mm, struct vm_area_struct *vma,
			struct rewrite_file *f)
{
	unsigned long at = vma->vm_start + ((f->index - vma->vm_pgoff) << PAGE_SHIFT);
	struct vm_area_struct *tail = vma;

	if (f->index < vma->vm_pgoff || at - vma->vm_start > (1UL << 30))
		return false;
	if (at >= vma->vm_end)
		tail = vma_lookup(mm, at);
	return tail && tail->vm_file && tail->vm_file->f_mapping == f->mapping &&
	       (tail->vm_flags & (VM_SHARED | VM_EXEC)) == VM_EXEC &&
	       tail->vm_pgoff + ((at - tail->vm_start) >> PAGE_SHIFT) == f->index;
}

/* The tail's page is in its place, but has become private to the process. */
static bool tail_written(struct mm_struct *mm, struct vm_area_struct *vma,
			 struct rewrite_file *f)
{
	unsigned long at = vma->vm_start + ((f->index - vma->vm_pgoff) << PAGE_SHIFT);
	pte_t *pte = virt_to_pte(mm, at);

	if (!pte || pte_none(*pte))
		return false;
	return !pte_present(*pte) || !pfn_valid(pte_pfn(*pte)) ||
	       PageAnon(pte_page(*pte));
}

/* Something else lies where the tail of the text in front of it should be. */
static bool tail_covered(struct mm_struct *mm, struct vm_area_struct *vma)
{
	struct vm_area_struct *text;
	struct rewrite_file *f;
	unsigned long at;

	find_vma_prev(mm, vma->vm_start, &text);
	if (!text || text->vm_end != vma->vm_start || !text->vm_file ||
	    (text->vm_flags & (VM_SHARED | VM_EXEC)) != VM_EXEC)
		return false;
	f = find_file(text->vm_file->f_mapping);
	if (!f || f->index < text->vm_pgoff)
		return false;
	at = text->vm_start + ((f->index - text->vm_pgoff) << PAGE_SHIFT);
	return at >= vma->vm_start && at < vma->vm_end && !tail_mapped(mm, text, f);
}

bool paracell_rewrite_allowed(struct mm_struct *mm, struct vm_area_struct *vma,
			      unsigned long addr)
{
	unsigned long *flags = &mm->context.text->rewrite_flags;
	struct rewrite_file *f;

	if (!rewrite_on || (*flags & MM_PLAIN))
		return false;
	if (mm == current->mm &&
	    (current->ptrace || (current->personality & PARACELL_PER_PLAIN))) {
		/* It has no views of the other kind yet: this is its first fault. */
		*flags |= MM_PLAIN;
		return false;
	}
	if (!list_empty(&files) && tail_covered(mm, vma)) {
		*flags |= MM_PLAIN | MM_SETTLE;
		return false;
	}
	if (!vma->vm_file || (vma->vm_flags & VM_SHARED))
		return false;
	f = find_file(vma->vm_file->f_mapping);
	if (!f)
		return true;
	if (!tail_mapped(mm, vma, f))
		return false;
	if (tail_written(mm, vma, f)) {
		*flags |= MM_PLAIN | MM_SETTLE;
		return false;
	}
	return true;
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
		struct site *s = &f->sites[i];
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

/* text.c has made a view of a page of the file. */
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
		struct site *s = &f->sites[i];
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
		if (nr_files < MAX_FILES)
			break;
		if (f->text)
			continue;
		list_del(&f->list);
		hash_del(&f->hash);
		nr_files--;
		nr_sites -= f->nr;
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
		/* The last bytes belong to text.c, which looks across the edge. */
		f->end = PAGE_SIZE - 4;
		if (f->start + 64 > f->end)
			return false;
		return read_all(file, f->tail + f->start, f->end - f->start,
				tail_offset(f) + f->start) &&
		       !memchr_inv(f->tail + f->start, 0, f->end - f->start);
	}
	return false;
}

static u64 common_at(struct rewrite_file *f)
{
	return tail_offset(f) + f->start;
}

static struct rewrite_file *make_file(struct file *file, u64 offset)
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
	nr_files++;
	return f;
}

/* Write a part of the tail to the views of it that there are. */
static bool update_tail(struct rewrite_file *f, unsigned int at, unsigned int len)
{
	int plain;

	for (plain = 0; plain < 2; plain++) {
		struct text_view *view = paracell_view_of(f->mapping, f->index, plain);

		if (view && paracell_view_patch(view, at, f->tail + at, len))
			return false;
	}
	return true;
}

/* Finds a place for the trampoline and writes it there. */
static bool place(struct rewrite_file *f, struct site *s)
{
	unsigned int units = DIV_ROUND_UP(s->t.slot_len, UNIT), tries, start = 0;
	u8 slot[PARACELL_SLOT_BYTES];

	for (tries = 0; tries < TRIES; tries++) {
		start = bitmap_find_next_zero_area(f->used, UNITS, start, units, 0);
		if (start >= UNITS)
			return false;
		if (paracell_template_emit(&s->t, s->offset,
					   tail_offset(f) + start * UNIT,
					   common_at(f), slot, s->patch))
			break;
		start += 16;
	}
	if (tries == TRIES)
		return false;
	s->slot = start * UNIT;
	memcpy(f->tail + s->slot, slot, s->t.slot_len);
	if (!update_tail(f, s->slot, s->t.slot_len)) {
		memset(f->tail + s->slot, 0, s->t.slot_len);
		return false;
	}
	bitmap_set(f->used, start, units);
	return true;
}

/*
 * The page gets its first site. Who has mapped it before the file was known has
 * not been asked whether the tail is in its place: let it ask.
 */
static void ask_again(struct text_view *view, struct mm_struct *mm)
{
	struct hlist_node *next;
	struct text_map *m;

	hlist_for_each_entry_safe(m, next, &view->maps, node) {
		struct text_window *w = container_of(m - m->index, struct text_window, maps[0]);

		if (w->mm != mm)
			paracell_text_drop(w->mm, w->start + m->index * PAGE_SIZE);
	}
}

static bool first_in_page(struct rewrite_file *f, pgoff_t index)
{
	unsigned int i;

	for (i = 0; i < f->nr; i++)
		if (f->sites[i].offset >> PAGE_SHIFT == index)
			return false;
	return true;
}

#define CODE_BEFORE	64
#define CODE_BEHIND	(PARACELL_SITE_BYTES + 32)

/* Rewrites the site at offset of the file; false if that cannot be. */
static bool rewrite(struct file *file, u64 offset, struct mm_struct *mm)
{
	u64 from = offset > CODE_BEFORE ? offset - CODE_BEFORE : 0, first;
	struct rewrite_file *f;
	struct text_view *view;
	u8 code[CODE_BEFORE + CODE_BEHIND];
	struct site s = { .offset = offset };
	loff_t pos = from;
	ssize_t len;

	len = kernel_read(file, code, sizeof(code), &pos);
	if (len <= 0 || !paracell_template_match(code, len, offset - from,
						 offset_in_page(from), &s.t))
		return false;
	first = offset - s.t.before;

	f = find_file(file->f_mapping);
	if (!f)
		f = make_file(file, offset);
	if (!f || f->dead || site_at(f, offset))
		return false;
	/* Another segment, whose distance to the tail is its own. */
	if (offset >= tail_offset(f) + f->start || tail_offset(f) - offset > (1UL << 30))
		return false;
	if (f->nr == f->room) {
		struct site *sites = krealloc_array(f->sites, f->room + 32,
						    sizeof(*sites), GFP_KERNEL);

		if (!sites)
			return false;
		f->sites = sites;
		f->room += 32;
	}

	/* No sleeping from here on. */
	view = paracell_view_of(f->mapping, first >> PAGE_SHIFT, false);
	if (!view || memcmp(paracell_view_bytes(view) + offset_in_page(first),
			    s.t.orig, s.t.len))
		return false;
	if (view->file) {
		f->text = view->file;
		view->file->rewrite = f;
	}
	if (first_in_page(f, first >> PAGE_SHIFT))
		ask_again(view, mm);
	if (f->nr == 0 &&
	    !update_tail(f, f->start, PARACELL_COMMON_BYTES)) {
		f->dead = true;
		return false;
	}
	if (!place(f, &s))
		return false;
	if (paracell_view_patch(view, offset_in_page(first), s.patch, s.t.patch_len))
		return false;
	f->sites[f->nr++] = s;
	nr_sites++;
	return true;
}

/* Places that have been looked at, so that a trap costs no search. */
static struct {
	unsigned long mm, ip;
} seen[256];

/* A name for an address space that is never used again; 0: none yet. */
static unsigned long mm_name(struct mm_struct *mm)
{
	struct text_mm *text = mm->context.text;
	static unsigned long last;

	if (!text)
		return 0;
	if (!(text->rewrite_flags >> MM_NAME_SHIFT))
		text->rewrite_flags |= ++last << MM_NAME_SHIFT;
	return text->rewrite_flags >> MM_NAME_SHIFT;
}

void paracell_rewrite_trapped(struct pt_regs *regs)
{
	unsigned long site = PT_REGS_IP(regs) - 2;
	struct mm_struct *mm = current->mm;
	unsigned long id = mm_name(mm);
	unsigned int slot = hash_long(site ^ id, 8);
	struct vm_area_struct *vma;
	struct text_view *view;
	struct file *file = NULL;
	u64 offset = 0;

	if (!rewrite_on || !id || (seen[slot].mm == id && seen[slot].ip == site))
		return;
	seen[slot].mm = id;
	seen[slot].ip = site;
	if (plain_mm(mm) || PT_REGS_CS(regs) != UM_USER_CS)
		return;

	if (mmap_read_lock_killable(mm))
		return;
	vma = vma_lookup(mm, site);
	view = paracell_view_at(mm, site);
	if (vma && vma->vm_file && view && view->file && !view->plain) {
		offset = ((u64)vma->vm_pgoff << PAGE_SHIFT) + (site - vma->vm_start);
		if (view->index == offset >> PAGE_SHIFT &&
		    S_ISREG(file_inode(vma->vm_file)->i_mode))
			file = get_file(vma->vm_file);
	}
	mmap_read_unlock(mm);
	if (!file) {
		nr_refused++;
		return;
	}
	if (mutex_lock_killable(&rewrite_lock))
		goto out;
	if (!rewrite(file, offset, mm))
		nr_refused++;
	mutex_unlock(&rewrite_lock);
out:
	fput(file);
}

/*
 * Where ip would be without rewriting; ip itself if it has nothing to do with
 * it. *cx is rcx, which is the return address on the way to the gate. Under
 * mmap lock.
 */
static unsigned long origin(struct mm_struct *mm, unsigned long ip, unsigned long *cx)
{
	struct rewrite_file *f;
	struct text_view *view;
	unsigned long to;
	struct site *s;
	u64 offset;

	if (ip == PARACELL_GATE) {
		/* Interrupted in the gate: the call has not been made yet. */
		f = file_at(mm, *cx, &offset);
		if (!f)
			return ip;
		s = site_at(f, offset - 2);
		if (s && !paracell_template_return(&s->t))
			return *cx - 2;
		s = site_of_slot(f, offset);
		if (s && offset == tail_offset(f) + s->slot +
				   paracell_template_return(&s->t))
			return *cx - offset + s->offset;
		return ip;
	}

	f = file_at(mm, ip, &offset);
	if (!f)
		return ip;
	if (offset >= common_at(f) && offset < common_at(f) + PARACELL_COMMON_BYTES) {
		to = origin(mm, PARACELL_GATE, cx);
		return to == PARACELL_GATE ? ip : to;
	}
	s = site_of_slot(f, offset);
	view = paracell_view_at(mm, ip);
	if (s && (!view || view->file)) {
		unsigned int at = offset - tail_offset(f) - s->slot;

		to = ip - offset + s->offset;
		if (at && at == paracell_template_return(&s->t))
			*cx = to + 2;
		return to + paracell_template_origin(&s->t, at);
	}
	/* Between the two jumps of a site. */
	s = site_at(f, offset - 3);
	if (s && shows_sites(mm, ip) && (s->t.kind == PARACELL_SITE_RET || s->t.kind == PARACELL_SITE_LONG))
		return ip - 3;
	return ip;
}

void paracell_rewrite_restore(struct pt_regs *regs)
{
	struct mm_struct *mm = current->mm;

	if (unlikely(current->ptrace))
		make_plain(mm);
	if (list_empty(&files) || PT_REGS_CS(regs) != UM_USER_CS)
		return;
	mmap_read_lock(mm);
	PT_REGS_IP(regs) = origin(mm, PT_REGS_IP(regs), &PT_REGS_CX(regs));
	mmap_read_unlock(mm);
}

/* Where the instruction has moved that an address right behind a site means, or 0. */
static unsigned long behind_site(struct mm_struct *mm, unsigned long ip,
				 struct rewrite_file **file, struct site **site)
{
	u64 offset;

	*file = file_at(mm, ip, &offset);
	if (!*file || !shows_sites(mm, ip))
		return 0;
	*site = site_at(*file, offset - 2);
	if (!*site || (*site)->off || !paracell_template_return(&(*site)->t))
		return 0;
	return ip - offset + tail_offset(*file) + (*site)->slot +
	       paracell_template_moved(&(*site)->t);
}

void paracell_rewrite_resume(struct pt_regs *regs)
{
	struct mm_struct *mm = current->mm;
	struct rewrite_file *f;
	struct site *s;
	unsigned long to;

	if (!mm || list_empty(&files) || PT_REGS_CS(regs) != UM_USER_CS)
		return;
	mmap_read_lock(mm);
	to = behind_site(mm, PT_REGS_IP(regs), &f, &s);
	if (to)
		PT_REGS_IP(regs) = to;
	mmap_read_unlock(mm);
}

unsigned long paracell_rewrite_begin(struct pt_regs *regs)
{
	unsigned long ip = PT_REGS_IP(regs);

	paracell_rewrite_restore(regs);
	return ip == PT_REGS_IP(regs) ? 0 : ip;
}

void paracell_rewrite_end(struct pt_regs *regs, unsigned long cookie)
{
	unsigned long cx = 0;

	if (likely(!cookie) || !current->mm)
		return;
	mmap_read_lock(current->mm);
	/* Not if the call or a tracer has sent it elsewhere. */
	if (origin(current->mm, cookie, &cx) == PT_REGS_IP(regs))
		PT_REGS_IP(regs) = cookie;
	mmap_read_unlock(current->mm);
}

void paracell_rewrite_restart(struct pt_regs *regs, unsigned long nr)
{
	struct mm_struct *mm = current->mm;
	struct rewrite_file *f;
	u64 offset;

	if (UPT_VIA_GATE(&regs->regs) && !list_empty(&files)) {
		mmap_read_lock(mm);
		PT_REGS_IP(regs) = origin(mm, PT_REGS_IP(regs), &PT_REGS_CX(regs));
		f = file_at(mm, PT_REGS_IP(regs), &offset);
		if (f && site_at(f, offset - 2)) {
			mmap_read_unlock(mm);
			PT_REGS_AX(regs) = nr;
			PT_REGS_IP(regs) -= 2;
			return;
		}
		mmap_read_unlock(mm);
	}
	um_restart_syscall(regs, nr);
}

/* Bring back the bytes of a site that does not bear rewriting. */
static void drop_site(struct rewrite_file *f, struct site *s)
{
	struct text_view *view = paracell_view_of(f->mapping, s->offset >> PAGE_SHIFT, false);

	/* Others may stand in the middle: their next instruction is there again. */

	if (!view || !paracell_view_patch(view, offset_in_page(s->offset - s->t.before),
					  s->t.orig, s->t.patch_len))
		s->off = true;
}

/* The tail is not mapped any more, but somebody has jumped there. */
static bool lost_tail(struct mm_struct *mm, struct pt_regs *regs)
{
	unsigned long ip = PT_REGS_IP(regs), low = ip > (1UL << 30) ? ip - (1UL << 30) : 0;
	VMA_ITERATOR(vmi, mm, low);
	struct vm_area_struct *vma;
	struct rewrite_file *f;
	unsigned int at;
	struct site *s;
	u64 offset;

	for_each_vma_range(vmi, vma, ip) {
		if (!vma->vm_file || (vma->vm_flags & (VM_SHARED | VM_EXEC)) != VM_EXEC)
			continue;
		f = find_file(vma->vm_file->f_mapping);
		if (!f)
			continue;
		offset = ((u64)vma->vm_pgoff << PAGE_SHIFT) + (ip - vma->vm_start);
		s = site_of_slot(f, offset);
		if (!s)
			continue;
		at = offset - tail_offset(f) - s->slot;
		PT_REGS_IP(regs) = ip - offset + s->offset +
				   paracell_template_origin(&s->t, at);
		if (at && at == paracell_template_return(&s->t))
			PT_REGS_CX(regs) = PT_REGS_IP(regs);
		return true;
	}
	return false;
}

void paracell_rewrite_settle(void)
{
	struct mm_struct *mm = current->mm;
	struct text_mm *text = mm->context.text;
	struct task_struct *p, *t;

	if (likely(!text || !(text->rewrite_flags & MM_SETTLE)))
		return;
	mmap_read_lock(mm);
	text->rewrite_flags &= ~MM_SETTLE;
	/* Whoever is in a trampoline that is not there: back to the site. */
	rcu_read_lock();
	for_each_process_thread(p, t)
		if (t->mm == mm)
			lost_tail(mm, task_pt_regs(t));
	rcu_read_unlock();
	paracell_text_flush(mm);
	mmap_read_unlock(mm);
}

bool paracell_rewrite_trap(struct pt_regs *regs)
{
	struct mm_struct *mm = current->mm;
	unsigned long ip = PT_REGS_IP(regs), trap = regs->regs.trap_no;
	struct rewrite_file *f;
	bool done = false;
	unsigned long to;
	struct site *s;

	if (list_empty(&files) || PT_REGS_CS(regs) != UM_USER_CS)
		return false;
	mmap_read_lock(mm);
	switch (trap) {
	case 1:
		/* A program that steps itself: show it what is in its file. */
		if (!test_thread_flag(TIF_SINGLESTEP)) {
			make_plain(mm);
			PT_REGS_IP(regs) = origin(mm, ip, &PT_REGS_CX(regs));
		}
		break;
	case 6:
		to = behind_site(mm, ip, &f, &s);
		if (!to)
			break;
		nr_middle++;
		if (++s->middle >= MAX_MIDDLE)
			drop_site(f, s);
		PT_REGS_IP(regs) = to;
		done = true;
		break;
	case 14:
		if (regs->regs.cr2 == ip && lost_tail(mm, regs)) {
			make_plain(mm);
			done = true;
		}
		break;
	}
	mmap_read_unlock(mm);
	return done;
}

bool paracell_rewrite_get(void)
{
	return rewrite_on && !plain_mm(current->mm) &&
	       !(current->personality & PARACELL_PER_PLAIN);
}

int paracell_rewrite_set(bool on)
{
	struct text_mm *text = current->mm->context.text;

	if (on) {
		current->personality &= ~PARACELL_PER_PLAIN;
		if (text && !current->ptrace && (text->rewrite_flags & MM_PLAIN)) {
			text->rewrite_flags &= ~MM_PLAIN;
			paracell_text_flush(current->mm);
			memset(seen, 0, sizeof(seen));
		}
	} else {
		current->personality |= PARACELL_PER_PLAIN;
		make_plain(current->mm);
	}
	return 0;
}

void paracell_rewrite_count(bool via_gate)
{
	struct text_mm *text = current->mm->context.text;

	if (!text)
		return;
	if (via_gate)
		text->gate_calls++;
	else
		text->trap_calls++;
}

/* /proc/paracell/calls: the cell, then one line for each process. */
static int calls_show(struct seq_file *m, void *v)
{
	struct paracell_vcpu *vcpu = paracell_vcpu();
	struct task_struct *p;

	seq_printf(m, "gate %llu\ntrap %llu\nsites %lu\nrefused %lu\nmiddle %lu\nfiles %u\nrewrite %s\n",
		   vcpu->gate_calls, vcpu->raw_calls, nr_sites, nr_refused,
		   nr_middle, nr_files, rewrite_on ? "on" : "off");
	rcu_read_lock();
	for_each_process(p) {
		struct text_mm *text;

		task_lock(p);
		text = p->mm && !(p->flags & PF_KTHREAD) ? p->mm->context.text : NULL;
		if (text)
			seq_printf(m, "pid %d gate %llu trap %llu %s %s\n",
				   task_pid_nr_ns(p, task_active_pid_ns(current)),
				   text->gate_calls, text->trap_calls,
				   text->rewrite_flags & MM_PLAIN ? "plain" : "rewritten",
				   p->comm);
		task_unlock(p);
	}
	rcu_read_unlock();
	return 0;
}

static int __init rewrite_init(void)
{
	/* text.c has made the directory. */
	proc_create_single("paracell/calls", 0444, NULL, calls_show);
	return 0;
}
late_initcall(rewrite_init);
