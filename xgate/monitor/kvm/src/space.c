/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Address spaces: page tables in a pool of the monitor's own, written in ring 3.
 * They are a cache of the kernel's tables; when the pool is used up, those of all
 * other address spaces are dropped, and the kernel maps again on fault.
 */
#include "monitor.h"

#define PTE_PRESENT 1ULL
#define PTE_WRITE 2ULL
#define PTE_USER 4ULL
#define PTE_ACCESSED 0x20ULL
#define PTE_DIRTY 0x40ULL
#define PTE_KEY(k) ((u64)(k) << 59)
#define PTE_NX (1ULL << 63)
#define PTE_ADDR 0x000ffffffffff000ULL
/* Entries of upper levels grant everything. */
#define TABLE (PTE_PRESENT | PTE_WRITE | PTE_USER | PTE_ACCESSED | PTE_DIRTY)

#define TOP 4 /* level of the table that CR3 names; leaves are in level 1 */
#define WINDOW_INDEX (PARACELL_WINDOW_BASE >> 39 & 511)

/* Top table of each address space; 0: the id is free. 0 itself is the boot's. */
static u64 tops[PARACELL_MAX_SLOTS];
static u32 next_id = 1;
static u64 pool_used, free_list;
static u8 stale; /* the TLB may hold more than the tables */
static u64 loaded;

static u64 *table(u64 gpa)
{
	return (u64 *)(POOL_BASE + (gpa - handoff.pool));
}

static u64 page_take(void)
{
	u64 page = free_list;

	if (page) {
		free_list = table(page)[0];
		table(page)[0] = 0;
		return page;
	}
	if (pool_used == handoff.pool_pages)
		return 0;
	page = handoff.pool + pool_used++ * PARACELL_PAGE_SIZE;
	return page;
}

/* page_give takes a page back that holds zeros only. */
static void page_give(u64 page)
{
	table(page)[0] = free_list;
	free_list = page;
}

/* drop frees a table of this level and all below it. */
static void drop(u64 page, int level)
{
	u64 *t = table(page);
	int i;

	for (i = 0; i < 512; i++) {
		if (!t[i])
			continue;
		if (level > 1)
			drop(t[i] & PTE_ADDR, level - 1);
		t[i] = 0;
	}
	page_give(page);
}

/* drop_user frees the user half of an address space. */
static void drop_user(u64 top)
{
	u64 *t = table(top);
	u64 i;

	for (i = 0; i < WINDOW_INDEX; i++) {
		if (t[i])
			drop(t[i] & PTE_ADDR, TOP - 1);
		t[i] = 0;
	}
	stale = 1;
}

static void load(u64 top);

/* reclaim drops all address spaces but one. */
static void reclaim(u32 keep)
{
	u32 id;

	for (id = 0; id < PARACELL_MAX_SLOTS; id++)
		if (tops[id] && id != keep)
			drop_user(tops[id]);
	if (!pagetable)
		load(loaded);
}

static u64 page_get(u32 keep)
{
	u64 page = page_take();

	if (page)
		return page;
	reclaim(keep);
	return page_take();
}

/* find returns the entry of va in a table of level 1, made where missing if make. */
static u64 *find(u64 top, u64 va, u32 keep, int make)
{
	u64 *t = table(top), *e, page;
	int level;

	for (level = TOP; level > 1; level--) {
		e = &t[va >> (12 + 9 * (level - 1)) & 511];
		if (!*e) {
			if (!make)
				return 0;
			page = page_get(keep);
			if (!page)
				return 0;
			*e = page | TABLE;
		}
		t = table(*e & PTE_ADDR);
	}
	return &t[va >> 12 & 511];
}

static u64 leaf(u64 gpa, u32 prot, u64 extra)
{
	/* Nothing can be writable or executable only, as on platform process. */
	if (!prot)
		return 0;
	return gpa | PTE_PRESENT | PTE_USER | PTE_ACCESSED | PTE_DIRTY | extra |
	       (prot & PARACELL_PROT_WRITE ? PTE_WRITE : 0) | (prot & PARACELL_PROT_EXEC ? 0 : PTE_NX);
}

static int page_multiple(u64 v)
{
	return v % PARACELL_PAGE_SIZE == 0;
}

/* inside tells whether [start, start+len) is a page range within [min, end). */
static int inside(u64 start, u64 len, u64 min, u64 end)
{
	return page_multiple(start) && page_multiple(len) && len && start >= min && start < end && len <= end - start;
}

/* set puts an entry; the TLB has to know if it held something. */
static void set(u64 *e, u64 v)
{
	if (*e && *e != v)
		stale = 1;
	*e = v;
}

static int map(u64 top, u64 va, u64 len, u64 gpa, u32 prot, u64 extra, u32 keep)
{
	u64 end = va + len, *e = 0;

	for (; va < end; va += PARACELL_PAGE_SIZE, gpa += PARACELL_PAGE_SIZE) {
		if (!e || !(va & 0x1fffff))
			e = find(top, va, keep, 1);
		else
			e++;
		if (!e)
			return 0;
		set(e, leaf(gpa, prot, extra));
	}
	return 1;
}

/* unmap clears [va, end) in a table of this level, and frees tables that it covers. */
static void unmap(u64 page, int level, u64 va, u64 end)
{
	u64 size = 1ULL << (12 + 9 * (level - 1)), next;
	u64 *t = table(page), *e;

	for (; va < end; va = next) {
		next = (va & ~(size - 1)) + size;
		if (next > end)
			next = end;
		e = &t[va >> (12 + 9 * (level - 1)) & 511];
		if (!*e)
			continue;
		if (level == 1) {
			*e = 0;
			continue;
		}
		if (next - va < size) {
			unmap(*e & PTE_ADDR, level - 1, va, next);
			continue;
		}
		drop(*e & PTE_ADDR, level - 1);
		*e = 0;
	}
	stale = 1;
}

static void protect(u64 top, u64 va, u64 len, u32 prot)
{
	u64 end = va + len, *e;

	for (; va < end; va += PARACELL_PAGE_SIZE) {
		e = find(top, va, 0, 0);
		if (!e)
			va |= 0x1ff000; /* no table: on to the next */
		else if (*e)
			set(e, leaf(*e & PTE_ADDR, prot, 0));
	}
}

static long apply(const struct paracell_mapop *op)
{
	u64 top = tops[current_as];

	if (!inside(op->va, op->len, PARACELL_USER_MIN, PARACELL_USER_MAX) ||
	    op->prot & ~(PARACELL_PROT_READ | PARACELL_PROT_WRITE | PARACELL_PROT_EXEC))
		return -ERR_INVAL;
	switch (op->op) {
	case PARACELL_OP_MAP:
		if (!inside(op->gpa, op->len, 0, control->boot.mem_size))
			return -ERR_INVAL;
		return map(top, op->va, op->len, op->gpa, op->prot, 0, current_as) ? 0 : -ERR_NOMEM;
	case PARACELL_OP_UNMAP:
		unmap(top, TOP, op->va, op->va + op->len);
		return 0;
	case PARACELL_OP_PROTECT:
		protect(top, op->va, op->len, op->prot);
		return 0;
	}
	return -ERR_INVAL;
}

/*
 * space_apply executes the map operations of a vCPU and returns ENTER_GO or a
 * result of EntryEnter.
 */
long space_apply(struct paracell_vcpu *v)
{
	u32 i, n = v->num_ops;
	struct paracell_mapop op;
	long err;

	v->num_ops = 0;
	if (n > PARACELL_MAX_MAP_OPS) {
		v->error = -ERR_INVAL;
		return PARACELL_EXIT_ERROR;
	}
	for (i = 0; i < n; i++) {
		op = v->ops[i];
		v->map_calls++;
		err = apply(&op);
		if (!err)
			continue;
		if (err == -ERR_NOMEM) {
			drop_user(tops[current_as]);
			return PARACELL_EXIT_FLUSHED;
		}
		v->error = err;
		return PARACELL_EXIT_ERROR;
	}
	return ENTER_GO;
}

/* load makes the processor use a table for the user, or empties its TLB. */
static void load(u64 top)
{
	loaded = top;
	stale = 0;
	if (pagetable)
		go_cr3 = top; /* loaded by every exit gate */
	else
		load_table_mk(top);
}

/* space_sync brings the processor up to date before the user runs. */
void space_sync(void)
{
	if (loaded != tops[current_as] || stale)
		load(tops[current_as]);
}

static int taken(u64 id)
{
	return id < PARACELL_MAX_SLOTS && tops[id];
}

long space_switch(u32 as)
{
	if (as == current_as)
		return 0;
	if (!taken(as))
		return -ERR_INVAL;
	current_as = as;
	my_vcpu->handovers++;
	return 0;
}

static u64 new_top(void)
{
	u64 page = page_get(PARACELL_MAX_SLOTS), *t, *kernel = table(handoff.kernel_table);

	if (!page)
		return 0;
	t = table(page);
	if (pagetable) {
		t[511 & PARACELL_MONITOR_BASE >> 39] = handoff.user_window;
		return page;
	}
	t[WINDOW_INDEX] = kernel[WINDOW_INDEX];
	t[WINDOW_INDEX + 1] = kernel[WINDOW_INDEX + 1];
	return page;
}

/* space_create is CallASCreate. */
long space_create(void)
{
	u32 n, id;
	u64 top;

	for (n = 0; n < PARACELL_MAX_SLOTS; n++) {
		id = next_id++;
		if (next_id == PARACELL_MAX_SLOTS)
			next_id = 1;
		if (tops[id])
			continue;
		top = new_top();
		if (!top)
			return -ERR_NOMEM;
		tops[id] = top;
		control->num_slots++;
		return id;
	}
	return -ERR_AGAIN;
}

/* space_destroy is CallASDestroy. */
long space_destroy(u64 as)
{
	if (!as || !taken(as))
		return -ERR_INVAL;
	if (as == current_as)
		current_as = 0;
	/* The processor must not walk a table that is gone. */
	if (loaded == tops[as] && !pagetable)
		load(tops[0]);
	else if (loaded == tops[as])
		loaded = 0;
	drop_user(tops[as]);
	memset(table(tops[as]), 0, PARACELL_PAGE_SIZE);
	page_give(tops[as]);
	tops[as] = 0;
	control->num_slots--;
	return 0;
}

/* space_flush is CallASFlush. */
long space_flush(u64 as)
{
	if (!taken(as))
		return -ERR_INVAL;
	drop_user(tops[as]);
	/* EntryEnter takes the slow way, which empties the TLB. */
	if (as == current_as && !pagetable)
		load(tops[as]);
	return 0;
}

static u64 kernel_key(void)
{
	return handoff.isolation == ISOLATION_MPK ? PTE_KEY(PARACELL_KEY_KERNEL) : 0;
}

/* flush_kernel empties the TLB of what the kernel had mapped. */
static void flush_kernel(void)
{
	if (pagetable)
		load_table_pt(handoff.kernel_table);
	else
		load(loaded);
}

long space_kmap(u64 va, u64 gpa, u64 len, u32 prot)
{
	u8 before = stale;
	int done;

	if (!inside(va, len, PARACELL_VMALLOC_BASE, PARACELL_VMALLOC_END) || !inside(gpa, len, 0, control->boot.mem_size) ||
	    prot & ~(PARACELL_PROT_READ | PARACELL_PROT_WRITE))
		return -ERR_INVAL;
	stale = 0;
	done = map(handoff.kernel_table, va, len, gpa, prot, kernel_key(), PARACELL_MAX_SLOTS);
	if (stale)
		flush_kernel();
	stale |= before;
	return done ? 0 : -ERR_NOMEM;
}

long space_kunmap(u64 va, u64 len)
{
	u8 before = stale;

	if (!inside(va, len, PARACELL_VMALLOC_BASE, PARACELL_VMALLOC_END))
		return -ERR_INVAL;
	unmap(handoff.kernel_table, TOP, va, va + len);
	flush_kernel();
	stale = before;
	return 0;
}

void space_init(void)
{
	pool_used = handoff.pool_used;
	/* Address space 0 has the kernel's table, or one of its own. */
	loaded = handoff.kernel_table;
	tops[0] = pagetable ? new_top() : handoff.kernel_table;
	if (!tops[0])
		broken(__LINE__, "no memory for page tables");
	if (pagetable)
		load(tops[0]);
}
