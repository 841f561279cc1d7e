// SPDX-License-Identifier: Apache-2.0
// Every exception that user code can raise, from its own code and with hostile
// registers: each becomes the program's signal, none the kernel's or the
// monitor's (rule 5).
#include "attack.h"

static uint8_t *code;

/* Runs bytes with stack and all registers as jump_in has them. */
static void run(const char *what, const uint8_t *bytes, size_t n)
{
	/* QEMU before 9.1 reads the stack of an iret as a kernel would, which ends the
	 * emulated machine if it cannot be read. */
	int stacks = emulated() && n == 2 && bytes[0] == 0x48 && bytes[1] == 0xcf ? 1 : 4;
	pid_t pid;
	int status;

	MUST(mprotect(code, PAGE, PROT_READ | PROT_WRITE));
	memset(code, 0xcc, PAGE);
	memcpy(code, bytes, n);
	MUST(mprotect(code, PAGE, PROT_READ | PROT_EXEC));
	for (int hostile = 0; hostile < stacks; hostile++) {
		pid = MUST(fork());
		if (pid == 0) {
			/* Without keys the kernel's memory is the user's, too. */
			const uint64_t values[] = { 0, 8, keys ? PARACELL_CONTROL_BASE + 64 : PARACELL_USER_MAX - 64, 0x1234800000000000 };

			alarm(10);
			guarding = 1;
			jump_prepare((uint64_t)code);
			if (hostile) {
				for (size_t i = 0; i < offsetof(struct jump, ip) / 8; i++)
					((uint64_t *)&jump_in)[i] = values[hostile];
				jump_in.flags = hostile == 2 ? 0x4402 : 2; /* NT, DF */
			}
			jump_go();
			_exit(inside() ? SUCCEEDED : STOPPED);
		}
		while (waitpid(pid, &status, 0) != pid)
			;
		if (WIFEXITED(status) && WEXITSTATUS(status) == SUCCEEDED)
			GAINED("%s with stack %d", what, hostile);
		/* The cell, its kernel and this process are as before. */
		if (gate(SYS_getpid, 0, 0, 0) != getpid())
			GAINED("%s changed the gate", what);
	}
}

int attack(void)
{
	code = MUST(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	static const struct { const char *what; uint8_t n, b[24]; } list[] = {
		{ "division", 4, { 0x31, 0xc9, 0xf7, 0xf1 } },
		{ "int1", 1, { 0xf1 } },
		{ "int3", 1, { 0xcc } },
		{ "hlt", 1, { 0xf4 } },
		{ "cli", 1, { 0xfa } },
		{ "in", 1, { 0xec } },
		{ "out", 1, { 0xee } },
		{ "insb", 2, { 0xf3, 0x6c } },
		{ "ud2", 2, { 0x0f, 0x0b } },
		{ "ud0", 3, { 0x0f, 0xff, 0xc0 } },
		{ "invalid", 1, { 0x06 } },
		{ "lock on a register", 3, { 0xf0, 0x01, 0xc0 } },
		{ "rdmsr", 2, { 0x0f, 0x32 } },
		{ "wrmsr", 2, { 0x0f, 0x30 } },
		{ "mov cr0", 3, { 0x0f, 0x22, 0xc0 } },
		{ "mov dr7", 3, { 0x0f, 0x23, 0xf8 } },
		{ "lidt", 3, { 0x0f, 0x01, 0x18 } },
		{ "lgdt", 3, { 0x0f, 0x01, 0x10 } },
		{ "ltr", 3, { 0x0f, 0x00, 0xd8 } },
		{ "lldt", 3, { 0x0f, 0x00, 0xd0 } },
		{ "lmsw", 3, { 0x0f, 0x01, 0xf0 } },
		{ "invlpg", 3, { 0x0f, 0x01, 0x38 } },
		{ "swapgs", 3, { 0x0f, 0x01, 0xf8 } },
		{ "sysret", 3, { 0x48, 0x0f, 0x07 } },
		{ "sysexit", 2, { 0x0f, 0x35 } },
		{ "vmcall", 3, { 0x0f, 0x01, 0xc1 } },
		{ "vmmcall", 3, { 0x0f, 0x01, 0xd9 } },
		{ "vmlaunch", 3, { 0x0f, 0x01, 0xc2 } },
		{ "vmrun", 3, { 0x0f, 0x01, 0xd8 } },
		{ "xsetbv", 3, { 0x0f, 0x01, 0xd1 } },
		{ "wbinvd", 2, { 0x0f, 0x09 } },
		{ "clts", 2, { 0x0f, 0x06 } },
		{ "stac", 3, { 0x0f, 0x01, 0xcb } },
		{ "monitor", 3, { 0x0f, 0x01, 0xc8 } },
		{ "push to the stack", 2, { 0x50, 0x58 } },
		{ "load", 3, { 0x48, 0x8b, 0x00 } },
		{ "store", 3, { 0x48, 0x89, 0x00 } },
		/* Unmasked by a control word behind the code. */
		{ "x87 error", 17, { 0xd9, 0x2d, 0x09, 0, 0, 0, 0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9, 0x9b, 0xcc, 0xcc, 0, 0 } },
		{ "SIMD error", 19, { 0x0f, 0xae, 0x15, 0x08, 0, 0, 0, 0x0f, 0x57, 0xc0, 0x0f, 0x5e, 0xc0, 0xcc, 0xcc, 0, 0, 0, 0 } },
		/* AC: push $0x40002; popfq; load from an odd place of the code. */
		{ "alignment", 14, { 0x68, 0x02, 0, 0x04, 0, 0x9d, 0x8b, 0x05, 0x01, 0, 0, 0, 0xcc, 0xcc } },
		{ "empty segment", 7, { 0xb8, 0x63, 0, 0, 0, 0x8e, 0xe0 } },
		{ "stack segment", 7, { 0xb8, 0x13, 0, 0, 0, 0x8e, 0xd0 } },
		{ "shadow stack", 4, { 0xf3, 0x0f, 0x01, 0xe8 } },
		{ "iretq", 2, { 0x48, 0xcf } },
		{ "enter", 4, { 0xc8, 0xff, 0xff, 0x1f } },
	};

	for (size_t i = 0; i < sizeof list / sizeof *list; i++)
		run(list[i].what, list[i].b, list[i].n);
	/* All software interrupts, among them the vectors of the host's kernel. */
	int few = fork_time() > 1000;
	for (int vector = 0; vector < 256; vector++) {
		uint8_t b[] = { 0xcd, vector };

		/* One process for each vector and four stacks: 64 vectors are enough
		 * where a process takes long. */
		if (few && vector >= 48 && vector != 0x80)
			continue;
		run("int", b, sizeof b);
	}
	return STOPPED;
}
