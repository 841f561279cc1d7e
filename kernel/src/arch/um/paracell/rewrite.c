// SPDX-License-Identifier: GPL-2.0
/*
 * Rewriting of system-call sites.
 *
 * A system call by instruction costs a signal of the host, one through the gate
 * does not. The first trap of a site whose bytes match a template (template.c)
 * makes the view of its page (text_view.c) jump to a trampoline. The file, and the
 * memory that the process and debuggers read by system calls, stay as they are.
 *
 * Trampolines stand in the view of the last page of the program's executable
 * segment, in the zero bytes behind the segment's end: at the same distance
 * from the site in each process, there as long as the site is, and shared like
 * the text. A process that has mapped the file in another way gets views
 * without rewritten sites; the trampolines are in all views, so a thread can
 * always finish one.
 *
 * Locking: rewrite_lock is held by who makes or removes objects and sites; they
 * do not sleep while they change something, and readers do not sleep at all
 * (one vCPU, no preemption of the kernel). Several vCPUs would need RCU for the
 * objects, and a stop of all user code of the cell while a view is changed.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/hash.h>
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
#include "paracell.h"
#include "rewrite_internal.h"

static DEFINE_MUTEX(rewrite_lock);

static bool rewrite_on __read_mostly = true;

static int __init rewrite_setup(char *s)
{
	return !kstrtobool(s, &rewrite_on);
}
__setup("paracell.rewrite=", rewrite_setup);

static bool plain_mm(struct mm_struct *mm)
{
	struct text_mm *text = mm->context.text;

	return text && (text->rewrite_flags & MM_PLAIN);
}

void rewrite_make_plain(struct mm_struct *mm)
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
		rewrite_make_plain(child->mm);
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
	f = rewrite_find_file(text->vm_file->f_mapping);
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
	if (rewrite_stats.files && tail_covered(mm, vma)) {
		*flags |= MM_PLAIN | MM_SETTLE;
		return false;
	}
	if (!vma->vm_file || (vma->vm_flags & VM_SHARED))
		return false;
	f = rewrite_find_file(vma->vm_file->f_mapping);
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
	struct rewrite_site s = { .offset = offset };
	loff_t pos = from;
	ssize_t len;

	len = kernel_read(file, code, sizeof(code), &pos);
	if (len <= 0 || !paracell_template_match(code, len, offset - from,
						 offset_in_page(from), &s.t))
		return false;
	first = offset - s.t.before;

	f = rewrite_find_file(file->f_mapping);
	if (!f)
		f = rewrite_make_file(file, offset);
	if (!f || f->dead || rewrite_site_at(f, offset))
		return false;
	/* Another segment, whose distance to the tail is its own. */
	if (offset >= rewrite_tail_offset(f) + f->start || rewrite_tail_offset(f) - offset > (1UL << 30))
		return false;
	if (f->nr == f->room) {
		struct rewrite_site *sites = krealloc_array(f->sites, f->room + 32,
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
	    !rewrite_update_tail(f, f->start, PARACELL_COMMON_BYTES)) {
		f->dead = true;
		return false;
	}
	if (!rewrite_place(f, &s))
		return false;
	if (paracell_view_patch(view, offset_in_page(first), s.patch, s.t.patch_len))
		return false;
	f->sites[f->nr++] = s;
	rewrite_stats.sites++;
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
		rewrite_stats.refused++;
		return;
	}
	if (mutex_lock_killable(&rewrite_lock))
		goto out;
	if (!rewrite(file, offset, mm))
		rewrite_stats.refused++;
	mutex_unlock(&rewrite_lock);
out:
	fput(file);
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
		rewrite_make_plain(current->mm);
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
		   vcpu->gate_calls, vcpu->raw_calls, rewrite_stats.sites, rewrite_stats.refused,
		   rewrite_stats.middle, rewrite_stats.files, rewrite_on ? "on" : "off");
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
