// SPDX-License-Identifier: GPL-2.0
/*
 * The host's mappings as a TLB.
 *
 * Changes to the page tables of an address space are noted as ranges. On the
 * way to user mode the ranges become map operations, which the monitor
 * carries out in the right host process. An entry may be missing on the host
 * (it comes back by fault), but it may never grant more than the page table.
 *
 * When there are more changes than operations fit, a range is unmapped in one
 * operation and comes back by fault.
 */
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <asm/tlbflush.h>
#include <asm/mmu_context.h>
#include "paracell.h"
#include "text.h"

void paracell_mark_dirty(struct mm_struct *mm, unsigned long start,
			 unsigned long end, bool flush)
{
	struct mm_context *ctx = &mm->context;
	struct paracell_dirty *d;
	unsigned int i;

	if (unlikely(mm == &init_mm || start >= end))
		return;
	for (i = 0; i < ctx->nr_dirty; i++) {
		d = &ctx->dirty[i];
		if (d->flush == flush && start <= d->end && end >= d->start) {
			d->start = min(d->start, start);
			d->end = max(d->end, end);
			return;
		}
	}
	if (likely(ctx->nr_dirty < PARACELL_MAX_DIRTY)) {
		ctx->dirty[ctx->nr_dirty++] =
			(struct paracell_dirty){ start, end, flush };
		return;
	}
	/* Full: one range that covers all. */
	d = &ctx->dirty[0];
	for (i = 1; i < ctx->nr_dirty; i++) {
		d->start = min(d->start, ctx->dirty[i].start);
		d->end = max(d->end, ctx->dirty[i].end);
		d->flush |= ctx->dirty[i].flush;
	}
	d->start = min(d->start, start);
	d->end = max(d->end, end);
	d->flush |= flush;
	ctx->nr_dirty = 1;
}
EXPORT_SYMBOL_GPL(paracell_mark_dirty);

pte_t *virt_to_pte(struct mm_struct *mm, unsigned long addr)
{
	pgd_t *pgd = pgd_offset(mm, addr);
	p4d_t *p4d = p4d_offset(pgd, addr);
	pud_t *pud;
	pmd_t *pmd;

	if (p4d_none(*p4d))
		return NULL;
	pud = pud_offset(p4d, addr);
	if (pud_none(*pud))
		return NULL;
	pmd = pmd_offset(pud, addr);
	if (pmd_none(*pmd))
		return NULL;
	return pte_offset_kernel(pmd, addr);
}

/* The operations gathered so far are vcpu->ops[0 .. num_ops). */
struct sync {
	struct paracell_vcpu *vcpu;
	struct mm_struct *mm;
	struct text_window *window;	/* of views, where the walk is; or NULL */
	bool flush;
	bool full;
};

static void emit(struct sync *s, u32 op, u32 prot, unsigned long va,
		 unsigned long len, unsigned long gpa)
{
	struct paracell_vcpu *vcpu = s->vcpu;
	struct paracell_mapop *last;

	if (vcpu->num_ops) {
		last = &vcpu->ops[vcpu->num_ops - 1];
		if (last->op == op && last->prot == prot &&
		    last->va + last->len == va &&
		    (op != PARACELL_OP_MAP || last->gpa + last->len == gpa)) {
			last->len += len;
			return;
		}
	}
	if (vcpu->num_ops == PARACELL_MAX_MAP_OPS) {
		s->full = true;
		return;
	}
	vcpu->ops[vcpu->num_ops++] = (struct paracell_mapop){
		.op = op, .prot = prot, .va = va, .len = len, .gpa = gpa,
	};
}

/*
 * What the host may let the user do: the accessed bit is learned from the
 * first access and the dirty bit from the first write.
 */
static u32 host_prot(pte_t pte)
{
	u32 prot = 0;

	if (!pte_read(pte) || !pte_young(pte))
		return 0;
	prot = PARACELL_PROT_READ;
	if (pte_write(pte) && pte_dirty(pte))
		prot |= PARACELL_PROT_WRITE;
	if (pte_exec(pte))
		prot |= PARACELL_PROT_EXEC;
	return prot;
}

/*
 * An executable frame is never mapped executable, its view is. Without a view
 * an entry that can be written is data now, another waits for a fault.
 */
static void sync_pte(struct sync *s, pte_t *ptep, unsigned long addr)
{
	struct text_map *m = text_map(s->window, addr);
	struct page *view;
	pte_t pte = *ptep;
	u32 prot;

	if (!pte_present(pte)) {
		if (s->flush) {
			if (m)
				text_unmap(m);
			emit(s, PARACELL_OP_UNMAP, 0, addr, PAGE_SIZE, 0);
		}
		return;
	}
	if (!pte_get_bits(pte, _PAGE_SYNC_MASK))
		return;
	prot = host_prot(pte);
	if (m && (!(prot & PARACELL_PROT_EXEC) || m->view->pfn != pte_pfn(pte))) {
		text_unmap(m);
		m = NULL;
		/* Whatever the host has there is not this page. */
		pte = pte_set_flags(pte, _PAGE_NEWPAGE);
		if (!prot)
			emit(s, PARACELL_OP_UNMAP, 0, addr, PAGE_SIZE, 0);
	}
	if (m) {
		view = text_map_page(m, &prot);
		if (view)
			emit(s, PARACELL_OP_MAP, prot, addr, PAGE_SIZE,
			     page_to_phys(view));
		else
			emit(s, PARACELL_OP_UNMAP, 0, addr, PAGE_SIZE, 0);
		if (!s->full)
			*ptep = pte_clear_flags(pte, _PAGE_SYNC_MASK);
		return;
	}
	if (paracell_text_on && (prot & PARACELL_PROT_EXEC))
		prot = pte_write(pte) ? prot & ~PARACELL_PROT_EXEC : 0;
	if (!prot) {
		/* Not for the user now: gone from the host, still to come. */
		if (!pte_get_bits(pte, _PAGE_NEWPAGE) || s->flush)
			emit(s, PARACELL_OP_UNMAP, 0, addr, PAGE_SIZE, 0);
		*ptep = pte_set_flags(pte, _PAGE_NEWPAGE | _PAGE_NEWPROT);
		return;
	}
	if (prot & PARACELL_PROT_WRITE)
		text_written(pte_pfn(pte));
	if (pte_get_bits(pte, _PAGE_NEWPAGE))
		emit(s, PARACELL_OP_MAP, prot, addr, PAGE_SIZE,
		     pte_pfn(pte) << PAGE_SHIFT);
	else
		emit(s, PARACELL_OP_PROTECT, prot, addr, PAGE_SIZE, 0);
	if (!s->full)
		*ptep = pte_clear_flags(pte, _PAGE_SYNC_MASK);
}

/* First address after addr that is not covered by a table entry of that size. */
static unsigned long skip(unsigned long addr, unsigned long end, unsigned long size)
{
	unsigned long next = (addr + size) & ~(size - 1);

	return next - 1 < end - 1 ? next : end;
}

/*
 * The entry for addr, or NULL where there is no table for it. [addr, *next)
 * is covered by the same table, or by its absence.
 */
static pte_t *table_at(struct mm_struct *mm, unsigned long addr,
		       unsigned long end, unsigned long *next)
{
	p4d_t *p4d = p4d_offset(pgd_offset(mm, addr), addr);
	pud_t *pud;
	pmd_t *pmd;

	*next = skip(addr, end, PGDIR_SIZE);
	if (p4d_none(*p4d))
		return NULL;
	*next = skip(addr, end, PUD_SIZE);
	pud = pud_offset(p4d, addr);
	if (pud_none(*pud))
		return NULL;
	*next = skip(addr, end, PMD_SIZE);
	pmd = pmd_offset(pud, addr);
	if (pmd_none(*pmd))
		return NULL;
	return pte_offset_kernel(pmd, addr);
}

/*
 * Entries from pte on that are one operation: pages of a file that have come to
 * be read, or nothing where something was. Returns how many, of at most max; 0
 * if sync_pte() is to look. There is no view for any of them.
 */
static unsigned long sync_run(struct sync *s, pte_t *pte, unsigned long addr,
			      unsigned long max)
{
	unsigned long n = 1, i, first = pte_val(*pte);

	if (!first) {
		while (n < max && !pte_val(pte[n]))
			n++;
		if (s->flush)
			emit(s, PARACELL_OP_UNMAP, 0, addr, n * PAGE_SIZE, 0);
		return n;
	}
	if (!pte_present(*pte) || !(first & _PAGE_NEWPAGE) ||
	    host_prot(*pte) != PARACELL_PROT_READ)
		return 0;
	while (n < max && pte_val(pte[n]) == first + n * PAGE_SIZE)
		n++;
	emit(s, PARACELL_OP_MAP, PARACELL_PROT_READ, addr, n * PAGE_SIZE,
	     pte_pfn(*pte) << PAGE_SHIFT);
	for (i = 0; i < n && !s->full; i++)
		pte[i] = pte_clear_flags(pte[i], _PAGE_SYNC_MASK);
	return n;
}

/* [addr, end) is in one table, pte the entry for addr. */
static void sync_table(struct sync *s, struct mm_struct *mm, pte_t *pte,
		       unsigned long addr, unsigned long end)
{
	unsigned long to, n;

	while (addr < end && !s->full) {
		s->window = text_window_above(mm, addr, end, &to);
		for (; addr < to && !s->full; addr += n * PAGE_SIZE, pte += n) {
			n = s->window ? 0 : sync_run(s, pte, addr, (to - addr) >> PAGE_SHIFT);
			if (!n) {
				sync_pte(s, pte, addr);
				n = 1;
			}
		}
	}
}

static void sync_range(struct sync *s, struct mm_struct *mm,
		       unsigned long addr, unsigned long end)
{
	unsigned long next;
	pte_t *pte;

	while (addr < end && !s->full) {
		pte = table_at(mm, addr, end, &next);
		if (!pte) {
			if (s->flush) {
				emit(s, PARACELL_OP_UNMAP, 0, addr, next - addr, 0);
				text_unmap_range(mm, addr, next);
			}
			addr = next;
			continue;
		}
		sync_table(s, mm, pte, addr, next);
		addr = next;
	}
}

/* The host has nothing in the range: say so in the table. */
static void mark_unmapped(struct mm_struct *mm, unsigned long addr,
			  unsigned long end)
{
	unsigned long next;
	pte_t *pte;

	for (; addr < end; addr = next) {
		pte = table_at(mm, addr, end, &next);
		for (; pte && addr < next; addr += PAGE_SIZE, pte++)
			if (pte_present(*pte))
				*pte = pte_set_flags(*pte, _PAGE_SYNC_MASK);
	}
}

/* The host has dropped all mappings of an address space. */
void paracell_tlb_dropped(struct mm_struct *mm)
{
	mark_unmapped(mm, PARACELL_USER_MIN, TASK_SIZE);
	mm->context.nr_dirty = 0;
}

/*
 * Called with interrupts off on the way to user mode, when vcpu->as is mm's.
 */
void paracell_tlb_sync(struct mm_struct *mm)
{
	struct mm_context *ctx = &mm->context;
	struct sync s = { .vcpu = paracell_vcpu() };
	unsigned int i, start_ops;

	text_reap();
again:
	for (i = 0; i < ctx->nr_dirty; i++) {
		struct paracell_dirty *d = &ctx->dirty[i];
		unsigned long end = min(d->end, TASK_SIZE);
		unsigned long start = max(d->start, 0UL + PARACELL_USER_MIN);

		if (start >= end)
			continue;
		start_ops = s.vcpu->num_ops;
		s.flush = d->flush;
		sync_range(&s, mm, start, end);
		if (s.full) {
			/*
			 * One operation instead of many. Should even that one
			 * find no room, it takes the place of all.
			 */
			s.full = false;
			if (start_ops == PARACELL_MAX_MAP_OPS) {
				start_ops = 0;
				start = PARACELL_USER_MIN;
				end = TASK_SIZE;
			}
			s.vcpu->num_ops = start_ops;
			mark_unmapped(mm, start, end);
			emit(&s, PARACELL_OP_UNMAP, 0, start, end - start, 0);
		}
	}
	ctx->nr_dirty = 0;
	/* What user code can write now has no views any more. */
	if (text_reap())
		goto again;
}

/* True if b can be mapped in one run behind a, once both have been accessed. */
static bool same_run(pte_t a, pte_t b)
{
	return pte_present(a) && pte_present(b) && pte_pfn(b) == pte_pfn(a) + 1 &&
	       host_prot(pte_mkyoung(a)) == host_prot(pte_mkyoung(b));
}

/*
 * The user faulted on an address whose entry is present. The host may have
 * lost it (it is a cache), so map it again, and with it the neighbours that
 * fit into the same host call: after a fork or a flush all of them wait for
 * their first access, and a fault for each would cost more than page reclaim
 * can win from knowing.
 */
void paracell_remap(struct mm_struct *mm, unsigned long address)
{
	unsigned long addr = address & PAGE_MASK;
	pte_t *pte = virt_to_pte(mm, addr);
	long first, last, lowest, highest, i;

	if (!pte || !pte_present(*pte))
		return;
	highest = PTRS_PER_PTE - 1 - pte_index(addr);
	lowest = -(long)pte_index(addr);
	for (first = 0; first > max(lowest, -32L); first--)
		if (!same_run(pte[first - 1], pte[first]))
			break;
	for (last = 0; last < min(highest, 32L); last++)
		if (!same_run(pte[last], pte[last + 1]))
			break;
	for (i = first; i <= last; i++)
		pte[i] = pte_set_flags(pte_mkyoung(pte[i]), _PAGE_SYNC_MASK);
	paracell_mark_dirty(mm, addr + first * PAGE_SIZE,
			    addr + (last + 1) * PAGE_SIZE, false);
}

/*
 * Asked for after a fork, whose changes of permissions set_ptes() has noted, and
 * when an address space goes, which is not entered again.
 */
void flush_tlb_mm(struct mm_struct *mm)
{
}

void flush_tlb_all(void)
{
	struct task_struct *p;

	flush_tlb_kernel_range(VMALLOC_START, VMALLOC_END);
	rcu_read_lock();
	for_each_process(p)
		if (p->mm)
			paracell_mark_dirty(p->mm, PARACELL_USER_MIN, TASK_SIZE, true);
	rcu_read_unlock();
}

/* vmalloc: mapped at once where we run, by fault elsewhere, gone everywhere. */

static u32 kernel_prot(pte_t pte)
{
	return PARACELL_PROT_READ | (pte_write(pte) ? PARACELL_PROT_WRITE : 0) |
	       (pte_get_bits(pte, _PAGE_NX) ? 0 : PARACELL_PROT_EXEC);
}

static int kmap_run(unsigned long va, unsigned long end, unsigned long *next)
{
	pte_t *pte = virt_to_pte(&init_mm, va);
	unsigned long gpa, run = va;
	u32 prot;

	if (!pte || !pte_present(*pte)) {
		*next = va + PAGE_SIZE;
		return -EFAULT;
	}
	gpa = pte_pfn(*pte) << PAGE_SHIFT;
	prot = kernel_prot(*pte);
	do {
		run += PAGE_SIZE;
		pte = run < end ? virt_to_pte(&init_mm, run) : NULL;
	} while (pte && pte_present(*pte) && kernel_prot(*pte) == prot &&
		 (pte_pfn(*pte) << PAGE_SHIFT) == gpa + (run - va));
	*next = run;
	return paracell_call(PARACELL_CALL_KMAP, va, gpa, run - va, prot);
}

void paracell_kernel_mapped(unsigned long start, unsigned long end)
{
	while (start < end)
		kmap_run(start, end, &start);
}

/* True if va is mapped in the kernel's table and now also on the host. */
bool paracell_kernel_fault(unsigned long va)
{
	unsigned long next;

	va &= PAGE_MASK;
	if (va < VMALLOC_START || va >= VMALLOC_END)
		return false;
	return kmap_run(va, va + 16 * PAGE_SIZE, &next) == 0;
}

void flush_tlb_kernel_range(unsigned long start, unsigned long end)
{
	start = max(start, VMALLOC_START);
	end = min(end, VMALLOC_END);
	if (start < end)
		paracell_call(PARACELL_CALL_KUNMAP, start, end - start, 0, 0);
}

int init_new_context(struct task_struct *task, struct mm_struct *mm)
{
	mm->context.nr_dirty = 0;
	mm->context.text = NULL;
	mm->context.as = 0;
	return paracell_space_get(mm);
}

void destroy_context(struct mm_struct *mm)
{
	text_destroy(mm);
	paracell_space_put(mm);
}
