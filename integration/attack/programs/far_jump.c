// SPDX-License-Identifier: Apache-2.0
// Far jumps, calls and returns to every selector, into user code and into the
// gate (rules 3 and 5): no segment leads to other rights.
#include "attack.h"

struct far { uint32_t offset; uint16_t segment; } __attribute__((packed));

static struct { uint64_t offset; uint16_t segment; } __attribute__((packed)) *far64;

/*
 * Whoever gets to far_target is back behind the jump with its stack. The gate
 * gets there by rcx.
 */
extern const char far_target[];
uint64_t far_sp, far_back;
asm(".text\nfar_target: mov far_sp(%rip), %rsp\n jmp *far_back(%rip)\n");

#define FAR(instructions, ...)                                                                              \
	asm volatile("mov %%rsp, far_sp(%%rip)\n lea 1f(%%rip), %%rcx\n mov %%rcx, far_back(%%rip)\n"      \
		     "lea far_target(%%rip), %%rcx\n mov $39, %%eax\n" instructions "\n 1:\n"              \
		     : : __VA_ARGS__ : "memory", "rax", "rcx", "rdx", "r11", "cc")

static void all(unsigned segment, const uint64_t *targets, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		jump_prepare(targets[i]);
		far64->offset = targets[i];
		far64->segment = segment;
		if (TRY(FAR("rex64 ljmp *(%0)", "r"(far64))) == 0)
			_exit(SUCCEEDED);
		if (TRY(FAR("rex64 lcall *(%0)", "r"(far64))) == 0)
			_exit(SUCCEEDED);
		if (TRY(FAR("push %1\n push %0\n lretq", "r"(targets[i]), "r"((uint64_t)segment))) == 0)
			_exit(SUCCEEDED);
		if (TRY(FAR("push %2\n push %%rsp\n addq $8, (%%rsp)\n push $2\n push %1\n push %0\n iretq",
			    "r"(targets[i]), "r"((uint64_t)segment), "r"(0x2bul))) == 0)
			_exit(SUCCEEDED);
	}
}

int attack(void)
{
	const uint64_t targets[] = { (uint64_t)far_target, GATE, value("monitor.exit_gate"), value("monitor.sig_entry") };
	uint8_t *low = MUST(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0));
	uint64_t cs;

	far64 = (void *)low;
	asm volatile("mov %%cs, %0" : "=r"(cs));
	/* Some in one process: one for each takes long where processes do. */
	for (unsigned first = 0; first < 0x100; first += 8) {
		int status;
		pid_t pid = MUST(fork());

		if (pid == 0) {
			alarm(30);
			for (unsigned segment = first; segment < first + 8; segment++)
				/* The own segment is an ordinary jump; the 32-bit one is host_call's. */
				if (((segment | 3) != cs || control()) && (segment | 3) != 0x23)
					all(segment, targets, sizeof targets / sizeof *targets);
			_exit(inside() ? SUCCEEDED : STOPPED);
		}
		while (waitpid(pid, &status, 0) != pid)
			;
		if (WIFEXITED(status) && WEXITSTATUS(status) != STOPPED)
			GAINED("a far jump to a segment from %#x on", first);
	}
	return STOPPED;
}
