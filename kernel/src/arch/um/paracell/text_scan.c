// SPDX-License-Identifier: GPL-2.0
/*
 * Forbidden instructions in executable bytes: wrpkru, and xrstor with a memory
 * operand. xgate/scan looks for the same on the host side, and one table of
 * examples (xgate/scan/testdata/user.txt) is tried on both.
 *
 * A hit counts wherever it is, also within an instruction or across two. It is
 * broken by int3 from the start of the instruction that it begins in, or from
 * a later one that begins within it: then that one traps as a whole, and the
 * kernel emulates it or steps over it (text_trap.c). Where instructions begin
 * is found by decoding from 15 neighbouring bytes before the hit: the
 * instructions found from there on are soon the same, whichever the first byte
 * is. Where they are not, the page is not mapped and is stepped through.
 */
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/unaligned.h>
#include <asm/insn.h>
#include "text.h"
#include "text_scan.h"

#define ONES	0x0101010101010101ul
#define HIGHS	0x8080808080808080ul

/* Whether an opcode of three bytes that begins with 0x0f is forbidden. */
static bool forbidden(const u8 *p)
{
	switch (p[1]) {
	case 0x01:
		return p[2] == 0xef;
	case 0xae:
		return (p[2] & 0x38) == 5 << 3 && p[2] < 0xc0;
	}
	return false;
}

/* The highest bit of every byte that is value, and perhaps of some others. */
static unsigned long bytes_equal(unsigned long word, u8 value)
{
	word ^= ONES * value;
	return (word - ONES) & ~word & HIGHS;
}

int text_forbidden(const u8 *bytes, int len)
{
	unsigned long first, second;
	int i, end;

	for (i = 0; i < len; i = end) {
		end = min(i + 8, len);
		/* Eight places at a time: two bytes tell nearly all apart. */
		if (i + 9 <= len) {
			first = get_unaligned((unsigned long *)(bytes + i));
			second = get_unaligned((unsigned long *)(bytes + i + 1));
			if (likely(!(bytes_equal(first, 0x0f) &
				     (bytes_equal(second, 0x01) | bytes_equal(second, 0xae)))))
				continue;
		}
		for (; i < end && i + 2 < len; i++)
			if (bytes[i] == 0x0f && forbidden(bytes + i))
				return i;
	}
	return -1;
}

/* How far before a hit decoding starts. */
#define RUN_UP 96
#define MIN_RUN_UP 48
#define MAX_INSN 15

/* Bytes around a place of a page, with those of the neighbouring pages. */
struct surroundings {
	u8 bytes[RUN_UP + 4 * MAX_INSN];
	int len;
	int at;			/* index of the place */
};

static void look_around(struct surroundings *s, const u8 *before,
			const u8 *page, const u8 *after, int offset)
{
	int i, from = offset - RUN_UP, to = offset + 4 * MAX_INSN;

	if (from < 0 && !before)
		from = 0;
	if (to > (int)PAGE_SIZE && !after)
		to = PAGE_SIZE;
	for (i = from; i < to; i++)
		s->bytes[i - from] = i < 0 ? before[PAGE_SIZE + i] :
				     i < (int)PAGE_SIZE ? page[i] : after[i - PAGE_SIZE];
	s->len = to - from;
	s->at = offset - from;
}

/*
 * The start of the instruction that has the byte at, or of the last one that
 * starts up to last. -1 if that depends on where decoding starts.
 */
static int boundary(const struct surroundings *s, int last)
{
	int found = -1, start, pos, next;
	struct insn insn;

	for (start = 0; start < MAX_INSN && start <= s->at; start++) {
		pos = start;
		for (;;) {
			if (insn_decode(&insn, s->bytes + pos, s->len - pos, INSN_MODE_64)) {
				/* Cut off by the end of what is known, or no code. */
				if (s->len - pos < MAX_INSN && pos <= s->at)
					break;
				pos = -1;
				break;
			}
			next = pos + insn.length;
			if (next > last)
				break;
			pos = next;
		}
		if (pos < 0)
			continue;
		if (found >= 0 && found != pos)
			return -1;
		found = pos;
	}
	return found;
}

/* Where to put int3 so that a hit at offset is gone, or -1. */
static int trap_start(const u8 *before, const u8 *page, const u8 *after, int offset)
{
	struct surroundings s;
	int pos;

	/* The first instructions depend on where the page before ends. */
	if (!before && offset < MIN_RUN_UP)
		return -1;
	look_around(&s, before, page, after, offset);
	/* An instruction that begins at the last byte of the hit will do. */
	pos = boundary(&s, s.at + 2);
	if (pos < 0)
		return -1;
	pos = offset - s.at + pos;
	return pos > -MAX_INSN && pos <= offset + 2 ? pos : -1;
}

/* The frame before this one in its file, if that is in memory. */
static const u8 *file_page(struct text_view *view, long distance)
{
	struct folio *folio;

	if (!view->file || (view->index + distance > view->index) == (distance < 0))
		return NULL;
	folio = xa_load(&view->file->mapping->i_pages, view->index + distance);
	if (!folio || xa_is_value(folio) || !folio_test_uptodate(folio))
		return NULL;
	return page_address(folio_file_page(folio, view->index + distance));
}

int text_make_harmless(struct text_view *view, u8 *bytes)
{
	int hit, start, offset = 0;
	const u8 *before, *after;

	hit = text_forbidden(bytes, PAGE_SIZE);
	if (likely(hit < 0))
		return 0;
	view->orig = (u8 *)__get_free_page(GFP_NOWAIT | __GFP_NOWARN);
	if (!view->orig)
		return -ENOMEM;
	text_stats.pages++;
	copy_page(view->orig, bytes);
	before = file_page(view, -1);
	after = file_page(view, 1);
	while (hit >= 0) {
		offset += hit;
		text_stats.hits++;
		start = trap_start(before, view->orig, after, offset);
		if (start < 0)
			/* Begins in the page before, or nobody knows where. */
			view->stepped = true;
		else
			memset(bytes + start, INT3, offset + 3 - start);
		offset += 3;
		hit = text_forbidden(bytes + offset, PAGE_SIZE - offset);
	}
	if (WARN_ON_ONCE(!view->stepped && text_forbidden(bytes, PAGE_SIZE) >= 0))
		view->stepped = true;
	return 0;
}

bool text_edge_forbidden(const u8 *first, const u8 *second)
{
	const u8 edge[] = { first[PAGE_SIZE - 2], first[PAGE_SIZE - 1],
			    second[0], second[1] };

	return text_forbidden(edge, sizeof(edge)) >= 0;
}

void text_cut_tail(struct text_view *view, u8 *bytes, const u8 *after)
{
	int offset = bytes[PAGE_SIZE - 2] == 0x0f ? PAGE_SIZE - 2 : PAGE_SIZE - 1;
	struct surroundings s;
	int start;

	/* Its file may be gone by now, so no look at the page before. */
	look_around(&s, NULL, view->orig, after, offset);
	start = boundary(&s, s.at);
	if (start < 0) {
		view->tail_stepped = true;
		return;
	}
	start += offset - s.at;
	if (start < 0) {
		view->tail_stepped = true;
		return;
	}
	memset(bytes + start, INT3, PAGE_SIZE - start);
}
