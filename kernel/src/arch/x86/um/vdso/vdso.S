/* SPDX-License-Identifier: GPL-2.0 */
/* The vDSO as whole pages, which are mapped into programs as they are. */
#include <linux/linkage.h>
#include <asm/page.h>

	.section .rodata, "a"
	.balign PAGE_SIZE
SYM_DATA_START(um_vdso_start)
	.incbin "arch/x86/um/vdso/vdso.so"
	.balign PAGE_SIZE
SYM_DATA_END_LABEL(um_vdso_start, SYM_L_GLOBAL, um_vdso_end)
	.section .note.GNU-stack, "", @progbits
