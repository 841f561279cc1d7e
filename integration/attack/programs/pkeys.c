// SPDX-License-Identifier: Apache-2.0
// Get protection keys of one's own, or change those of the cell (rule 1).
#include "attack.h"

int attack(void)
{
	void *page = MUST(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));

	/* More often than there are keys, should some be given at last. */
	for (int i = 0; i < 64; i++)
		if (syscall(SYS_pkey_alloc, 0, i % 4) >= 0)
			GAINED("pkey_alloc");
	for (int key = 0; key < 16; key++) {
		if (syscall(SYS_pkey_free, key) == 0)
			GAINED("pkey_free of key %d", key);
		if (key && syscall(SYS_pkey_mprotect, page, PAGE, PROT_READ, key) == 0)
			GAINED("pkey_mprotect with key %d", key);
		if (syscall(SYS_pkey_mprotect, PARACELL_MONITOR_BASE, PAGE, PROT_READ | PROT_WRITE, key) == 0)
			GAINED("pkey_mprotect of the monitor");
	}
	return STOPPED;
}
