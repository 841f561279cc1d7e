/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Generated from pager/ring by go generate ./pager/ring; do not edit. */
#ifndef PARACELL_RING_H
#define PARACELL_RING_H

#define PAGER_VERSION 1
#define PAGER_OFFSET 0x800000
#define PAGER_IRQ 3
#define PAGER_FRAME_SIZE 0x1000
#define PAGER_ENTRIES 0x2000
#define PAGER_STATE_UNBOUND 0
#define PAGER_STATE_BINDING 1
#define PAGER_STATE_BOUND 2
#define PAGER_STATE_FREE_PENDING 3
#define PAGER_STATE_UNBINDING 4
#define PAGER_NUM_STATES 5
#define PAGER_STATE_MASK 7
#define PAGER_ZERO 8
#define PAGER_STAMP_SHIFT 8
#define PAGER_NEXT_SKIP 13
#define PAGER_NEXT_WAIT 14
#define PAGER_NEXT_BAD 15
#define PAGER_NEXT_TAKE 0xe2222
#define PAGER_NEXT_GIVE 0xff3f0
#define PAGER_NEXT_BIND_START 0xdddd1
#define PAGER_NEXT_BIND_DONE 0xddd3d
#define PAGER_NEXT_UNBIND_START 0xd4ddd
#define PAGER_NEXT_UNBIND_DONE 0xffff
#define PAGER_ZERO_STATES 3
#define PAGER_OP_GIVE 1
#define PAGER_OP_BIND 2
#define PAGER_OP_SHIFT 60
#define PAGER_COUNT_SHIFT 40
#define PAGER_COUNT_MASK 0xfffff
#define PAGER_FRAME_MASK 0xffffffffff
#define PAGER_SLEEP_NOT 0
#define PAGER_SLEEP_NAP 1
#define PAGER_SLEEP_DEEP 2
#define PAGER_FLAG_TRACK 1
#define PAGER_FLAG_GIVE 2
#define PAGER_FLAG_VERIFY 4

/* Sizes and offsets in bytes, for C and assembly. */
#define PAGER_GUEST_STATS_SIZEOF 112
#define PAGER_GUEST_STATS_FREE_FRAMES_OFFSET 0
#define PAGER_GUEST_STATS_CACHE_FRAMES_OFFSET 8
#define PAGER_GUEST_STATS_COLD_FRAMES_OFFSET 16
#define PAGER_GUEST_STATS_TAKEN_OFFSET 24
#define PAGER_GUEST_STATS_GIVEN_OFFSET 32
#define PAGER_GUEST_STATS_TAKEN_UNBOUND_OFFSET 40
#define PAGER_GUEST_STATS_TAKEN_BINDING_OFFSET 48
#define PAGER_GUEST_STATS_TAKEN_AHEAD_OFFSET 56
#define PAGER_GUEST_STATS_ZERO_SKIPPED_OFFSET 64
#define PAGER_GUEST_STATS_WAITS_OFFSET 72
#define PAGER_GUEST_STATS_WAIT_CYCLES_OFFSET 80
#define PAGER_GUEST_STATS_WAIT_MAX_CYCLES_OFFSET 88
#define PAGER_GUEST_STATS_KICKS_OFFSET 96
#define PAGER_GUEST_STATS_RECLAIMED_OFFSET 104
#define PAGER_AREA_SIZEOF 65856
#define PAGER_AREA_VERSION_OFFSET 0
#define PAGER_AREA_FLAGS_OFFSET 4
#define PAGER_AREA_EPOCH_OFFSET 8
#define PAGER_AREA_AHEAD_MAX_OFFSET 12
#define PAGER_AREA_BIND_GRAIN_OFFSET 16
#define PAGER_AREA_RECLAIM_SEQ_OFFSET 20
#define PAGER_AREA_RECLAIM_FRAMES_OFFSET 24
#define PAGER_AREA_HEAD_OFFSET 32
#define PAGER_AREA_SLEEPING_OFFSET 64
#define PAGER_AREA_TAIL_OFFSET 128
#define PAGER_AREA_OVERFLOW_OFFSET 136
#define PAGER_AREA_RECLAIM_ACK_OFFSET 140
#define PAGER_AREA_TABLE_GPA_OFFSET 144
#define PAGER_AREA_TABLE_FRAMES_OFFSET 152
#define PAGER_AREA_STATS_OFFSET 192
#define PAGER_AREA_RING_OFFSET 320

#ifndef __ASSEMBLER__

struct pager_guest_stats {
	unsigned long long free_frames;
	unsigned long long cache_frames;
	unsigned long long cold_frames;
	unsigned long long taken;
	unsigned long long given;
	unsigned long long taken_unbound;
	unsigned long long taken_binding;
	unsigned long long taken_ahead;
	unsigned long long zero_skipped;
	unsigned long long waits;
	unsigned long long wait_cycles;
	unsigned long long wait_max_cycles;
	unsigned long long kicks;
	unsigned long long reclaimed;
};

struct pager_area {
	unsigned int version;
	unsigned int flags;
	unsigned int epoch;
	unsigned int ahead_max;
	unsigned int bind_grain;
	unsigned int reclaim_seq;
	unsigned long long reclaim_frames;
	unsigned long long head;
	unsigned long long __pad0[3];
	unsigned int sleeping;
	unsigned int __pad1[15];
	unsigned long long tail;
	unsigned int overflow;
	unsigned int reclaim_ack;
	unsigned long long table_gpa;
	unsigned long long table_frames;
	unsigned long long __pad2[4];
	struct pager_guest_stats stats;
	unsigned long long __pad3[2];
	unsigned long long ring[8192];
};

_Static_assert(sizeof(struct pager_guest_stats) == PAGER_GUEST_STATS_SIZEOF, "size of pager_guest_stats");
_Static_assert(__builtin_offsetof(struct pager_guest_stats, free_frames) == PAGER_GUEST_STATS_FREE_FRAMES_OFFSET, "offset of pager_guest_stats.free_frames");
_Static_assert(__builtin_offsetof(struct pager_guest_stats, cache_frames) == PAGER_GUEST_STATS_CACHE_FRAMES_OFFSET, "offset of pager_guest_stats.cache_frames");
_Static_assert(__builtin_offsetof(struct pager_guest_stats, cold_frames) == PAGER_GUEST_STATS_COLD_FRAMES_OFFSET, "offset of pager_guest_stats.cold_frames");
_Static_assert(__builtin_offsetof(struct pager_guest_stats, taken) == PAGER_GUEST_STATS_TAKEN_OFFSET, "offset of pager_guest_stats.taken");
_Static_assert(__builtin_offsetof(struct pager_guest_stats, given) == PAGER_GUEST_STATS_GIVEN_OFFSET, "offset of pager_guest_stats.given");
_Static_assert(__builtin_offsetof(struct pager_guest_stats, taken_unbound) == PAGER_GUEST_STATS_TAKEN_UNBOUND_OFFSET, "offset of pager_guest_stats.taken_unbound");
_Static_assert(__builtin_offsetof(struct pager_guest_stats, taken_binding) == PAGER_GUEST_STATS_TAKEN_BINDING_OFFSET, "offset of pager_guest_stats.taken_binding");
_Static_assert(__builtin_offsetof(struct pager_guest_stats, taken_ahead) == PAGER_GUEST_STATS_TAKEN_AHEAD_OFFSET, "offset of pager_guest_stats.taken_ahead");
_Static_assert(__builtin_offsetof(struct pager_guest_stats, zero_skipped) == PAGER_GUEST_STATS_ZERO_SKIPPED_OFFSET, "offset of pager_guest_stats.zero_skipped");
_Static_assert(__builtin_offsetof(struct pager_guest_stats, waits) == PAGER_GUEST_STATS_WAITS_OFFSET, "offset of pager_guest_stats.waits");
_Static_assert(__builtin_offsetof(struct pager_guest_stats, wait_cycles) == PAGER_GUEST_STATS_WAIT_CYCLES_OFFSET, "offset of pager_guest_stats.wait_cycles");
_Static_assert(__builtin_offsetof(struct pager_guest_stats, wait_max_cycles) == PAGER_GUEST_STATS_WAIT_MAX_CYCLES_OFFSET, "offset of pager_guest_stats.wait_max_cycles");
_Static_assert(__builtin_offsetof(struct pager_guest_stats, kicks) == PAGER_GUEST_STATS_KICKS_OFFSET, "offset of pager_guest_stats.kicks");
_Static_assert(__builtin_offsetof(struct pager_guest_stats, reclaimed) == PAGER_GUEST_STATS_RECLAIMED_OFFSET, "offset of pager_guest_stats.reclaimed");

_Static_assert(sizeof(struct pager_area) == PAGER_AREA_SIZEOF, "size of pager_area");
_Static_assert(__builtin_offsetof(struct pager_area, version) == PAGER_AREA_VERSION_OFFSET, "offset of pager_area.version");
_Static_assert(__builtin_offsetof(struct pager_area, flags) == PAGER_AREA_FLAGS_OFFSET, "offset of pager_area.flags");
_Static_assert(__builtin_offsetof(struct pager_area, epoch) == PAGER_AREA_EPOCH_OFFSET, "offset of pager_area.epoch");
_Static_assert(__builtin_offsetof(struct pager_area, ahead_max) == PAGER_AREA_AHEAD_MAX_OFFSET, "offset of pager_area.ahead_max");
_Static_assert(__builtin_offsetof(struct pager_area, bind_grain) == PAGER_AREA_BIND_GRAIN_OFFSET, "offset of pager_area.bind_grain");
_Static_assert(__builtin_offsetof(struct pager_area, reclaim_seq) == PAGER_AREA_RECLAIM_SEQ_OFFSET, "offset of pager_area.reclaim_seq");
_Static_assert(__builtin_offsetof(struct pager_area, reclaim_frames) == PAGER_AREA_RECLAIM_FRAMES_OFFSET, "offset of pager_area.reclaim_frames");
_Static_assert(__builtin_offsetof(struct pager_area, head) == PAGER_AREA_HEAD_OFFSET, "offset of pager_area.head");
_Static_assert(__builtin_offsetof(struct pager_area, sleeping) == PAGER_AREA_SLEEPING_OFFSET, "offset of pager_area.sleeping");
_Static_assert(__builtin_offsetof(struct pager_area, tail) == PAGER_AREA_TAIL_OFFSET, "offset of pager_area.tail");
_Static_assert(__builtin_offsetof(struct pager_area, overflow) == PAGER_AREA_OVERFLOW_OFFSET, "offset of pager_area.overflow");
_Static_assert(__builtin_offsetof(struct pager_area, reclaim_ack) == PAGER_AREA_RECLAIM_ACK_OFFSET, "offset of pager_area.reclaim_ack");
_Static_assert(__builtin_offsetof(struct pager_area, table_gpa) == PAGER_AREA_TABLE_GPA_OFFSET, "offset of pager_area.table_gpa");
_Static_assert(__builtin_offsetof(struct pager_area, table_frames) == PAGER_AREA_TABLE_FRAMES_OFFSET, "offset of pager_area.table_frames");
_Static_assert(__builtin_offsetof(struct pager_area, stats) == PAGER_AREA_STATS_OFFSET, "offset of pager_area.stats");
_Static_assert(__builtin_offsetof(struct pager_area, ring) == PAGER_AREA_RING_OFFSET, "offset of pager_area.ring");
#endif /* __ASSEMBLER__ */

#endif /* PARACELL_RING_H */
