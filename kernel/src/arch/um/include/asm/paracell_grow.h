/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory that the page allocator does not have yet.
 *
 * A frame costs a descriptor of 64 bytes, which the host has to provide as soon
 * as it is written. So the allocator starts with a part of memory and takes
 * more when it would have to reclaim (grow.c). Totals count all of it.
 */
#ifndef __UM_PARACELL_GROW_H
#define __UM_PARACELL_GROW_H

#include <linux/compiler.h>
#include <linux/types.h>

struct zone;

/* Frames that the allocator does not have yet. */
extern unsigned long grow_left;

bool __grow_zone(struct zone *zone);

/* Give the zone more memory. False if there is none; no lock is held. */
static inline bool grow_zone(struct zone *zone)
{
	return unlikely(READ_ONCE(grow_left)) && __grow_zone(zone);
}

/* The first frame behind what the host has loaded. */
unsigned long grow_loaded(void);
void grow_reserve(void);
void grow_span(void);
void grow_start(void);

#endif
