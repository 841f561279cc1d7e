// SPDX-License-Identifier: Apache-2.0
// Map, unmap and protect what is above the user's half (rule 1).
#include "attack.h"
#include <sys/shm.h>

int attack(void)
{
	const uint64_t places[] = {
		PARACELL_USER_MAX, PARACELL_WINDOW_BASE, PARACELL_PHYS_BASE + PARACELL_KERNEL_GPA, PARACELL_VMALLOC_BASE,
		PARACELL_CONTROL_BASE, PARACELL_MONITOR_BASE, GATE, value("monitor.selector") & -PAGE,
		value("monitor.altstack"), PARACELL_WINDOW_END - PAGE,
	};
	void *page = MUST(mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	int shm = MUST(shmget(IPC_PRIVATE, PAGE, IPC_CREAT | 0600));

	for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
		void *p = (void *)places[i];
		uint64_t below = places[i] - PAGE;

		if (mmap(p, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED)
			GAINED("mmap at %p", p);
		if (mmap(p, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != MAP_FAILED)
			GAINED("mmap at %p", p);
		if (i == 0 && mmap((void *)below, 2 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED)
			GAINED("mmap across the end of the user's half");
		if ((uint64_t)mmap(p, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) >= PARACELL_USER_MAX)
			GAINED("mmap with hint %p", p);
		if (munmap(p, PAGE) == 0)
			GAINED("munmap at %p", p);
		if (mprotect(p, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC) == 0)
			GAINED("mprotect at %p", p);
		if (mremap(p, PAGE, 2 * PAGE, MREMAP_MAYMOVE) != MAP_FAILED)
			GAINED("mremap of %p", p);
		if (mremap(page, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, p) != MAP_FAILED)
			GAINED("mremap to %p", p);
		if (madvise(p, PAGE, MADV_DONTNEED) == 0)
			GAINED("madvise at %p", p);
		if (shmat(shm, p, SHM_REMAP) != (void *)-1)
			GAINED("shmat at %p", p);
		if (gate(SYS_getpid, 0, 0, 0) != getpid())
			GAINED("the gate is gone");
	}
	/* From the whole half at once the kernel and the monitor stay. */
	if (munmap((void *)PARACELL_USER_MIN, PARACELL_WINDOW_END - PARACELL_USER_MIN) == 0)
		GAINED("munmap of everything");
	shmctl(shm, IPC_RMID, NULL);
	return STOPPED;
}
