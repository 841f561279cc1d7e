// SPDX-License-Identifier: Apache-2.0
// Every way to call a kernel, none of which may reach the host's (rule 5): the
// guest answers, or the program gets a signal.
#include "attack.h"

extern const char compat_code[], compat_end[];

/* 32-bit code: getpid by int $0x80, then back. */
asm(".section .rodata\n"
    "compat_code:\n"
    ".code32\n"
    "mov $20, %eax\n"
    "int $0x80\n"
    "ljmp *(%ebx)\n"
    ".code64\n"
    "compat_end:\n"
    ".text\n");

static uint64_t result;

/*
 * A call that the host would answer: write to a file that only the cell's host
 * processes have open. First the gate, so that the way out of it is fresh.
 */
static long host_write(const char *text, long len)
{
	long n;

	asm volatile("mov %[trigger], %%r15d\n mov $39, %%eax\n lea 1f(%%rip), %%rcx\n jmp *%[gate]\n" /* getpid */
		     "1: mov $1, %%eax\n mov %[fd], %%edi\n mov %[text], %%rsi\n mov %[len], %%rdx\n syscall\n"
		     /* Without the trigger the way out is as it should be. */
		     "mov %%rax, %%r12\n xor %%r15d, %%r15d\n mov $39, %%eax\n lea 2f(%%rip), %%rcx\n jmp *%[gate]\n"
		     "2: mov %%r12, %%rax\n"
		     : "=&a"(n)
		     : [trigger] "i"(OFF_TRIGGER), [gate] "r"(GATE), [fd] "i"(4), [text] "r"(text), [len] "r"(len)
		     : "rcx", "rdx", "rsi", "rdi", "r11", "r12", "r15", "memory");
	return n;
}

int attack(void)
{
	static const uint64_t vsyscalls[] = { 0xffffffffff600000, 0xffffffffff600400, 0xffffffffff600800 };
	struct utsname u;
	long nr;

	close(4);
	if (TRY(nr = host_write("a call of the host\n", 19)) == 0 && nr > 0)
		GAINED("the host has written %ld bytes", nr);
	/* A system call instruction is the guest's, for every number. */
	for (nr = 500; nr < 1100; nr += 37)
		if (syscall(nr) != -1 || errno != ENOSYS)
			GAINED("system call %ld gives %ld", nr, (long)errno);
	if (syscall(0x40000000 | SYS_getpid) != -1 || errno != ENOSYS)
		GAINED("a system call of x32: errno %d", errno);
	if (syscall(SYS_uname, &u) != 0 || strstr(u.release, "6.12") == NULL)
		GAINED("uname: %s", u.release);

	if (TRY(asm volatile("int $0x80" : "=a"(result) : "a"(20L) : "memory", "r8", "r9", "r10", "r11")) == 0)
		GAINED("int $0x80 gives %ld", result);
	static const uint8_t enter[] = { 0x0f, 0x34, 0xc3 }; /* sysenter; ret */
	uint8_t *code = MUST(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0));
	memcpy(code, enter, sizeof enter);
	memcpy(code + 64, compat_code, compat_end - compat_code);
	MUST(mprotect(code, PAGE, PROT_READ | PROT_EXEC));
	jump_prepare((uint64_t)code);
	jump_in.ax = 20;
	if (TRY(jump_go()) == 0)
		GAINED("sysenter gives %ld", jump_out.ax);

	/* Far jump to 32-bit code. A cell refuses it, or the call in it. */
	struct { uint32_t offset; uint16_t segment; } __attribute__((packed)) *far =
		MUST(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0));
	far[0].offset = (uint32_t)(uintptr_t)(code + 64);
	far[0].segment = 0x23;
	if (TRY(asm volatile("ljmp *(%0)" : : "r"(far), "b"(far + 1) : "rax", "memory")) == 0)
		GAINED("32-bit code called int $0x80");

	for (size_t i = 0; i < sizeof vsyscalls / sizeof *vsyscalls; i++) {
		struct timeval tv[2] = { { 0, 0 }, { 0, 0 } };

		if (TRY(((long (*)(void *, void *))vsyscalls[i])(tv, NULL)) == 0)
			GAINED("the host's vsyscall page at %#lx", vsyscalls[i]);
	}
	return STOPPED;
}
