// SPDX-License-Identifier: Apache-2.0
/*
 * A burst of memory, and what its end costs the guest:
 *
 *	burst MIB SECONDS
 *
 * prints the time (CLOCK_REALTIME, ns) when the burst has ended, goes on with
 * small allocations for so long, and prints the longest time, in ns, that one
 * of them took and the longest in which the guest did not run at all.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

static long long now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

int main(int argc, char **argv)
{
	long pages = atol(argv[1]) * 256;
	long long end, longest = 0, gap = 0, last;
	char *p = mmap(NULL, pages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (argc != 3 || p == MAP_FAILED)
		return 2;
	for (long i = 0; i < pages; i++)
		p[i * 4096] = 1;
	printf("up %lld\n", now(CLOCK_REALTIME));
	fflush(stdout);
	munmap(p, pages * 4096);
	printf("down %lld\n", now(CLOCK_REALTIME));
	fflush(stdout);
	last = now(CLOCK_MONOTONIC);
	end = last + (long long)(atof(argv[2]) * 1e9);
	while (last < end) {
		long long begin = now(CLOCK_MONOTONIC), took;

		if (begin - last > gap)
			gap = begin - last;
		p = mmap(NULL, 16 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		for (int i = 0; i < 16; i++)
			p[i * 4096] = 1;
		munmap(p, 16 * 4096);
		took = now(CLOCK_MONOTONIC) - begin;
		if (took > longest)
			longest = took;
		/* Nothing but the clock, to tell the host's pauses from ours. */
		last = begin = now(CLOCK_MONOTONIC);
		for (int i = 0; i < 200; i++) {
			begin = now(CLOCK_MONOTONIC);
			if (begin - last > gap)
				gap = begin - last;
			last = begin;
		}
	}
	printf("longest %lld gap %lld\n", longest, gap);
	return 0;
}
