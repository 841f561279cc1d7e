/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __UM_X86_AUXVEC_H
#define __UM_X86_AUXVEC_H

#include <uapi/asm/auxvec.h>

/* Where the system-call gate is; a number far from those of others. */
#define AT_PARACELL_GATE	0x5043

/* Entries of ARCH_DLINFO: AT_SYSINFO_EHDR, AT_MINSIGSTKSZ, AT_PARACELL_GATE. */
#undef AT_VECTOR_SIZE_ARCH
#define AT_VECTOR_SIZE_ARCH	3

#endif
