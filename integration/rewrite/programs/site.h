/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System-call sites of every kind that is rewritten, and what the programs need
 * to see that they are. The programs also pass where nothing is rewritten (on
 * the host), unless they are started with the argument "rewritten".
 */
#ifndef SITE_H
#define SITE_H

#include "../../quirks/quirk.h"
#include <elf.h>
#include <pthread.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <ucontext.h>

/* How often something is tried that takes n rounds on a real processor. */
static inline int rounds(int n)
{
	return emulated() ? n / 5 : n;
}

/*
 * Sites as compilers and C libraries write them. name is called with the
 * arguments in place; name_syscall is its instruction, name_next the one
 * behind it, name_end the end of the code.
 */
#define SITE(name, before, after)                                             \
	asm(".text\n.balign 64\n" #name ": " before "\n"                       \
	    #name "_syscall: syscall\n" #name "_next: " after "\n"            \
	    #name "_end: int3; int3; int3; int3; int3; int3; int3; int3; int3"); \
	extern const char name[], name##_syscall[], name##_next[], name##_end[];

#define ARGUMENTS "mov %rdx, %r10; mov %rdi, %rax; mov %rsi, %rdi; mov %r10, %rsi; mov %rcx, %rdx; mov %r8, %r10;"

/* mov $nr,%eax; syscall */
SITE(mov_getppid, "nop; nop; mov $110, %eax", "ret")
SITE(mov_read, "nop; nop; mov $0, %eax", "cmp $-4095, %rax; ret")
/* syscall; ret. Takes the number first, as syscall(2) does; 3 arguments. */
SITE(ret_any, ARGUMENTS, "ret")
/* syscall and a long instruction, as in Go and most of glibc */
SITE(long_any, ARGUMENTS, "cmp $-4095, %rax; jae 1f; nop; 1: ret")
/* syscall and a rip-relative one */
SITE(rip_any, ARGUMENTS, "mov rip_value(%rip), %r11; ret")
asm(".data\nrip_value: .quad 0x1234567890\n.text");
/* syscall and a short instruction, as in musl */
SITE(short_any, ARGUMENTS, "mov %rax, %rdi; ret")
/* A jump to the instruction behind the site; what is in ax, dx and cx stays there. Returns their sum. */
asm(".text\n.balign 64\nenter_middle: mov $42, %eax; mov $1000, %ecx; mov $20, %edx; call 1f; add %rcx, %rax; add %rdx, %rax; ret\n"
    "1: jmp long_any_next");
long enter_middle(void);

typedef long (*site_fn)(long nr, long a, long b, long c);

static const struct site {
	const char *name, *code, *syscall, *next, *end;
	int any;	/* takes the number as first argument */
} sites[] = {
#define ROW(n, any) { #n, n, n##_syscall, n##_next, n##_end, any }
	ROW(mov_getppid, 0), ROW(ret_any, 1), ROW(long_any, 1), ROW(rip_any, 1), ROW(short_any, 1),
};
#define SITES (sizeof sites / sizeof *sites)

static inline long call_site(const struct site *s, long nr, long a, long b, long c)
{
	return ((site_fn)(uintptr_t)s->code)(nr, a, b, c);
}

/* getppid by a site */
static inline long ask(const struct site *s)
{
	return call_site(s, SYS_getppid, 0, 0, 0);
}

static int rewritten;	/* the cell is expected to rewrite */

/* Calls of this process so far. */
struct calls { unsigned long gate, trap; };

static inline struct calls calls(void)
{
	static char text[1 << 16];
	struct calls c = { 0, 0 };
	char want[32], *p;
	int fd = open("/proc/paracell/calls", O_RDONLY), n;

	if (fd < 0)
		return c;
	n = MUST(read(fd, text, sizeof text - 1));
	close(fd);
	text[n] = 0;
	snprintf(want, sizeof want, "pid %d gate ", getpid());
	p = strstr(text, want);
	CHECK(p && sscanf(p + strlen(want), "%lu trap %lu", &c.gate, &c.trap) == 2, "no line for %d in\n%s", getpid(), text);
	return c;
}

static inline void start(int argc, char **argv)
{
	rewritten = argc > 1 && !strcmp(argv[1], "rewritten");
}

/* Is this address in the code that stands in the program's file? */
extern const char __executable_start[], etext[];

static inline int in_file(uint64_t ip)
{
	return ip >= (uintptr_t)__executable_start && ip < (uintptr_t)etext;
}

/* Does an instruction of the site begin here, or is it outside of it? */
static inline int sound(const struct site *s, uint64_t ip)
{
	uint64_t call = (uintptr_t)s->syscall;

	return ip <= call || ip >= (uintptr_t)s->next || ip == call;
}

#endif
