/* SPDX-License-Identifier: GPL-2.0 */
/* The kernel's side of the page that the vDSO reads. */
#ifndef __UM_VDSO_VSYSCALL_H
#define __UM_VDSO_VSYSCALL_H

#ifndef __ASSEMBLY__

#include <linux/timekeeper_internal.h>
#include <vdso/datapage.h>
#include <asm/page.h>
#include <asm/vdso.h>

/* The linker script of the vDSO places the same things. */
union um_vvar_page {
	struct {
		struct vdso_data data[CS_BASES];
		u8 pad[UM_VVAR_RNG_OFFSET - CS_BASES * sizeof(struct vdso_data)];
		struct vdso_rng_data rng;
	};
	u8 page[PAGE_SIZE];
};

static_assert(offsetof(union um_vvar_page, rng) == UM_VVAR_RNG_OFFSET);
static_assert(sizeof(union um_vvar_page) == PAGE_SIZE);

extern union um_vvar_page um_vvar_page;

static __always_inline struct vdso_data *um_k_vdso_data(void)
{
	return um_vvar_page.data;
}
#define __arch_get_k_vdso_data um_k_vdso_data

static __always_inline struct vdso_rng_data *um_k_vdso_rng_data(void)
{
	return &um_vvar_page.rng;
}
#define __arch_get_k_vdso_rng_data um_k_vdso_rng_data

#include <asm-generic/vdso/vsyscall.h>

#endif /* __ASSEMBLY__ */
#endif
