// SPDX-License-Identifier: Apache-2.0
// Jump to the monitor's own syscall instructions (rule 5). The guest has to
// answer; if the host does, its filter ends the cell.
#include "attack.h"

static struct utsname ours, theirs;

/* The same as by an instruction of one's own, see host_call. */
static long host_write(uint64_t site, const char *text, long len)
{
	long n;

	asm volatile("mov %[trigger], %%r15d\n mov $39, %%eax\n lea 1f(%%rip), %%rcx\n jmp *%[gate]\n"
		     "1: mov $1, %%eax\n mov %[fd], %%edi\n mov %[text], %%rsi\n mov %[len], %%rdx\n call *%[site]\n"
		     /* Without the trigger the way out is as it should be. */
		     "mov %%rax, %%r12\n xor %%r15d, %%r15d\n mov $39, %%eax\n lea 2f(%%rip), %%rcx\n jmp *%[gate]\n"
		     "2: mov %%r12, %%rax\n"
		     : "=&a"(n)
		     : [trigger] "i"(OFF_TRIGGER), [gate] "r"(GATE), [fd] "i"(4), [text] "r"(text), [len] "r"(len), [site] "r"(site)
		     : "rcx", "rdx", "rsi", "rdi", "r11", "r12", "r15", "memory");
	return n;
}

int attack(void)
{
	uint64_t sites[16];
	int n = values("syscall", sites, 16);
	long written = 0;

	/* A return follows the first of them. */
	close(4);
	if (TRY(written = host_write(sites[0], "a call of the host\n", 19)) == 0 && written > 0)
		GAINED("the host has written %ld bytes", written);
	MUST(uname(&ours));
	for (int i = 0; i < n; i++) {
		jump_prepare(sites[i]);
		jump_in.ax = SYS_uname;
		jump_in.di = (uint64_t)&theirs;
		memset(&theirs, 0, sizeof theirs);
		if (TRY(jump_go()))
			GIVE_UP("a signal, not a call, at %#lx", sites[i]);
		if (jump_out.ax != 0 || memcmp(&ours, &theirs, sizeof ours) != 0)
			GAINED("uname at %#lx gives %ld, %s %s", sites[i], jump_out.ax, theirs.nodename, theirs.release);
		jump_prepare(sites[i]);
		jump_in.ax = SYS_getpid;
		jump_go();
		if ((pid_t)jump_out.ax != getpid())
			GAINED("getpid at %#lx gives %ld", sites[i], jump_out.ax);
	}
	return STOPPED;
}
