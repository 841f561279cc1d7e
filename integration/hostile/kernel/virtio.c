// SPDX-License-Identifier: Apache-2.0
/* Virtqueues with hostile chains, and the pager's ring. */
#include "hostile.h"
#include "paracell_ring.h"

enum { NET = 1, CONSOLE = 3, RNG = 4, FS = 26, SOCKET = 19 };
enum { F_NEXT = 1, F_WRITE = 2, F_INDIRECT = 4 };
enum { MAX_QUEUES_USED = 40 };

static struct queue queues[MAX_QUEUES_USED];
static u32 num_queues;
static u32 started; /* devices, one bit each */

static void *pages(u64 n)
{
	u64 gpa = page_alloc();

	while (--n)
		page_alloc();
	return page_ptr(gpa);
}

static u64 gpa(const void *p) { return (u64)p - PARACELL_PHYS_BASE; }

static void notify(struct paracell_virtio_device *d, u32 number, u32 q)
{
	if (q < 64)
		__atomic_or_fetch(&d->notify_queues, 1ULL << q, __ATOMIC_SEQ_CST);
	call(PARACELL_CALL_NOTIFY, number, q, 0, 0);
}

static void start_device(u32 number)
{
	struct paracell_virtio_device *d = &control->devices[number];
	u32 i, n = d->num_queues, first = num_queues;

	if (!d->device_id || n > 8 || num_queues + n > MAX_QUEUES_USED)
		return;
	started |= 1u << number;
	for (i = 0; i < n; i++) {
		struct queue *q = &queues[num_queues++];
		u32 size = d->queues[i].size_max;

		if (size > 512)
			size = 512;
		q->dev = d;
		q->number = number;
		q->index = i;
		q->size = size;
		q->desc = pages((size * 16 + 4095) / 4096);
		q->avail = pages(1);
		q->used = pages(2);
		d->queues[i].size = size;
		d->queues[i].desc = gpa(q->desc);
		d->queues[i].driver = gpa(q->avail);
		d->queues[i].device = gpa(q->used);
		d->queues[i].ready = 1;
	}
	d->driver_features = d->device_features;
	if (chance(3)) /* without event indices */
		d->driver_features &= ~(1ULL << 29);
	if (rarely(25)) {
		struct queue *q = &queues[first + below(n)];

		switch (below(5)) {
		case 0: d->queues[q->index].size = (u32)hostile(); break;
		case 1: d->queues[q->index].desc = hostile(); break;
		case 2: d->queues[q->index].device = hostile(); break;
		case 3: d->driver_features = hostile(); break;
		case 4: d->queues[q->index].ready = 0; break;
		}
	}
	d->driver_status = 15;
	call(PARACELL_CALL_NOTIFY, number, PARACELL_NOTIFY_STATUS, 0, 0);
}

void devices_start(void)
{
	u32 i;

	for (i = 0; i < PARACELL_MAX_DEVICES; i++)
		start_device(i);
}

static void consume(struct queue *q)
{
	u16 idx = __atomic_load_n(&q->used->idx, __ATOMIC_ACQUIRE);

	for (; q->seen != idx; q->seen++) {
		u32 id = q->used->ring[q->seen % q->size].id, len = q->used->ring[q->seen % q->size].len;
		struct chain *c = &q->chains[id / 2 % MAX_CHAINS];

		if (!c->out || !c->busy)
			continue;
		c->busy = 0;
		if (len > PARACELL_PAGE_SIZE)
			len = PARACELL_PAGE_SIZE;
		if (q->dev->device_id == FS)
			fs_reply(c->in, len);
		else if (q->dev->device_id == SOCKET && q->index == 0)
			socket_reply(c->in, len);
	}
	q->dev->isr = 0;
}

struct chain *chain_get(struct queue *q)
{
	u32 i, n = q->size / 2 < MAX_CHAINS ? q->size / 2 : MAX_CHAINS;

	consume(q);
	for (i = 0; i < n; i++) {
		struct chain *c = &q->chains[i];

		if (c->busy)
			continue;
		if (!c->out) {
			c->out = pages(1);
			c->in = pages(1);
		}
		return c;
	}
	return 0;
}

static void spoil(struct queue *q, struct desc *d)
{
	switch (below(8)) {
	case 0: d[below(2)].addr = hostile(); break;
	case 1: d[below(2)].len = (u32)hostile(); break;
	case 2: d[below(2)].flags = (u16)rnd(); break;
	case 3: d[0].flags |= F_NEXT; d[0].next = (u16)hostile(); break;
	case 4: q->avail->idx += (u16)hostile(); break;
	case 5: d[1].flags |= F_NEXT; d[1].next = (u16)(d - q->desc); break;
	case 6: /* an indirect table, by and by worse */
		((struct desc *)q->chains[0].in)[0] = (struct desc){ hostile(), (u32)hostile(), (u16)below(8), (u16)below(300) };
		d[0].addr = gpa(q->chains[0].in);
		d[0].len = 16 * (u32)below(200);
		d[0].flags = F_INDIRECT;
		break;
	case 7: q->used->idx = (u16)rnd(); break;
	}
}

void chain_put(struct queue *q, struct chain *c, u32 out, u32 in)
{
	u32 n = (u32)(c - q->chains) * 2;
	struct desc *d = q->desc + n;
	u32 head = n;

	d[0] = (struct desc){ gpa(c->out), out, in ? F_NEXT : 0, (u16)(n + 1) };
	d[1] = (struct desc){ gpa(c->in), in, F_WRITE, 0 };
	if (!out)
		head = n + 1;
	c->busy = 1;
	if (rude == 2 || rarely(500))
		spoil(q, d);
	q->avail->ring[q->avail->idx % q->size] = rarely(5000) ? (u16)rnd() : (u16)head;
	__atomic_store_n(&q->avail->idx, (u16)(q->avail->idx + 1), __ATOMIC_SEQ_CST);
	counted[CHAINS]++;
	if (!chance(8))
		notify(q->dev, q->number, q->index);
	/* What the host has read once it must not trust a second time. */
	for (u64 from = rarely(100) ? 0 : 44; chance(3) && out > from;)
		((volatile u8 *)c->out)[from + below(out - from)] = (u8)rnd();
}

static u32 noise(u8 *p)
{
	u32 i, n = chance(10) ? PARACELL_PAGE_SIZE - 8 : (rarely(100) ? 0 : 12) + (u32)below(512);

	for (i = 0; i < n; i += 8)
		*(u64 *)(p + i) = chance(2) ? hostile() : rnd();
	return n;
}

/* In the ring of the pager anything may stand. */
static void pager(void)
{
	u8 *area = (u8 *)control + PAGER_OFFSET;
	volatile u64 *ring = (u64 *)(area + PAGER_AREA_RING_OFFSET), *tail = (u64 *)(area + PAGER_AREA_TAIL_OFFSET);
	static u8 *table;
	u64 i, frames = control->boot.mem_size / PARACELL_PAGE_SIZE;

	if (!table) {
		table = pages(frames * 4 / 4096 + 1);
		*(u64 *)(area + PAGER_AREA_TABLE_GPA_OFFSET) = rarely(8) ? hostile() : gpa(table);
		*(u64 *)(area + PAGER_AREA_TABLE_FRAMES_OFFSET) = rarely(8) ? hostile() : frames;
	}
	for (i = below(20); i; i--) {
		/* Free memory is above what this kernel uses; a frame of its own may go too. */
		u64 frame = frames / 2 + below(frames / 4), n = rarely(500) ? hostile() : 1 + below(64);

		if (chance(3))
			((volatile u32 *)table)[frame] = (u32)(chance(2) ? PAGER_STATE_FREE_PENDING : rnd());
		ring[*tail % PAGER_ENTRIES] = rarely(500) ? hostile() :
			(1 + below(2)) << PAGER_OP_SHIFT | (n & PAGER_COUNT_MASK) << PAGER_COUNT_SHIFT | frame;
		*tail += rarely(500) ? hostile() : 1;
	}
	if (chance(4))
		*(volatile u32 *)(area + PAGER_AREA_SLEEPING_OFFSET) = 0;
	call(PARACELL_CALL_NOTIFY, 0, 0, 0, 0);
}

static void reset(struct paracell_virtio_device *d, u32 number)
{
	u32 i;

	d->driver_status = 0;
	d->reset_seq++;
	call(PARACELL_CALL_NOTIFY, number, PARACELL_NOTIFY_STATUS, 0, 0);
	for (i = 0; i < 1000 && d->reset_ack != d->reset_seq; i++)
		rest(100);
	for (i = 0; i < num_queues; i++) {
		struct queue *q = &queues[i];
		u32 n;

		if (q->dev != d)
			continue;
		q->seen = q->used->idx = q->avail->idx = 0;
		for (n = 0; n < MAX_CHAINS; n++)
			q->chains[n].busy = 0;
	}
	d->driver_status = 15;
	call(PARACELL_CALL_NOTIFY, number, PARACELL_NOTIFY_STATUS, 0, 0);
}

void devices_attack(void)
{
	struct queue *q;
	struct chain *c;
	u32 out = 0, in = 0;

	if (chance(30)) {
		pager();
		return;
	}
	if (chance(500)) /* one that was added meanwhile */
		for (u32 i = 0; i < PARACELL_MAX_DEVICES; i++)
			if (!(started >> i & 1))
				start_device(i);
	if (!num_queues)
		return;
	q = &queues[below(num_queues)];
	if (chance(3000)) {
		reset(q->dev, q->number);
		return;
	}
	if (rarely(400)) {
		notify(q->dev, chance(2) ? (u32)hostile() : q->number, (u32)hostile());
		return;
	}
	c = chain_get(q);
	if (!c) {
		notify(q->dev, q->number, q->index);
		rest(50);
		return;
	}
	switch (q->dev->device_id) {
	case FS:
		out = fs_request(c);
		in = chance(20) ? (u32)below(64) : PARACELL_PAGE_SIZE;
		break;
	case SOCKET:
		if (q->index == 1)
			out = socket_packet(c);
		else
			in = PARACELL_PAGE_SIZE;
		break;
	case RNG:
		in = 1 + (u32)below(PARACELL_PAGE_SIZE);
		break;
	default: /* console and network: even queues are to the guest */
		if (q->index & 1)
			out = noise(c->out);
		else
			in = PARACELL_PAGE_SIZE;
		break;
	}
	if (!out && !in)
		in = 1;
	chain_put(q, c, out, in);
}
