// SPDX-License-Identifier: GPL-2.0
/* Where mmap() puts things: MAP_32BIT, and what the monitor cannot map. */

#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/personality.h>
#include <linux/random.h>
#include <linux/security.h>
#include <linux/sched/mm.h>
#include <asm/paracell_abi.h>

/* MAP_32BIT means the second gigabyte: reach of signed 32-bit addresses. */
#define LOW_START	0x40000000UL
#define LOW_END		0x80000000UL
#define LOW_RND_RANGE	0x02000000UL

static unsigned long get_low_area(unsigned long addr, unsigned long len,
				  vm_flags_t vm_flags)
{
	struct vm_unmapped_area_info info = {};
	struct vm_area_struct *vma, *prev;

	if (len > LOW_END)
		return -ENOMEM;

	if (addr) {
		addr = PAGE_ALIGN(addr);
		vma = find_vma_prev(current->mm, addr, &prev);
		if (addr >= mmap_min_addr && LOW_END - len >= addr &&
		    (!vma || addr + len <= vm_start_gap(vma)) &&
		    (!prev || addr >= vm_end_gap(prev)))
			return addr;
	}

	info.length = len;
	info.low_limit = LOW_START;
	if (current->flags & PF_RANDOMIZE)
		info.low_limit = randomize_page(LOW_START, LOW_RND_RANGE);
	info.high_limit = LOW_END;
	info.start_gap = vm_flags & VM_SHADOW_STACK ? PAGE_SIZE : 0;
	return vm_unmapped_area(&info);
}

unsigned long arch_get_unmapped_area(struct file *filp, unsigned long addr,
				     unsigned long len, unsigned long pgoff,
				     unsigned long flags, vm_flags_t vm_flags)
{
	if ((flags & (MAP_32BIT | MAP_FIXED)) == MAP_32BIT)
		return get_low_area(addr, len, vm_flags);
	return generic_get_unmapped_area(filp, addr, len, pgoff, flags, vm_flags);
}

unsigned long arch_get_unmapped_area_topdown(struct file *filp,
					     unsigned long addr,
					     unsigned long len,
					     unsigned long pgoff,
					     unsigned long flags,
					     vm_flags_t vm_flags)
{
	if ((flags & (MAP_32BIT | MAP_FIXED)) == MAP_32BIT)
		return get_low_area(addr, len, vm_flags);

	addr = generic_get_unmapped_area_topdown(filp, addr, len, pgoff, flags,
						 vm_flags);
	/* Nothing else was left, but this is out of the monitor's reach. */
	if (addr < PARACELL_USER_MIN && !(flags & MAP_FIXED))
		return -ENOMEM;
	return addr;
}
