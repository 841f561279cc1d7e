// SPDX-License-Identifier: GPL-2.0
/*
 * Templates of system-call sites. template.h says what they are; docs/rewriting.md
 * why they are safe.
 */
#include "template.h"

/* One-byte opcodes that do not exist in 64-bit code. */
static bool invalid(u8 op)
{
	switch (op) {
	case 0x06: case 0x07: case 0x0e: case 0x16: case 0x17: case 0x1e:
	case 0x1f: case 0x27: case 0x2f: case 0x37: case 0x3f: case 0x60:
	case 0x61: case 0x82: case 0x9a: case 0xce: case 0xd4: case 0xd5:
	case 0xd6: case 0xea:
		return true;
	}
	return false;
}

static bool has_modrm(u8 op)
{
	if (op < 0x40)
		return (op & 7) < 4;
	switch (op) {
	case 0x63: case 0x69: case 0x6b:
	case 0xc0: case 0xc1: case 0xc6: case 0xc7:
	case 0xf6: case 0xf7: case 0xfe: case 0xff:
		return true;
	}
	return (op >= 0x80 && op <= 0x8f) || (op >= 0xd0 && op <= 0xd3) ||
	       (op >= 0xd8 && op <= 0xdf);
}

/* Bytes of immediate operand; z is 2 or 4. */
static unsigned int immediate(u8 op, unsigned int z, bool rex_w, bool short_address)
{
	if (op < 0x40)
		return (op & 7) == 4 ? 1 : (op & 7) == 5 ? z : 0;
	switch (op) {
	case 0x68: case 0x69: case 0x81: case 0xa9: case 0xc7:
		return z;
	case 0x6a: case 0x6b: case 0x80: case 0x83: case 0xa8: case 0xc0:
	case 0xc1: case 0xc6: case 0xcd: case 0xeb:
		return 1;
	case 0xc2: case 0xca:
		return 2;
	case 0xc8:
		return 3;
	case 0xe8: case 0xe9:
		return 4;
	}
	if ((op >= 0x70 && op <= 0x7f) || (op >= 0xb0 && op <= 0xb7) ||
	    (op >= 0xe0 && op <= 0xe7))
		return 1;
	if (op >= 0xb8 && op <= 0xbf)
		return rex_w ? 8 : z;
	if (op >= 0xa0 && op <= 0xa3)
		return short_address ? 4 : 8;
	return 0;
}

static bool modrm_0f(u8 op)
{
	switch (op) {
	case 0x05: case 0x06: case 0x07: case 0x08: case 0x09: case 0x0b:
	case 0x0e: case 0x77: case 0xa0: case 0xa1: case 0xa2: case 0xa8:
	case 0xa9: case 0xaa:
		return false;
	}
	return !(op >= 0x30 && op <= 0x37) && !(op >= 0x80 && op <= 0x8f) &&
	       !(op >= 0xc8 && op <= 0xcf);
}

static unsigned int immediate_0f(u8 op)
{
	switch (op) {
	case 0x0f: case 0x70: case 0x71: case 0x72: case 0x73: case 0xa4:
	case 0xac: case 0xba: case 0xc2: case 0xc4: case 0xc5: case 0xc6:
		return 1;
	}
	return op >= 0x80 && op <= 0x8f ? 4 : 0;
}

/* Branches, traps, calls of the system, and what reads its own address. */
static bool flow(u8 op, u8 modrm)
{
	switch (op) {
	case 0xc2: case 0xc3: case 0xca: case 0xcb: case 0xcc: case 0xcd:
	case 0xcf: case 0xe8: case 0xe9: case 0xeb: case 0xf1: case 0xf4:
		return true;
	case 0xc6: case 0xc7:
		return modrm == 0xf8;	/* xabort, xbegin */
	case 0xff:
		return (modrm >> 3 & 7) >= 2 && (modrm >> 3 & 7) <= 5;
	}
	return (op >= 0x70 && op <= 0x7f) || (op >= 0xe0 && op <= 0xe3);
}

static bool flow_0f(u8 op)
{
	switch (op) {
	case 0x01: case 0x05: case 0x07: case 0x0b: case 0x34: case 0x35:
	case 0xb9: case 0xff:
		return true;
	}
	return op >= 0x80 && op <= 0x8f;
}

struct paracell_insn paracell_decode(const u8 *p, unsigned int avail)
{
	const struct paracell_insn none = { 0 };
	struct paracell_insn insn = { 0 };
	bool rex_w = false, operand16 = false, short_address = false, modrm;
	unsigned int i = 0, imm, map = 0;
	u8 op, mod;

	if (avail > 15)
		avail = 15;
	for (;; i++) {
		if (i >= avail)
			return none;
		op = p[i];
		if (op == 0x66)
			operand16 = true;
		else if (op == 0x67)
			short_address = true;
		else if (op == 0xf0)
			/* A jump over the prefix would land in the middle. */
			insn.fixed = true;
		else if (op != 0xf2 && op != 0xf3 && op != 0x26 && op != 0x2e &&
			 op != 0x36 && op != 0x3e && op != 0x64 && op != 0x65)
			break;
	}
	if ((op & 0xf0) == 0x40) {
		rex_w = op & 8;
		if (++i >= avail)
			return none;
		op = p[i];
		if ((op & 0xf0) == 0x40)
			return none;
	}
	if (op == 0xc5 || op == 0xc4 || op == 0x62) {
		/* VEX and EVEX: the prefix names the opcode map. */
		unsigned int prefix = op == 0xc5 ? 2 : op == 0xc4 ? 3 : 4;

		if (i + prefix >= avail)
			return none;
		map = op == 0xc5 ? 1 : op == 0xc4 ? p[i + 1] & 0x1f : p[i + 1] & 7;
		i += prefix;
		op = p[i++];
		if (map == 1) {
			modrm = op != 0x77;
			imm = modrm ? immediate_0f(op) : 0;
			if (op >= 0x80 && op <= 0x8f)
				imm = 0;	/* masks, no branches */
		} else if (map == 2 || map == 5 || map == 6) {
			modrm = true;
			imm = 0;
		} else if (map == 3) {
			modrm = true;
			imm = 1;
		} else {
			return none;
		}
	} else if (op == 0x0f) {
		if (++i >= avail)
			return none;
		op = p[i++];
		if (op == 0x38 || op == 0x3a) {
			if (i >= avail)
				return none;
			modrm = true;
			imm = op == 0x3a;
			i++;
		} else {
			modrm = modrm_0f(op);
			imm = immediate_0f(op);
			insn.fixed |= flow_0f(op);
		}
	} else {
		if (invalid(op))
			return none;
		i++;
		modrm = has_modrm(op);
		imm = immediate(op, operand16 ? 2 : 4, rex_w, short_address);
		if (op == 0x8f && i < avail && (p[i] & 0x38))
			return none;	/* XOP */
		insn.fixed |= flow(op, modrm && i < avail ? p[i] : 0);
		if ((op == 0xf6 || op == 0xf7) && i < avail && (p[i] & 0x38) <= 8)
			imm = op == 0xf6 ? 1 : operand16 ? 2 : 4;
	}
	if (modrm) {
		if (i >= avail)
			return none;
		mod = p[i++];
		if (mod < 0xc0) {
			unsigned int disp = mod >> 6 == 1 ? 1 : mod >> 6 == 2 ? 4 : 0;

			if ((mod & 7) == 4) {
				if (i >= avail)
					return none;
				if (mod < 0x40 && (p[i] & 7) == 5)
					disp = 4;
				i++;
			} else if ((mod & 0xc7) == 5) {
				disp = 4;
				insn.disp = i;
				insn.fixed |= short_address;
			}
			i += disp;
		}
	}
	i += imm;
	if (i > avail)
		return none;
	insn.len = i;
	return insn;
}

/*
 * Does an instruction begin at code[pos]? Whoever decodes x86 from a wrong
 * place falls into step after a few instructions, so nearly all sequences that
 * begin further in front have to agree.
 */
static bool begins(const u8 *code, unsigned int size, unsigned int pos)
{
	unsigned int start = pos > 64 ? pos - 64 : 0, at, hits = 0, misses = 0;

	for (; start + 8 <= pos; start++) {
		for (at = start; at < pos;) {
			struct paracell_insn insn = paracell_decode(code + at, size - at);

			if (!insn.len)
				break;
			at += insn.len;
		}
		if (at == pos)
			hits++;
		else if (at > pos)
			misses++;
	}
	return hits >= 4 && hits >= 3 * misses;
}

/* Padding between functions, as far as it can be told from what is executed. */
static bool padding(const u8 *p, unsigned int len, unsigned int page)
{
	unsigned int i, n;

	for (i = 0; i < len && p[i] == 0xcc; i++)
		;
	if (i == len)
		return true;
	/* No-ops up to where the next function is aligned, but no aligned ones. */
	if (!(page & 15) || (page & 15) + len > 16)
		return false;
	for (i = 0; i < len; i += n) {
		struct paracell_insn insn = paracell_decode(p + i, 16);
		const u8 *q = p + i;

		n = insn.len;
		if (!n)
			return false;
		while (*q == 0x66 || *q == 0x2e)
			q++;
		if (*q != 0x90 && !(*q == 0x0f && q[1] == 0x1f))
			return false;
	}
	return true;
}

static bool fits(unsigned int page, unsigned int pos, unsigned int len)
{
	unsigned int first = (page + pos) % 4096;

	return first + len <= 4096;
}

static u32 get32(const u8 *p)
{
	return p[0] | p[1] << 8 | p[2] << 16 | (u32)p[3] << 24;
}

static void put32(u8 *p, u32 v)
{
	p[0] = v;
	p[1] = v >> 8;
	p[2] = v >> 16;
	p[3] = v >> 24;
}

static bool match_mov(const u8 *code, unsigned int size, unsigned int pos,
		      unsigned int page, struct paracell_template *t)
{
	u8 prev;

	if (pos < 6 || code[pos - 5] != 0xb8 || get32(code + pos - 4) >= 1024 ||
	    get32(code + pos - 4) == 15 || !fits(page, pos - 5, 7))
		return false;
	/* A prefix would make it another instruction. */
	prev = code[pos - 6];
	if ((prev & 0xf0) == 0x40 || prev == 0x66 || prev == 0x67 ||
	    !begins(code, size, pos - 5))
		return false;
	t->kind = PARACELL_SITE_MOV;
	t->before = 5;
	t->len = 7;
	t->patch_len = 5;
	t->slot_len = 5 + 7 + 5;
	return true;
}

bool paracell_template_match(const u8 *code, unsigned int size, unsigned int pos,
			     unsigned int page, struct paracell_template *t)
{
	struct paracell_insn next;

	memset(t, 0, sizeof(*t));
	if (pos > size || size - pos < 2 || code[pos] != 0x0f || code[pos + 1] != 0x05)
		return false;
	if (match_mov(code, size, pos, page, t))
		goto found;
	/* The restorer of signal frames, which unwinders know by its bytes. */
	if (pos >= 5 && get32(code + pos - 4) == 15)
		return false;
	if (size - pos < PARACELL_SITE_BYTES + 16 || !begins(code, size, pos))
		return false;

	next = paracell_decode(code + pos + 2, size - pos - 2);
	if (code[pos + 2] == 0xc3 && fits(page, pos, 8) &&
	    padding(code + pos + 3, 5, page + pos + 3)) {
		t->kind = PARACELL_SITE_RET;
		t->len = 8;
		t->patch_len = 8;
		t->slot_len = 7 + 5;
		goto found;
	}
	if (next.len < 3 || next.fixed || !fits(page, pos, 2 + next.len))
		return false;
	t->kind = next.len >= 6 ? PARACELL_SITE_LONG : PARACELL_SITE_SHORT;
	t->len = 2 + next.len;
	t->next = next.len;
	t->disp = next.disp;
	t->patch_len = next.len >= 6 ? 8 : 5;
	t->slot_len = 7 + 5 + 7 + next.len + 5;
found:
	memcpy(t->orig, code + pos - t->before, t->len);
	return true;
}

static bool relative(u8 *p, u64 from, u64 to)
{
	s64 d = (s64)(to - from);

	put32(p, (u32)d);
	return d == (s32)d;
}

/* lea to(%rip),%rcx */
static bool lea(u8 *p, u64 at, u64 to)
{
	p[0] = 0x48;
	p[1] = 0x8d;
	p[2] = 0x0d;
	return relative(p + 3, at + 7, to);
}

static bool jmp(u8 *p, u64 at, u64 to)
{
	p[0] = 0xe9;
	return relative(p + 1, at + 5, to);
}

bool paracell_template_emit(const struct paracell_template *t, u64 site, u64 slot,
			    u64 common, u8 *s, u8 *patch)
{
	u64 behind = site + 2;
	bool ok;

	memcpy(patch, t->orig, t->patch_len);
	switch (t->kind) {
	case PARACELL_SITE_MOV:
		memcpy(s, t->orig, 5);
		ok = lea(s + 5, slot + 5, behind);
		ok &= jmp(s + 12, slot + 12, common);
		return jmp(patch, site - 5, slot) && ok;
	case PARACELL_SITE_RET:
		ok = lea(s, slot, behind);
		ok &= jmp(s + 7, slot + 7, common);
		patch[0] = 0xeb;
		patch[1] = 1;
		return jmp(patch + 3, site + 3, slot) && ok;
	case PARACELL_SITE_LONG:
	case PARACELL_SITE_SHORT:
		ok = lea(s, slot, slot + 12);
		ok &= jmp(s + 7, slot + 7, common);
		ok &= lea(s + 12, slot + 12, behind);
		memcpy(s + 19, t->orig + 2, t->next);
		if (t->disp)
			/* To the same place, from here. */
			ok &= relative(s + 19 + t->disp, slot,
				       site + 2 - 19 + (s64)(s32)get32(s + 19 + t->disp));
		ok &= jmp(s + 19 + t->next, slot + 19 + t->next, behind + t->next);
		if (t->kind == PARACELL_SITE_SHORT)
			return jmp(patch, site, slot) && ok && invalid(patch[2]);
		patch[0] = 0xeb;
		patch[1] = 1;
		patch[2] = 0x06;
		return jmp(patch + 3, site + 3, slot) && ok;
	}
	return false;
}

void paracell_template_common(u64 gate, u8 *bytes)
{
	bytes[0] = 0x49;
	bytes[1] = 0xbb;
	put32(bytes + 2, (u32)gate);
	put32(bytes + 6, (u32)(gate >> 32));
	bytes[10] = 0x41;
	bytes[11] = 0xff;
	bytes[12] = 0xe3;
}

int paracell_template_origin(const struct paracell_template *t, unsigned int offset)
{
	switch (t->kind) {
	case PARACELL_SITE_MOV:
		return offset < 5 ? -5 : 0;
	case PARACELL_SITE_RET:
		return 0;
	}
	return offset < 12 ? 0 : offset < 19u + t->next ? 2 : 2 + t->next;
}

unsigned int paracell_template_return(const struct paracell_template *t)
{
	return t->kind == PARACELL_SITE_LONG || t->kind == PARACELL_SITE_SHORT ? 12 : 0;
}

unsigned int paracell_template_moved(const struct paracell_template *t)
{
	return paracell_template_return(t) ? 19 : 0;
}
