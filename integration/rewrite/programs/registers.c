/* SPDX-License-Identifier: Apache-2.0 */
/* A rewritten site does to registers, flags and the red zone what the instruction does: rcx and r11 change, nothing else. */
#include "site.h"

struct state { uint64_t r[16], flags, red[16]; };

void probe(const void *site, struct state *s);

/* Loads everything from s, calls the site, stores everything into s. The site's own red zone is below its return address. */
asm(".text\nprobe: push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15; push %rsi; push %rdi\n"
    "mov $16, %ecx\n"
    "1: mov 128(%rsi,%rcx,8), %rax; mov %rax, -144(%rsp,%rcx,8); dec %ecx; jnz 1b\n"
    "mov %rsi, %rax\n"
    "mov 8(%rax), %rbx; mov 16(%rax), %rcx; mov 24(%rax), %rdx; mov 32(%rax), %rsi; mov 40(%rax), %rdi; mov 48(%rax), %rbp\n"
    "mov 64(%rax), %r8; mov 72(%rax), %r9; mov 80(%rax), %r10; mov 88(%rax), %r11; mov 96(%rax), %r12; mov 104(%rax), %r13\n"
    "mov 112(%rax), %r14; mov 120(%rax), %r15; mov (%rax), %rax\n"
    "call *(%rsp)\n"
    "xchg %rax, 8(%rsp)\n"
    "mov %rbx, 8(%rax); mov %rcx, 16(%rax); mov %rdx, 24(%rax); mov %rsi, 32(%rax); mov %rdi, 40(%rax); mov %rbp, 48(%rax)\n"
    "mov %r8, 64(%rax); mov %r9, 72(%rax); mov %r10, 80(%rax); mov %r11, 88(%rax); mov %r12, 96(%rax); mov %r13, 104(%rax)\n"
    "mov %r14, 112(%rax); mov %r15, 120(%rax)\n"
    "mov $16, %ecx\n"
    "1: mov -144(%rsp,%rcx,8), %rdx; mov %rdx, 128(%rax,%rcx,8); dec %ecx; jnz 1b\n"
    "mov 8(%rsp), %rdx; mov %rdx, (%rax)\n"
    "pop %rdi; pop %rsi; pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx; ret\n");

int main(int argc, char **argv)
{
	start(argc, argv);
	for (size_t i = 0; i < SITES; i++) {
		const struct site *s = &sites[i];
		struct calls before = calls(), after;

		for (int n = 0; n < 2000; n++) {
			struct state in, out;

			for (int k = 0; k < 16; k++)
				in.r[k] = 0x0101010101010101ull * (unsigned)(n + k);
			for (int k = 0; k < 16; k++)
				in.red[k] = ~(uint64_t)(n * 16 + k);
			in.r[0] = SYS_getppid;
			if (s->any)
				in.r[5] = SYS_getppid;
			out = in;
			probe(s->code, &out);
			CHECK(out.r[0] == (uint64_t)getppid(), "%s: result %lx", s->name, out.r[0]);
			CHECK(out.r[2] == (uintptr_t)s->next, "%s, call %d: rcx is %lx, next instruction %p", s->name, n, out.r[2], s->next);
			if (strcmp(s->name, "rip_any"))
				CHECK((out.r[11] & 0x202) == 0x202 && out.r[11] < 0x400000, "%s, call %d: r11 is %lx", s->name, n, out.r[11]);
			else
				CHECK(out.r[11] == 0x1234567890, "%s, call %d: r11 is %lx", s->name, n, out.r[11]);
			for (int k = 8; k < 16; k++)
				CHECK(k == 11 || (s->any && k == 10) || out.r[k] == in.r[k], "%s, call %d: r%d is %lx", s->name, n, k, out.r[k]);
			CHECK(out.r[1] == in.r[1] && out.r[6] == in.r[6], "%s, call %d: rbx %lx, rbp %lx", s->name, n, out.r[1], out.r[6]);
			for (int k = 0; k < 16; k++)
				CHECK(out.red[k] == in.red[k], "%s, call %d: word %d of the red zone", s->name, n, k);
		}
		after = calls();
		if (rewritten)
			CHECK(after.gate - before.gate >= 1990, "%s: %lu calls by the gate, %lu by trap", s->name,
			      after.gate - before.gate, after.trap - before.trap);
	}
	return 0;
}
