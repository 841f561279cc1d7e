/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __UM_UACCESS_H
#define __UM_UACCESS_H

#include <asm/elf.h>
#include <linux/unaligned.h>

extern unsigned long raw_copy_from_user(void *to, const void __user *from, unsigned long n);
extern unsigned long raw_copy_to_user(void __user *to, const void *from, unsigned long n);
extern unsigned long __clear_user(void __user *mem, unsigned long len);
extern bool paracell_kernel_readable(const void *addr, size_t size);

static inline int __access_ok(const void __user *ptr, unsigned long size)
{
	unsigned long addr = (unsigned long)ptr;

	return size <= TASK_SIZE && addr <= TASK_SIZE - size;
}

/* Teach asm-generic/uaccess.h that we have C functions for these. */
#define __access_ok __access_ok
#define __clear_user __clear_user

#define INLINE_COPY_FROM_USER
#define INLINE_COPY_TO_USER

#include <asm-generic/uaccess.h>

#define __get_kernel_nofault(dst, src, type, err_label)			\
do {									\
	if (!paracell_kernel_readable(src, sizeof(type)))		\
		goto err_label;						\
	*((type *)dst) = get_unaligned((type *)(src));			\
} while (0)

#define __put_kernel_nofault(dst, src, type, err_label)			\
do {									\
	if (!paracell_kernel_readable(dst, sizeof(type)))		\
		goto err_label;						\
	put_unaligned(*((type *)src), (type *)(dst));			\
} while (0)

#endif
