/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest kernel that attacks the host below it with everything that it can
 * reach: monitor calls, map operations, the control area, virtqueues, the
 * pager's ring, packets and messages. What it does follows from a seed.
 */
#ifndef HOSTILE_H
#define HOSTILE_H

#include "kernel.h"

typedef unsigned char u8;
typedef unsigned short u16;

/* What a run does, by its seed. */
extern int rude;      /* breaks the protocol of queues, not only of their content */
extern int lawless;   /* writes to the control area */
extern u64 counted[4];
enum { CALLS, ENTERS, CHAINS, SCRIBBLES };

u64 rnd(void);
u64 below(u64 n);
int chance(u64 n); /* one in n */
int rarely(u64 n); /* one in n, and only in a run that breaks the rules: it ends the cell */
u64 hostile(void); /* a number that somebody may not have thought of */
void rest(u64 us); /* let the host work */

void monitor_call(void);
void monitor_enter(void);
void scribble(void);

/*
 * A queue in use. A chain has at most two descriptors, one page each: what the
 * device reads, then what it writes. It is at 2n and 2n+1 in the table.
 */
struct chain { u8 *out, *in; u8 busy; };
struct queue {
	struct paracell_virtio_device *dev;
	u32 number, index, size;
	struct desc { u64 addr; u32 len; u16 flags, next; } *desc;
	struct { u16 flags, idx, ring[]; } *avail;
	struct { u16 flags, idx; struct { u32 id, len; } ring[]; } *used;
	u16 seen;
	struct chain chains[64];
};
enum { MAX_CHAINS = 64 };

void grab(int clone); /* processes of the host; also by its own call */

void devices_start(void);
void devices_attack(void);
/* A chain that is free, or 0. */
struct chain *chain_get(struct queue *q);
void chain_put(struct queue *q, struct chain *c, u32 out, u32 in);

/* Content of requests; each fills c->out and returns its length. */
u32 fs_request(struct chain *c);
void fs_reply(const u8 *in, u32 len);
u32 socket_packet(struct chain *c);
void socket_reply(const u8 *in, u32 len);

#endif
