/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which processor of the host a slot runs on. The slots of a vCPU take turns, so
 * the next one does best where the last one stops: a wake-up elsewhere costs an
 * interrupt, often of a processor that sleeps. The host cannot know that who
 * wakes another is about to sleep, and prefers an idle processor. So a slot that
 * finds itself elsewhere than the one before follows it and stays there. Every
 * now and then it goes where the host likes, and the others follow it: that is
 * how the host balances its load.
 */
#include "host.h"

enum { CPUS = 4096, STAY_MS = 20 };

typedef u64 cpu_set[CPUS / 64];

static cpu_set allowed; /* what the cell was started with */
static u8 pinned;       /* to one processor */
static u64 since;       /* when the host chose last, by TSC */

/* place_here is the number of the processor, which the host keeps in TSC_AUX. */
u32 place_here(void)
{
	u32 lo, hi, aux;

	__asm__ volatile("rdtscp" : "=a"(lo), "=d"(hi), "=c"(aux));
	return aux & (CPUS - 1);
}

static int stayed(void)
{
	return rdtsc() - since > STAY_MS * (u64)control->boot.tsc_khz;
}

static __attribute__((noinline)) void follow(u32 cpu)
{
	cpu_set one = { 0 };

	one[cpu / 64 % (CPUS / 64)] = 1ULL << cpu % 64;
	/* It may fail where the host has taken the processor away meanwhile. */
	if (!host_call(__NR_sched_setaffinity, 0L, (long)sizeof(one), one))
		pinned = 1;
}

/* place_arrive: the slot got the vCPU from one that was on processor from. */
void place_arrive(u32 from)
{
	if (!pinned && stayed())
		since = rdtsc();
	else if (place_here() != from)
		follow(from);
}

/* place_free lets the host choose, when it is time. */
void place_free(void)
{
	if (pinned && stayed() && !host_call(__NR_sched_setaffinity, 0L, (long)sizeof(allowed), allowed))
		pinned = 0;
}

/* place_init notes where the cell may run. Returns a negative errno if it cannot. */
long place_init(void)
{
	return host_syscall(__NR_sched_getaffinity, 0L, (long)sizeof(allowed), allowed);
}
