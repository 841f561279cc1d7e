/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __UM_X86_VDSO_H
#define __UM_X86_VDSO_H

/*
 * Pages in front of the vDSO. In a time namespace the first one holds the
 * offsets and the second one the clocks; else the first one holds the clocks
 * and the second one is not used.
 */
#define UM_VVAR_PAGES	2
#define UM_VVAR_DATA	0
#define UM_VVAR_TIMENS	1

/* Byte offset of the random generator's state in the page with the clocks. */
#define UM_VVAR_RNG_OFFSET	2048

#endif
