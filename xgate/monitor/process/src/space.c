/* SPDX-License-Identifier: Apache-2.0 */
/* Host mappings: the user half of an address space, and the vmalloc area. */
#include "host.h"

static u32 kernel_gen; /* generation of the vmalloc area in this slot */

#define USER_LEN (PARACELL_USER_MAX - PARACELL_USER_MIN)

static int page_multiple(u64 v)
{
	return v % PARACELL_PAGE_SIZE == 0;
}

/* inside tells whether [start, start+len) is a page range within [min, end). */
static int inside(u64 start, u64 len, u64 min, u64 end)
{
	return page_multiple(start) && page_multiple(len) && len && start >= min && start < end && len <= end - start;
}

static long map(u64 va, u64 len, u32 prot, u64 gpa)
{
	long flags = MAP_SHARED | MAP_FIXED;

	/* The guest asks for what it is going to touch. */
	if (prot)
		flags |= MAP_POPULATE;
	my_vcpu->map_calls++;
	return host_call(__NR_mmap, va, len, (long)prot, flags, (long)FD_MEMORY, gpa);
}

static long unmap(u64 va, u64 len)
{
	my_vcpu->map_calls++;
	return host_call(__NR_munmap, va, len);
}

/* host_prot translates Prot bits, which have the host's values. */
static u32 host_prot(u32 prot)
{
	/* The host would take a key for itself to make memory execute-only. */
	if (prot & PARACELL_PROT_EXEC)
		prot |= PARACELL_PROT_READ;
	return prot;
}

static long apply(const struct paracell_mapop *op)
{
	u32 prot = op->prot;
	u64 va = op->va, len = op->len, gpa = op->gpa;
	long err;

	if (!inside(va, len, PARACELL_USER_MIN, PARACELL_USER_MAX) ||
	    prot & ~(PARACELL_PROT_READ | PARACELL_PROT_WRITE | PARACELL_PROT_EXEC))
		return -HOST_EINVAL;
	switch (op->op) {
	case PARACELL_OP_MAP:
		if (!inside(gpa, len, 0, mem_size))
			return -HOST_EINVAL;
		err = map(va, len, host_prot(prot), gpa);
		return err < 0 ? err : 0;
	case PARACELL_OP_UNMAP:
		return unmap(va, len);
	case PARACELL_OP_PROTECT:
		my_vcpu->map_calls++;
		return host_call(__NR_mprotect, va, len, (long)host_prot(prot));
	}
	return -HOST_EINVAL;
}

void space_flush(void)
{
	long err = unmap(PARACELL_USER_MIN, USER_LEN);

	if (err)
		cell_end(PARACELL_REASON_HOST_CALL, 0, -err, "munmap of the user half");
}

/*
 * space_apply executes the map operations of a vCPU in this slot and returns
 * ENTER_GO or a result of EntryEnter. The host's limit on mappings is no error:
 * everything is dropped and the kernel syncs again. mprotect says ENOMEM also
 * for a hole, which has the same answer.
 */
long space_apply(struct paracell_vcpu *v)
{
	u32 i, n = v->num_ops;
	long err;

	v->num_ops = 0;
	if (n > PARACELL_MAX_MAP_OPS) {
		v->error = -HOST_EINVAL;
		return PARACELL_EXIT_ERROR;
	}
	for (i = 0; i < n; i++) {
		err = apply(&v->ops[i]);
		if (!err)
			continue;
		if (err == -HOST_ENOMEM) {
			space_flush();
			return PARACELL_EXIT_FLUSHED;
		}
		v->error = err;
		return PARACELL_EXIT_ERROR;
	}
	return ENTER_GO;
}

long space_kmap(u64 va, u64 gpa, u64 len, u32 prot)
{
	long err;

	if (!inside(va, len, PARACELL_VMALLOC_BASE, PARACELL_VMALLOC_END) || !inside(gpa, len, 0, mem_size) ||
	    prot & ~(PARACELL_PROT_READ | PARACELL_PROT_WRITE))
		return -HOST_EINVAL;
	err = map(va, len, prot, gpa);
	if (err < 0)
		return err;
	if (isolation == PARACELL_ISOLATION_MPK)
		return host_call(__NR_pkey_mprotect, va, len, (long)prot, (long)PARACELL_KEY_KERNEL);
	return 0;
}

long space_kunmap(u64 va, u64 len)
{
	u32 gen;
	long err;

	if (!inside(va, len, PARACELL_VMALLOC_BASE, PARACELL_VMALLOC_END))
		return -HOST_EINVAL;
	err = unmap(va, len);
	if (err)
		return err;
	/* Up to date afterwards if it was before. */
	gen = atomic_add(&control->kernel_gen, 1);
	if (kernel_gen == gen - 1)
		kernel_gen = gen;
	return 0;
}

/* space_sync_kernel drops the vmalloc area if it changed in another slot. */
void space_sync_kernel(void)
{
	u32 gen = atomic_load(&control->kernel_gen);
	long err;

	if (gen == kernel_gen)
		return;
	err = unmap(PARACELL_VMALLOC_BASE, PARACELL_VMALLOC_END - PARACELL_VMALLOC_BASE);
	if (err)
		cell_end(PARACELL_REASON_HOST_CALL, 0, -err, "munmap of the vmalloc area");
	kernel_gen = gen;
}
