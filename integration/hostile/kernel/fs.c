// SPDX-License-Identifier: Apache-2.0
/*
 * Requests of the FUSE protocol (linux/fuse.h): names that lead out of the
 * shared folder, handles that are not this guest's, numbers at their edges.
 */
#include "hostile.h"

struct in_header { u32 len, opcode; u64 unique, nodeid; u32 uid, gid, pid, pad; };

enum { POOL = 64 };
static u64 nodes[POOL] = { 1 }, handles[POOL];
static u32 num_nodes = 1, num_handles = 1;
static u64 unique = 2;
static u8 opcodes[256]; /* by the low bits of unique */

/* Opcode, bytes before the names, names; 255: data behind it. */
static const u8 shapes[][3] = {
	{ 1, 0, 1 }, { 2, 8, 0 }, { 3, 16, 0 }, { 4, 88, 0 }, { 5, 0, 0 }, { 6, 0, 2 }, { 8, 16, 1 }, { 9, 8, 1 },
	{ 10, 0, 1 }, { 11, 0, 1 }, { 12, 8, 2 }, { 13, 8, 1 }, { 14, 8, 0 }, { 15, 40, 0 }, { 16, 40, 255 }, { 17, 0, 0 },
	{ 18, 24, 0 }, { 20, 16, 0 }, { 21, 8, 255 }, { 22, 8, 1 }, { 23, 8, 0 }, { 24, 0, 1 }, { 25, 24, 0 }, { 26, 64, 0 },
	{ 27, 8, 0 }, { 28, 40, 0 }, { 29, 24, 0 }, { 30, 16, 0 }, { 31, 48, 0 }, { 32, 48, 0 }, { 34, 8, 0 },
	{ 35, 16, 1 }, { 36, 8, 0 }, { 37, 16, 0 }, { 38, 0, 0 }, { 39, 32, 0 }, { 40, 24, 0 }, { 42, 24, 0 }, { 43, 32, 0 },
	{ 44, 40, 0 }, { 45, 16, 2 }, { 46, 24, 0 }, { 47, 56, 0 }, { 50, 8, 0 }, { 51, 8, 1 }, { 52, 8, 0 },
};

static const char *const names[] = {
	".", "..", "../..", "../canary", "../canary/file", "../../../../../../etc/passwd", "/", "/etc/passwd", "", "file", "dir",
	"link", "out", "dir/..", "dir/../../canary/file", "a\nb", "\xff\xfe", "proc", "/proc/self/exe", "/proc/self/root",
	"/proc/self/fd/0", "x", "y", "user.x", "security.capability", "trusted.overlay.redirect", "system.posix_acl_access",
};

static u32 name(u8 *to)
{
	const char *s = names[below(sizeof names / sizeof *names)];
	u32 n = 0;

	if (chance(40))
		for (n = 0; n < 300; n++)
			to[n] = 'n';
	else
		while (*s)
			to[n++] = (u8)*s++;
	if (!chance(100))
		to[n++] = 0;
	return n;
}

u32 fs_request(struct chain *c)
{
	const u8 *shape = shapes[unique == 2 ? 23 : below(sizeof shapes / sizeof *shapes)];
	struct in_header *h = (struct in_header *)c->out;
	u8 *p = c->out + sizeof *h;
	u32 i, n;

	if (shape[0] == 26 && unique != 2 && !chance(30)) /* INIT makes the host forget everything */
		shape = shapes[0];
	for (i = 0; i < shape[1]; i += 8, p += 8) {
		u64 v = chance(3) ? hostile() : below(8192);

		if (chance(2))
			v = i == 0 ? handles[below(num_handles)] : below(2) * 4096;
		/* Not more than the file system has room for. */
		*(u64 *)p = shape[0] == 43 && i >= 8 ? below(1 << 20) : v;
	}
	if (shape[0] == 26) {
		((u32 *)(h + 1))[0] = rarely(10) ? (u32)hostile() : 7;
		((u32 *)(h + 1))[1] = chance(10) ? (u32)hostile() : 31 + (u32)below(12);
		((u32 *)(h + 1))[3] = (u32)rnd();
	}
	if (shape[0] == 16) { /* WRITE: data as long as it says, mostly */
		n = (u32)below(2048);
		*(u32 *)(c->out + sizeof *h + 16) = chance(20) ? (u32)hostile() : n;
		p += n;
	} else if (shape[2] == 255) {
		p += name(p);
		p += below(64);
	} else {
		for (i = 0; i < shape[2]; i++)
			p += name(p);
	}
	n = (u32)(p - c->out);
	*h = (struct in_header){
		chance(60) ? (u32)hostile() : n, chance(60) ? (u32)hostile() : shape[0], unique++,
		chance(6) ? hostile() : nodes[below(num_nodes)], (u32)below(3), (u32)below(3), 1, chance(60) ? (u32)hostile() : 0,
	};
	opcodes[h->unique % sizeof opcodes] = shape[0];
	return rarely(60) ? (u32)below(n + 1) : chance(60) ? 40 + (u32)below(n - 39) : n;
}

static void remember(u64 *pool, u32 *num, u64 v)
{
	if (*num < POOL)
		pool[(*num)++] = v;
	else
		pool[1 + below(POOL - 1)] = v;
}

/* What the host gives out will be used later, also after it is gone. */
void fs_reply(const u8 *in, u32 len)
{
	const u64 *words = (const u64 *)in;

	if (len < 24 || *(const int *)(in + 4) != 0)
		return;
	switch (opcodes[words[1] % sizeof opcodes]) {
	case 1: case 6: case 8: case 9: case 13: case 51:
		remember(nodes, &num_nodes, words[2]);
		break;
	case 35:
		remember(nodes, &num_nodes, words[2]);
		if (len > 16 + 128)
			remember(handles, &num_handles, words[2 + 16]);
		break;
	case 14: case 27:
		remember(handles, &num_handles, words[2]);
		break;
	}
}
