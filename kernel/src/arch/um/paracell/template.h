/* SPDX-License-Identifier: GPL-2.0 */
/*
 * System-call sites that can be made to jump to the gate, and the code they
 * jump to. Pure functions over bytes: the same source is compiled for user
 * space by xgate/template, which tests and fuzzes it.
 *
 * A site is the offset of a syscall instruction (0f 05) in a file. A slot is
 * where its trampoline stands, further behind in the same file. Both are in
 * one mapping, so that offsets in the file are distances in every process.
 */
#ifndef __PARACELL_TEMPLATE_H
#define __PARACELL_TEMPLATE_H

#ifdef __KERNEL__
#include <linux/types.h>
#include <linux/string.h>
#else
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
typedef uint8_t u8;
typedef uint32_t u32;
typedef int32_t s32;
typedef uint64_t u64;
typedef int64_t s64;
#endif

/* What comes of an instruction at an address; len 0: not an instruction. */
struct paracell_insn {
	u8 len;
	u8 disp;	/* where its rip-relative displacement stands, 0: none */
	bool fixed;	/* means something else at another address */
};

struct paracell_insn paracell_decode(const u8 *p, unsigned int avail);

enum paracell_site_kind {
	/* mov $nr,%eax; syscall: the mov becomes a jump. */
	PARACELL_SITE_MOV = 1,
	/*
	 * syscall; ret; at least five bytes that nothing runs: the syscall becomes
	 * a short jump behind the ret, where the jump to the slot stands.
	 */
	PARACELL_SITE_RET,
	/*
	 * syscall and an instruction of six bytes or more: a short jump over one
	 * invalid byte to the jump to the slot. The instruction moves there.
	 */
	PARACELL_SITE_LONG,
	/*
	 * syscall and an instruction of three to five bytes: a jump whose second
	 * byte of displacement is an invalid instruction. The instruction moves.
	 */
	PARACELL_SITE_SHORT,
};

#define PARACELL_SITE_BYTES	17	/* a syscall and the longest instruction */
#define PARACELL_SLOT_BYTES	48
#define PARACELL_COMMON_BYTES	13

struct paracell_template {
	u8 kind;
	u8 before;		/* bytes of orig in front of the syscall */
	u8 len;			/* bytes of orig */
	u8 next;		/* bytes of the instruction that moves */
	u8 patch_len;		/* bytes that are overwritten, from the first of orig */
	u8 slot_len;
	u8 disp;		/* rip-relative displacement in the moved instruction, or 0 */
	u8 orig[PARACELL_SITE_BYTES];
};

/*
 * Is there a site at code[pos] that can be rewritten? code[0 .. size) is what
 * the file has around it; the more there is in front (64 bytes are enough), the
 * surer it is where instructions begin. page is the offset of code[0] in its
 * page: a site that crosses into another page is left alone.
 */
bool paracell_template_match(const u8 *code, unsigned int size, unsigned int pos,
			     unsigned int page, struct paracell_template *t);

/*
 * Writes the slot and the bytes that replace the first patch_len bytes of orig.
 * All places are offsets in the file; common is that of the jump to the gate.
 * False if the slot will not do for this site: try another one.
 */
bool paracell_template_emit(const struct paracell_template *t, u64 site, u64 slot,
			    u64 common, u8 *slot_bytes, u8 *patch);

/* Jump to the gate, position independent: movabs $gate,%r11; jmp *%r11. */
void paracell_template_common(u64 gate, u8 *bytes);

/*
 * Where a program without rewriting would stand, relative to the syscall
 * instruction, when it is at this offset of the slot. Nothing it can see has
 * changed but rcx, which the hardware's syscall destroys as well.
 */
int paracell_template_origin(const struct paracell_template *t, unsigned int offset);

/* Offset in the slot where a call made from it returns to, 0: behind the site. */
unsigned int paracell_template_return(const struct paracell_template *t);

/* Offset in the slot of the instruction that has moved, 0: none has. */
unsigned int paracell_template_moved(const struct paracell_template *t);

#endif
