/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __UM_TIMEX_H
#define __UM_TIMEX_H

typedef unsigned long cycles_t;

static inline cycles_t get_cycles(void)
{
	unsigned int lo, hi;

	asm volatile("rdtsc" : "=a" (lo), "=d" (hi));
	return lo | (cycles_t)hi << 32;
}
#define get_cycles get_cycles

#define CLOCK_TICK_RATE (HZ)

#include <asm-generic/timex.h>

#endif
