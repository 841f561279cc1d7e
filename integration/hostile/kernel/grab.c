// SPDX-License-Identifier: Apache-2.0
/* A kernel that wants all processes of the host that it can get. */
#include "hostile.h"

enum { SYS_CLONE = 56, SYS_FUTEX = 202, SIG_CHILD = 17 };

/*
 * One process by the host's own call, which is allowed for the warden and so for
 * all. The child sleeps for ever; it has our stack, and does not touch it.
 */
static long clone_process(void)
{
	static u32 word;
	long got;

	__asm__ volatile("xor %%esi, %%esi\n xor %%edx, %%edx\n xor %%r10d, %%r10d\n xor %%r8d, %%r8d\n"
			 "syscall\n"
			 "test %%rax, %%rax\n jnz 2f\n"
			 "1: mov %[futex], %%eax\n mov %[word], %%rdi\n xor %%esi, %%esi\n xor %%edx, %%edx\n"
			 "xor %%r10d, %%r10d\n syscall\n jmp 1b\n"
			 "2:\n"
			 : "=a"(got)
			 : "a"((long)SYS_CLONE), "D"((long)SIG_CHILD), [futex] "i"(SYS_FUTEX), [word] "r"(&word)
			 : "rsi", "rdx", "r10", "r8", "r9", "rcx", "r11", "memory");
	return got;
}

void grab(int clone)
{
	u64 spaces = 0, clones = 0;
	long err;

	control->spawn_want = 0xffffffff;
	while ((err = call(PARACELL_CALL_AS_CREATE, 0, 0, 0, 0)) > 0)
		spaces++;
	if (clone)
		while ((err = clone_process()) > 0)
			clones++;
	print("\nhostile: spaces %d clones %d error %d\n", spaces, clones, (u64)-err, 0);
	for (;;) {
		control->spawn_want = 0xffffffff;
		call(PARACELL_CALL_AS_CREATE, 0, 0, 0, 0);
		rest(1000);
	}
}
