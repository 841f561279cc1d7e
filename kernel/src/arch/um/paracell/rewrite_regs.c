// SPDX-License-Identifier: GPL-2.0
/*
 * Registers of threads in rewritten code.
 *
 * Saved registers of a task that is not running show the place without
 * rewriting, with one exception: a call from a site whose next instruction has
 * moved returns to its trampoline. Who looks at such registers calls
 * paracell_rewrite_restore() first.
 */
#include <linux/mm.h>
#include <linux/ptrace.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <asm/ptrace.h>
#include <asm/syscall.h>
#include "paracell.h"
#include "rewrite_internal.h"

/* A site that is entered in the middle so often is better left alone. */
#define MAX_MIDDLE	1000

/* Does the page at addr execute with its sites rewritten? */
static bool shows_sites(struct mm_struct *mm, unsigned long addr)
{
	struct text_view *view = paracell_view_at(mm, addr);

	return view && view->file && !view->plain;
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
	struct rewrite_site *s;
	u64 offset;

	if (ip == PARACELL_GATE) {
		/* Interrupted in the gate: the call has not been made yet. */
		f = rewrite_file_at(mm, *cx, &offset);
		if (!f)
			return ip;
		s = rewrite_site_at(f, offset - 2);
		if (s && !paracell_template_return(&s->t))
			return *cx - 2;
		s = rewrite_site_of_slot(f, offset);
		if (s && offset == rewrite_tail_offset(f) + s->slot +
				   paracell_template_return(&s->t))
			return *cx - offset + s->offset;
		return ip;
	}

	f = rewrite_file_at(mm, ip, &offset);
	if (!f)
		return ip;
	if (offset >= rewrite_common_at(f) && offset < rewrite_common_at(f) + PARACELL_COMMON_BYTES) {
		to = origin(mm, PARACELL_GATE, cx);
		return to == PARACELL_GATE ? ip : to;
	}
	s = rewrite_site_of_slot(f, offset);
	view = paracell_view_at(mm, ip);
	if (s && (!view || view->file)) {
		unsigned int at = offset - rewrite_tail_offset(f) - s->slot;

		to = ip - offset + s->offset;
		if (at && at == paracell_template_return(&s->t))
			*cx = to + 2;
		return to + paracell_template_origin(&s->t, at);
	}
	/* Between the two jumps of a site. */
	s = rewrite_site_at(f, offset - 3);
	if (s && shows_sites(mm, ip) && (s->t.kind == PARACELL_SITE_RET || s->t.kind == PARACELL_SITE_LONG))
		return ip - 3;
	return ip;
}

void paracell_rewrite_restore(struct pt_regs *regs)
{
	struct mm_struct *mm = current->mm;

	if (unlikely(current->ptrace))
		rewrite_make_plain(mm);
	if (!rewrite_stats.files || PT_REGS_CS(regs) != UM_USER_CS)
		return;
	mmap_read_lock(mm);
	PT_REGS_IP(regs) = origin(mm, PT_REGS_IP(regs), &PT_REGS_CX(regs));
	mmap_read_unlock(mm);
}

/* Where the instruction has moved that an address right behind a site means, or 0. */
static unsigned long behind_site(struct mm_struct *mm, unsigned long ip,
				 struct rewrite_file **file, struct rewrite_site **site)
{
	u64 offset;

	*file = rewrite_file_at(mm, ip, &offset);
	if (!*file || !shows_sites(mm, ip))
		return 0;
	*site = rewrite_site_at(*file, offset - 2);
	if (!*site || (*site)->off || !paracell_template_return(&(*site)->t))
		return 0;
	return ip - offset + rewrite_tail_offset(*file) + (*site)->slot +
	       paracell_template_moved(&(*site)->t);
}

void paracell_rewrite_resume(struct pt_regs *regs)
{
	struct mm_struct *mm = current->mm;
	struct rewrite_file *f;
	struct rewrite_site *s;
	unsigned long to;

	if (!mm || !rewrite_stats.files || PT_REGS_CS(regs) != UM_USER_CS)
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

	if (UPT_VIA_GATE(&regs->regs) && rewrite_stats.files) {
		mmap_read_lock(mm);
		PT_REGS_IP(regs) = origin(mm, PT_REGS_IP(regs), &PT_REGS_CX(regs));
		f = rewrite_file_at(mm, PT_REGS_IP(regs), &offset);
		if (f && rewrite_site_at(f, offset - 2)) {
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
static void drop_site(struct rewrite_file *f, struct rewrite_site *s)
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
	struct rewrite_site *s;
	u64 offset;

	for_each_vma_range(vmi, vma, ip) {
		if (!vma->vm_file || (vma->vm_flags & (VM_SHARED | VM_EXEC)) != VM_EXEC)
			continue;
		f = rewrite_find_file(vma->vm_file->f_mapping);
		if (!f)
			continue;
		offset = ((u64)vma->vm_pgoff << PAGE_SHIFT) + (ip - vma->vm_start);
		s = rewrite_site_of_slot(f, offset);
		if (!s)
			continue;
		at = offset - rewrite_tail_offset(f) - s->slot;
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
	struct rewrite_site *s;

	if (!rewrite_stats.files || PT_REGS_CS(regs) != UM_USER_CS)
		return false;
	mmap_read_lock(mm);
	switch (trap) {
	case 1:
		/* A program that steps itself: show it what is in its file. */
		if (!test_thread_flag(TIF_SINGLESTEP)) {
			rewrite_make_plain(mm);
			PT_REGS_IP(regs) = origin(mm, ip, &PT_REGS_CX(regs));
		}
		break;
	case 6:
		to = behind_site(mm, ip, &f, &s);
		if (!to)
			break;
		rewrite_stats.middle++;
		if (++s->middle >= MAX_MIDDLE)
			drop_site(f, s);
		PT_REGS_IP(regs) = to;
		done = true;
		break;
	case 14:
		if (regs->regs.cr2 == ip && lost_tail(mm, regs)) {
			rewrite_make_plain(mm);
			done = true;
		}
		break;
	}
	mmap_read_unlock(mm);
	return done;
}
