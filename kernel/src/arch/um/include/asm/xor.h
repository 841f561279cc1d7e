/* SPDX-License-Identifier: GPL-2.0 */
/* No vector registers in the kernel: they are the user's. */
#include <asm-generic/xor.h>
