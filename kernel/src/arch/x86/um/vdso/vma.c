// SPDX-License-Identifier: GPL-2.0
/* Mapping of the vDSO and of its data pages into programs. */

#include <linux/err.h>
#include <linux/init.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/time_namespace.h>
#include <linux/timekeeper_internal.h>
#include <asm/elf.h>
#include <asm/page.h>
#include <asm/vdso.h>
#include <vdso/datapage.h>
#include <asm/vdso/vsyscall.h>

#define VVAR_SIZE	(UM_VVAR_PAGES * PAGE_SIZE)

extern const char um_vdso_start[], um_vdso_end[];

union um_vvar_page um_vvar_page __page_aligned_data;

static unsigned int vdso_enabled __read_mostly = 1;

static int __init vdso_setup(char *s)
{
	return !kstrtouint(s, 0, &vdso_enabled);
}
__setup("vdso=", vdso_setup);

static vm_fault_t vdso_fault(const struct vm_special_mapping *sm,
			     struct vm_area_struct *vma, struct vm_fault *vmf)
{
	unsigned long offset = vmf->pgoff << PAGE_SHIFT;

	if (offset >= um_vdso_end - um_vdso_start)
		return VM_FAULT_SIGBUS;
	vmf->page = virt_to_page(um_vdso_start + offset);
	get_page(vmf->page);
	return 0;
}

static int vdso_mremap(const struct vm_special_mapping *sm,
		       struct vm_area_struct *new_vma)
{
	current->mm->context.vdso = new_vma->vm_start;
	return 0;
}

static unsigned long clocks_pfn(void)
{
	return PFN_DOWN(__pa(&um_vvar_page));
}

static vm_fault_t vvar_fault(const struct vm_special_mapping *sm,
			     struct vm_area_struct *vma, struct vm_fault *vmf)
{
	struct page *timens_page = find_timens_vvar_page(vma);

	switch (vmf->pgoff) {
	case UM_VVAR_DATA:
		if (timens_page)
			return vmf_insert_pfn(vma, vmf->address,
					      page_to_pfn(timens_page));
		return vmf_insert_pfn(vma, vmf->address, clocks_pfn());
	case UM_VVAR_TIMENS:
		if (timens_page)
			return vmf_insert_pfn(vma, vmf->address, clocks_pfn());
	}
	return VM_FAULT_SIGBUS;
}

static const struct vm_special_mapping vdso_mapping = {
	.name	= "[vdso]",
	.fault	= vdso_fault,
	.mremap	= vdso_mremap,
};

static const struct vm_special_mapping vvar_mapping = {
	.name	= "[vvar]",
	.fault	= vvar_fault,
};

#ifdef CONFIG_TIME_NS
struct vdso_data *arch_get_vdso_data(void *vvar_page)
{
	return vvar_page;
}

/* The pages change places: forget them, and the next access finds the right one. */
int vdso_join_timens(struct task_struct *task, struct time_namespace *ns)
{
	struct mm_struct *mm = task->mm;
	struct vm_area_struct *vma;
	VMA_ITERATOR(vmi, mm, 0);

	mmap_read_lock(mm);
	for_each_vma(vmi, vma) {
		if (vma_is_special_mapping(vma, &vvar_mapping))
			zap_vma_pages(vma);
	}
	mmap_read_unlock(mm);
	return 0;
}
#endif

int arch_setup_additional_pages(struct linux_binprm *bprm, int uses_interp)
{
	unsigned long size = um_vdso_end - um_vdso_start;
	struct mm_struct *mm = current->mm;
	struct vm_area_struct *vma;
	unsigned long addr;
	int ret = 0;

	mm->context.vdso = 0;
	if (!vdso_enabled)
		return 0;
	if (mmap_write_lock_killable(mm))
		return -EINTR;

	addr = get_unmapped_area(NULL, 0, VVAR_SIZE + size, 0, 0);
	if (IS_ERR_VALUE(addr)) {
		ret = addr;
		goto unlock;
	}

	/* MAYWRITE lets debuggers set breakpoints in a copy. */
	vma = _install_special_mapping(mm, addr + VVAR_SIZE, size,
				       VM_READ | VM_EXEC | VM_MAYREAD |
				       VM_MAYWRITE | VM_MAYEXEC,
				       &vdso_mapping);
	if (IS_ERR(vma)) {
		ret = PTR_ERR(vma);
		goto unlock;
	}

	vma = _install_special_mapping(mm, addr, VVAR_SIZE,
				       VM_READ | VM_MAYREAD | VM_IO |
				       VM_DONTDUMP | VM_PFNMAP,
				       &vvar_mapping);
	if (IS_ERR(vma)) {
		ret = PTR_ERR(vma);
		do_munmap(mm, addr + VVAR_SIZE, size, NULL);
		goto unlock;
	}
	mm->context.vdso = addr + VVAR_SIZE;
unlock:
	mmap_write_unlock(mm);
	return ret;
}
