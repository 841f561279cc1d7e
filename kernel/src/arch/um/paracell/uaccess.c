// SPDX-License-Identifier: GPL-2.0
/*
 * Access to user memory from the kernel: the page tables are walked and the
 * data moved through the linear map, so a user address is never used as one.
 * The walk respects PROT_NONE and keeps accessed and dirty bits true: a
 * write without a dirty entry goes through the fault path like a user's.
 *
 * Nothing here sleeps between the walk and the access, and there is one vCPU,
 * so the page stays what it is meanwhile.
 */
#include <linux/err.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/uaccess.h>
#include <asm/futex.h>
#include "paracell.h"
#include "text.h"

static bool usable(pte_t pte, bool write)
{
	if (!pte_present(pte) || !pte_read(pte) || !pte_young(pte))
		return false;
	return !write || (pte_write(pte) && pte_dirty(pte));
}

/* Kernel address of a user address, or NULL. May sleep. */
static void *user_ptr(unsigned long addr, bool write)
{
	int tries, code;
	pte_t *pte;

	if (unlikely(!current->mm))
		return NULL;
	for (tries = 0; tries < 4; tries++) {
		pte = virt_to_pte(current->mm, addr);
		if (likely(pte && usable(*pte, write))) {
			if (write)
				text_written(pte_pfn(*pte));
			return page_address(pte_page(*pte)) + offset_in_page(addr);
		}
		if (handle_page_fault(addr, write, false, false, &code))
			return NULL;
	}
	return NULL;
}

static unsigned long chunk(unsigned long addr, unsigned long n)
{
	return min(n, PAGE_SIZE - offset_in_page(addr));
}

unsigned long raw_copy_from_user(void *to, const void __user *from, unsigned long n)
{
	unsigned long addr = (unsigned long)from, len;
	void *p;

	for (; n; n -= len, addr += len, to += len) {
		p = user_ptr(addr, false);
		if (!p)
			break;
		len = chunk(addr, n);
		memcpy(to, p, len);
	}
	return n;
}
EXPORT_SYMBOL(raw_copy_from_user);

unsigned long raw_copy_to_user(void __user *to, const void *from, unsigned long n)
{
	unsigned long addr = (unsigned long)to, len;
	void *p;

	for (; n; n -= len, addr += len, from += len) {
		p = user_ptr(addr, true);
		if (!p)
			break;
		len = chunk(addr, n);
		memcpy(p, from, len);
	}
	return n;
}
EXPORT_SYMBOL(raw_copy_to_user);

unsigned long __clear_user(void __user *to, unsigned long n)
{
	unsigned long addr = (unsigned long)to, len;
	void *p;

	for (; n; n -= len, addr += len) {
		p = user_ptr(addr, true);
		if (!p)
			break;
		len = chunk(addr, n);
		memset(p, 0, len);
	}
	return n;
}
EXPORT_SYMBOL(__clear_user);

long strncpy_from_user(char *dst, const char __user *src, long count)
{
	unsigned long addr = (unsigned long)src, len, n;
	long done = 0;
	char *p;

	if (count <= 0)
		return 0;
	while (done < count) {
		if (!access_ok((void __user *)addr, 1))
			return -EFAULT;
		p = user_ptr(addr, false);
		if (!p)
			return -EFAULT;
		len = chunk(addr, count - done);
		n = strnlen(p, len);
		memcpy(dst + done, p, n);
		done += n;
		addr += n;
		if (n < len) {
			dst[done] = 0;
			return done;
		}
	}
	return done;
}
EXPORT_SYMBOL(strncpy_from_user);

long strnlen_user(const char __user *str, long count)
{
	unsigned long addr = (unsigned long)str, len, n;
	long done = 0;
	char *p;

	while (done < count) {
		if (!access_ok((void __user *)addr, 1))
			return 0;
		p = user_ptr(addr, false);
		if (!p)
			return 0;
		len = chunk(addr, count - done);
		n = strnlen(p, len);
		done += n;
		addr += n;
		if (n < len)
			return done + 1;
	}
	return count + 1;
}
EXPORT_SYMBOL(strnlen_user);

/*
 * Atomic with regard to other processors and to user code on them: the page
 * is the same memory whichever way it is reached.
 */
int arch_futex_atomic_op_inuser(int op, u32 oparg, int *oval, u32 __user *uaddr)
{
	u32 old, new;
	u32 *p;

	if (!access_ok(uaddr, sizeof(*uaddr)))
		return -EFAULT;
	p = user_ptr((unsigned long)uaddr, true);
	if (!p)
		return -EFAULT;
	old = READ_ONCE(*p);
	do {
		switch (op) {
		case FUTEX_OP_SET:
			new = oparg;
			break;
		case FUTEX_OP_ADD:
			new = old + oparg;
			break;
		case FUTEX_OP_OR:
			new = old | oparg;
			break;
		case FUTEX_OP_ANDN:
			new = old & ~oparg;
			break;
		case FUTEX_OP_XOR:
			new = old ^ oparg;
			break;
		default:
			return -ENOSYS;
		}
	} while (!try_cmpxchg(p, &old, new));
	*oval = old;
	return 0;
}
EXPORT_SYMBOL(arch_futex_atomic_op_inuser);

int futex_atomic_cmpxchg_inatomic(u32 *uval, u32 __user *uaddr,
				  u32 oldval, u32 newval)
{
	u32 *p;

	if (!access_ok(uaddr, sizeof(*uaddr)))
		return -EFAULT;
	p = user_ptr((unsigned long)uaddr, true);
	if (!p)
		return -EFAULT;
	*uval = cmpxchg(p, oldval, newval);
	return 0;
}
EXPORT_SYMBOL(futex_atomic_cmpxchg_inatomic);

/* Kernel addresses that may be touched without a fault. */
bool paracell_kernel_readable(const void *addr, size_t size)
{
	unsigned long start = (unsigned long)addr, end = start + size;

	if (end < start)
		return false;
	if (start >= PAGE_OFFSET && end <= PAGE_OFFSET + paracell_control->boot.mem_size)
		return true;
	if (start >= VMALLOC_START && end <= VMALLOC_END) {
		pte_t *a = virt_to_pte(&init_mm, start);
		pte_t *b = virt_to_pte(&init_mm, end - 1);

		return a && b && pte_present(*a) && pte_present(*b);
	}
	return false;
}
EXPORT_SYMBOL(paracell_kernel_readable);
