/* SPDX-License-Identifier: GPL-2.0 */
/* RDRAND and RDSEED, where the processor has them. */
#ifndef __ASM_UM_ARCHRANDOM_H__
#define __ASM_UM_ARCHRANDOM_H__

#include <linux/types.h>

size_t __must_check arch_get_random_longs(unsigned long *v, size_t max_longs);
size_t __must_check arch_get_random_seed_longs(unsigned long *v, size_t max_longs);

#endif
