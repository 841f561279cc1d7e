// SPDX-License-Identifier: Apache-2.0
/*
 * Bursts of memory, and what their ends cost the guest:
 *
 *	burst MIB SECONDS [TIMES]
 *
 * touches and frees so much, and goes on with small allocations for so long.
 * Each time it prints
 *
 *	up T		everything is touched
 *	down T NS	it has been freed, which took so long
 *	from TSC	the small allocations begin
 *	stall FROM TO NS KIND	the program stood still: in a "call", that is in
 *			one small allocation, its use and its end, or in a "spin" that
 *			only reads the clock, where nothing but the host, or an
 *			interrupt, can have stopped it
 *	later T TSC	the time is over
 *
 * where T is CLOCK_REALTIME in ns, at the end. FROM, TO and TSC are of the
 * time stamp counter, which a guest and its host have in common.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#define WORTH_NOTING 300000 /* ns */

static struct stall {
	unsigned long long from, to;
	long long took;
	const char *kind;
} stalls[10000];
static int count;

static long long now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

/* A moment, by both clocks. */
struct moment {
	long long ns;
	unsigned long long tsc;
};

static struct moment moment(void)
{
	return (struct moment){ now(CLOCK_MONOTONIC), __builtin_ia32_rdtsc() };
}

static void note(const char *kind, struct moment from, struct moment to)
{
	if (to.ns - from.ns < WORTH_NOTING || count == sizeof(stalls) / sizeof(stalls[0]))
		return;
	stalls[count++] = (struct stall){ from.tsc, to.tsc, to.ns - from.ns, kind };
}

static char *map(long pages)
{
	char *p = mmap(NULL, pages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		exit(2);
	madvise(p, pages * 4096, MADV_NOHUGEPAGE);
	for (long i = 0; i < pages; i++)
		p[i * 4096] = 1;
	return p;
}

static void burst(long pages, double seconds)
{
	char *p = map(pages);
	struct moment begin, last;
	long long end;

	printf("up %lld\n", now(CLOCK_REALTIME));
	fflush(stdout);
	begin = moment();
	munmap(p, pages * 4096);
	last = moment();
	printf("down %lld %lld\n", now(CLOCK_REALTIME), last.ns - begin.ns);
	fflush(stdout);
	count = 0;
	last = moment();
	end = last.ns + (long long)(seconds * 1e9);
	printf("from %llu\n", last.tsc);
	while (last.ns < end) {
		begin = moment();
		p = map(16);
		munmap(p, 16 * 4096);
		last = moment();
		note("call", begin, last);
		for (int i = 0; i < 200; i++) {
			begin = last;
			last = moment();
			note("spin", begin, last);
		}
	}
	for (int i = 0; i < count; i++)
		printf("stall %llu %llu %lld %s\n", stalls[i].from, stalls[i].to, stalls[i].took, stalls[i].kind);
	printf("later %lld %llu\n", now(CLOCK_REALTIME), last.tsc);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	if (argc != 3 && argc != 4)
		return 2;
	for (int n = argc == 4 ? atoi(argv[3]) : 1; n > 0; n--)
		burst(atol(argv[1]) * 256, atof(argv[2]));
	return 0;
}
