/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __UM_FIXMAP_H
#define __UM_FIXMAP_H

/* Nothing is fix-mapped. */
enum fixed_addresses {
	__end_of_fixed_addresses
};

#endif
