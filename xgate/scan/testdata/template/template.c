/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's templates of system-call sites in a program of their own.
 *
 * lengths          reads instructions as hex, one per line; prints their lengths
 * sites FILE       prints offset and kind of each site in an ELF file
 * fuzz SEED N      matches, writes and looks up N random sites
 * run              runs sites of all kinds, plain and rewritten
 */
#define _GNU_SOURCE
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <fcntl.h>
#include <unistd.h>

#include "template.h"

#define DIE(...) (printf(__VA_ARGS__), putchar('\n'), exit(1))

static int lengths(void)
{
	char line[256];

	while (fgets(line, sizeof line, stdin)) {
		u8 code[64] = { 0 };
		unsigned n = 0, b;
		int used;

		for (char *p = line; n < sizeof code && sscanf(p, "%2x%n", &b, &used) == 1; p += used)
			code[n++] = b;
		printf("%u\n", paracell_decode(code, n).len);
	}
	return 0;
}

static int sites(const char *file)
{
	int fd = open(file, O_RDONLY);
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		DIE("%s: cannot be read", file);
	const u8 *d = mmap(0, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	const Elf64_Ehdr *eh = (const void *)d;
	const Elf64_Phdr *ph = (const void *)(d + eh->e_phoff);

	for (int i = 0; i < eh->e_phnum; i++) {
		if (ph[i].p_type != PT_LOAD || !(ph[i].p_flags & PF_X))
			continue;
		u64 begin = ph[i].p_offset, end = begin + ph[i].p_filesz;

		for (u64 o = begin; o + 2 <= end; o++) {
			struct paracell_template t;
			u64 from = o > begin + 64 ? o - 64 : begin;
			u64 to = o + 64 < end ? o + 64 : end;

			if (d[o] == 0x0f && d[o + 1] == 5)
				printf("%llx %d\n", (unsigned long long)o,
				       paracell_template_match(d + from, to - from, o - from, from % 4096, &t) ? t.kind : 0);
		}
	}
	return 0;
}

static u64 state = 1;

static u64 rnd(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	return state ^= state << 17;
}

/* Bytes as compilers make them, and some as they do not. */
static unsigned code(u8 *p)
{
	static const struct { u8 n, b[12]; } some[] = {
		{ 1, { 0x90 } }, { 2, { 0x89, 0xc2 } }, { 3, { 0x48, 0x89, 0xc7 } }, { 5, { 0xb8, 1, 0, 0, 0 } },
		{ 6, { 0x48, 0x3d, 0, 0xf0, 0xff, 0xff } }, { 2, { 0x0f, 5 } }, { 1, { 0xc3 } }, { 1, { 0xcc } },
		{ 7, { 0x48, 0x8b, 0x05, 1, 2, 3, 4 } }, { 4, { 0x48, 0x83, 0xf8, 0xda } }, { 2, { 0x73, 1 } },
		{ 5, { 0xe8, 1, 2, 3, 4 } }, { 7, { 0x48, 0xc7, 0xc0, 15, 0, 0, 0 } }, { 2, { 0x31, 0xc0 } },
		{ 1, { 0x41 } }, { 1, { 0xf0 } }, { 6, { 0x66, 0x0f, 0x1f, 0x44, 0, 0 } },
	};
	unsigned i = rnd() % (sizeof some / sizeof *some + 1);

	if (i == sizeof some / sizeof *some) {
		*p = rnd();
		return 1;
	}
	for (unsigned k = 0; k < some[i].n; k++)
		p[k] = some[i].b[k];
	return some[i].n;
}

static int fuzz(u64 seed, unsigned long rounds)
{
	unsigned long matched = 0, emitted = 0;

	state = seed * 2654435761u + 88172645463325252ull;
	while (rounds--) {
		unsigned size = rnd() % 160, pos, n = 0, page = rnd() % 4096;
		u8 buf[192], *exact = malloc(size + 1);
		struct paracell_template t;

		while (n < size)
			n += code(buf + n);
		memcpy(exact, buf, size);
		pos = rnd() % (size + 1);
		if (pos + 2 <= size && rnd() % 4) {
			exact[pos] = 0x0f;
			exact[pos + 1] = 5;
		}
		if (paracell_template_match(exact, size, pos, page, &t)) {
			u8 slot[PARACELL_SLOT_BYTES], patch[8];
			u64 site = (u64)page + pos, at = 4096 + rnd() % 0x800000;

			matched++;
			if (t.patch_len > t.len || t.len > sizeof t.orig || t.slot_len > sizeof slot || t.patch_len > 8 ||
			    t.before > pos || pos - t.before + t.len > size || memcmp(t.orig, exact + pos - t.before, t.len))
				DIE("kind %d is out of bounds", t.kind);
			if ((site - t.before) % 4096 + t.len > 4096)
				DIE("kind %d crosses a page", t.kind);
			if (t.kind == PARACELL_SITE_MOV && t.orig[1] == 15 && !t.orig[2] && !t.orig[3] && !t.orig[4])
				DIE("the restorer would be rewritten");
			if (!paracell_template_emit(&t, site, at, 0x900000, slot, patch)) {
				if (t.kind != PARACELL_SITE_SHORT)
					DIE("kind %d does not fit", t.kind);
				goto next;
			}
			emitted++;
			/* What is left of the site: a jump to it, and into its middle. */
			if (t.kind != PARACELL_SITE_MOV && paracell_decode(patch + 2, 6).len && t.kind != PARACELL_SITE_RET)
				DIE("kind %d can be entered in the middle", t.kind);
			for (unsigned o = 0; o < t.slot_len; o++) {
				int back = paracell_template_origin(&t, o);

				if (back < -t.before || back > t.len)
					DIE("kind %d leads from %u to %d", t.kind, o, back);
			}
			/* The slot has to be whole instructions that end in a jump. */
			unsigned o = 0, last = 0;

			for (; o < t.slot_len; o += paracell_decode(slot + o, t.slot_len - o).len) {
				if (!paracell_decode(slot + o, t.slot_len - o).len)
					DIE("kind %d: no instruction at %u", t.kind, o);
				last = o;
			}
			if (o != t.slot_len || slot[last] != 0xe9)
				DIE("kind %d does not end in a jump", t.kind);
		}
next:
		free(exact);
	}
	printf("matched %lu emitted %lu\n", matched, emitted);
	return 0;
}

/* All that a system call or its way may change. */
struct regs {
	u64 ax, bx, cx, dx, si, di, bp, r8, r9, r10, r11, r12, r13, r14, r15, flags;
	u64 red[16];
};

/* Calls fn with in's registers and a filled red zone, and stores what comes back in out. */
void enter(void *fn, const struct regs *in, struct regs *out);
/* What the gate does: the system call of the host, then back to rcx. */
void gate(void);

u64 gate_cx;

asm(".text\n"
    "gate: mov %rcx, gate_cx(%rip)\n syscall\n mov gate_cx(%rip), %rcx\n jmp *%rcx\n"
    "enter: push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push %r15\n"
    "push %rdx\n push %rdi\n"
    "mov $16, %ecx\n"
    /* The called code runs one word below; its red zone lies below that. */
    "1: mov 120(%rsi,%rcx,8), %rax\n mov %rax, -144(%rsp,%rcx,8)\n dec %ecx\n jnz 1b\n"
    "mov 0(%rsi), %rax\n mov 8(%rsi), %rbx\n mov 16(%rsi), %rcx\n mov 24(%rsi), %rdx\n mov 40(%rsi), %rdi\n"
    "mov 48(%rsi), %rbp\n mov 56(%rsi), %r8\n mov 64(%rsi), %r9\n mov 72(%rsi), %r10\n mov 88(%rsi), %r12\n"
    "mov 96(%rsi), %r13\n mov 104(%rsi), %r14\n mov 112(%rsi), %r15\n mov 32(%rsi), %rsi\n"
    "call *(%rsp)\n"
    "xchg %rsi, 8(%rsp)\n"
    "mov %rax, 0(%rsi)\n mov %rbx, 8(%rsi)\n mov %rcx, 16(%rsi)\n mov %rdx, 24(%rsi)\n mov %rdi, 40(%rsi)\n"
    "mov %rbp, 48(%rsi)\n mov %r8, 56(%rsi)\n mov %r9, 64(%rsi)\n mov %r10, 72(%rsi)\n mov %r11, 80(%rsi)\n"
    "mov %r12, 88(%rsi)\n mov %r13, 96(%rsi)\n mov %r14, 104(%rsi)\n mov %r15, 112(%rsi)\n"
    "mov $16, %ecx\n"
    "1: mov -144(%rsp,%rcx,8), %rax\n mov %rax, 120(%rsi,%rcx,8)\n dec %ecx\n jnz 1b\n"
    "mov 8(%rsp), %rax\n mov %rax, 32(%rsi)\n"
    "pop %rdi\n pop %rdx\n pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n ret\n");

static const struct { const char *name; int kind; unsigned pos, n; u8 b[24]; } runs[] = {
	{ "mov", PARACELL_SITE_MOV, 5, 8, { 0xb8, 39, 0, 0, 0, 0x0f, 5, 0xc3 } },
	{ "ret", PARACELL_SITE_RET, 0, 8, { 0x0f, 5, 0xc3, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc } },
	{ "cmp", PARACELL_SITE_LONG, 0, 14, { 0x0f, 5, 0x48, 0x3d, 1, 0xf0, 0xff, 0xff, 0x48, 0x0f, 0x47, 0xd8, 0xc3 } },
	{ "load", PARACELL_SITE_LONG, 0, 18, { 0x0f, 5, 0x48, 0x8b, 0x0d, 1, 0, 0, 0, 0xc3, 1, 2, 3, 4, 5, 6, 7, 8 } },
	{ "move", PARACELL_SITE_SHORT, 0, 6, { 0x0f, 5, 0x48, 0x89, 0xc7, 0xc3 } },
	{ "red zone", PARACELL_SITE_SHORT, 0, 8, { 0x0f, 5, 0x48, 0x89, 0x44, 0x24, 0xf8, 0xc3 } },
};

static int run(void)
{
	for (unsigned i = 0; i < sizeof runs / sizeof *runs; i++) {
		u8 *page = mmap(0, 16 * 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		struct regs in, plain, changed;
		struct paracell_template t;
		u8 slot[PARACELL_SLOT_BYTES], patch[8];
		unsigned at = 128;

		memset(page, 0x90, 4096);
		memcpy(page + at - runs[i].pos, runs[i].b, runs[i].n);
		for (unsigned k = 0; k < sizeof in / 8; k++)
			((u64 *)&in)[k] = k * 0x0101010101010101;
		in.ax = 39;
		enter(page + at - runs[i].pos, &in, &plain);
		if (plain.ax != (u64)getpid() && plain.cx == 0)
			DIE("%s: plain run failed", runs[i].name);
		if (!paracell_template_match(page, 4096, at, 0, &t) || t.kind != runs[i].kind)
			DIE("%s: kind %d", runs[i].name, t.kind);
		unsigned o = 4096 + 64;

		while (!paracell_template_emit(&t, at, o, 4096, slot, patch))
			if (++o > 15 * 4096)
				DIE("%s: no slot will do", runs[i].name);
		paracell_template_common((u64)gate, page + 4096);
		memcpy(page + o, slot, t.slot_len);
		memcpy(page + at - t.before, patch, t.patch_len);
		enter(page + at - runs[i].pos, &in, &changed);
		if (memcmp(&plain, &changed, sizeof plain))
			for (unsigned k = 0; k < sizeof plain / 8; k++)
				if (((u64 *)&plain)[k] != ((u64 *)&changed)[k])
					DIE("%s: word %u is %llx, should be %llx", runs[i].name, k,
					    (unsigned long long)((u64 *)&changed)[k], (unsigned long long)((u64 *)&plain)[k]);
		munmap(page, 16 * 4096);
	}
	puts("ran");
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "lengths"))
		return lengths();
	if (argc == 3 && !strcmp(argv[1], "sites"))
		return sites(argv[2]);
	if (argc == 4 && !strcmp(argv[1], "fuzz"))
		return fuzz(strtoull(argv[2], 0, 0), strtoul(argv[3], 0, 0));
	if (argc == 2 && !strcmp(argv[1], "run"))
		return run();
	return 2;
}
