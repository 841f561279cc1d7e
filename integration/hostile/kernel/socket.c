// SPDX-License-Identifier: Apache-2.0
/*
 * Packets of virtio sockets, and in them the messages of an agent: frames of
 * ttrpc with answers that nobody has asked for, or not these.
 */
#include "hostile.h"

struct packet {
	u64 src_cid, dst_cid;
	u32 src_port, dst_port, len;
	u16 kind, op;
	u32 flags, buf_alloc, fwd_cnt;
} __attribute__((packed));
_Static_assert(sizeof(struct packet) == 44, "virtio_vsock_hdr");

enum { REQUEST = 1, RESPONSE, RST, SHUTDOWN, RW, CREDIT_UPDATE, CREDIT_REQUEST };
enum { CONNS = 8 };

static const u32 ports[] = { 1, 2, 3, 1024, 1025 };
static struct conn { u32 host, up, asked, received, stream; } conns[CONNS];

static u8 *be32(u8 *p, u64 v)
{
	p[0] = (u8)(v >> 24);
	p[1] = (u8)(v >> 16);
	p[2] = (u8)(v >> 8);
	p[3] = (u8)v;
	return p + 4;
}

/* Fields of a protobuf message, right in form at first sight. */
static u8 *message(u8 *p, u8 *end)
{
	for (u64 fields = below(8); fields && p + 40 < end; fields--) {
		u64 n = below(30);

		switch (below(4)) {
		case 0:
			*p++ = (u8)(below(16) << 3);
			while (chance(2))
				*p++ = (u8)(0x80 | rnd());
			*p++ = (u8)(rnd() & 0x7f);
			break;
		case 1:
			*p++ = (u8)(below(16) << 3 | 2);
			*p++ = (u8)(chance(10) ? rnd() & 0x7f : n);
			while (n--)
				*p++ = (u8)(chance(8) ? rnd() : 'a' + below(26));
			break;
		case 2:
			*p++ = (u8)(below(16) << 3 | 5);
			p = be32(p, rnd());
			break;
		case 3:
			if (chance(4))
				*p++ = (u8)rnd();
		}
	}
	return p;
}

/* One frame: length, stream, type, flags, then a Response. */
static u8 *frame(u8 *p, u8 *end, struct conn *c)
{
	u8 *head = p, *start;

	p += 10;
	start = p;
	if (!chance(4)) {
		u8 *body;

		*p++ = chance(8) ? 0x0a : 0x12; /* status or payload */
		body = ++p;
		if (!chance(3))
			p = message(p, body + 100 < end ? body + 100 : end);
		body[-1] = (u8)(p - body);
	} else {
		p = message(p, end);
	}
	be32(head, chance(30) ? hostile() : (u64)(p - start));
	be32(head + 4, chance(8) ? hostile() : c->stream);
	head[8] = chance(20) ? (u8)rnd() : 2;
	head[9] = chance(20) ? (u8)rnd() : 0;
	return p;
}

u32 socket_packet(struct chain *chain)
{
	struct packet *h = (struct packet *)chain->out;
	u8 *p = chain->out + sizeof *h, *end = chain->out + 3000;
	u32 i = (u32)below(CONNS);
	struct conn *c = &conns[i];
	u32 op;

	if (!c->asked) {
		c->host = ports[i < 5 ? i : below(5)];
		op = REQUEST;
		c->asked = 1;
	} else if (chance(12)) {
		op = (u32)below(9);
	} else if (c->up) {
		op = chance(6) ? CREDIT_UPDATE : RW;
	} else {
		op = chance(10) ? REQUEST : CREDIT_UPDATE;
	}
	if (op == RST || op == REQUEST)
		c->up = 0;
	if (op == RW) {
		if (c->host == 1024 || chance(4))
			for (u64 n = 1 + below(4); n && p + 300 < end; n--)
				p = frame(p, end, c);
		else
			for (u64 n = below(900); n; n--)
				*p++ = (u8)rnd();
	}
	*h = (struct packet){
		rarely(2000) ? hostile() : 3, rarely(2000) ? hostile() : 2, chance(100) ? (u32)hostile() : 1000 + i,
		chance(100) ? (u32)hostile() : c->host, (u32)(p - chain->out - sizeof *h),
		rarely(3000) ? (u16)rnd() : 1, (u16)op, chance(20) ? (u32)rnd() : 0,
		chance(30) ? (u32)hostile() : 65536, chance(30) ? (u32)hostile() : c->received,
	};
	if (rarely(1000))
		h->len = (u32)hostile();
	return rarely(1000) ? (u32)below(60) : (u32)(p - chain->out);
}

void socket_reply(const u8 *in, u32 len)
{
	const struct packet *h = (const struct packet *)in;
	struct conn *c;

	if (len < sizeof *h || h->dst_port < 1000 || h->dst_port >= 1000 + CONNS)
		return;
	c = &conns[h->dst_port - 1000];
	switch (h->op) {
	case RESPONSE:
		c->up = 1;
		c->received = 0;
		break;
	case RST:
		c->up = c->asked = 0;
		break;
	case RW:
		c->received += h->len;
		if (len >= sizeof *h + 10)
			c->stream = (u32)in[sizeof *h + 4] << 24 | (u32)in[sizeof *h + 5] << 16 |
				    (u32)in[sizeof *h + 6] << 8 | in[sizeof *h + 7];
	}
}
