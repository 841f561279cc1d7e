// SPDX-License-Identifier: Apache-2.0
// Jump to every byte of a rewritten site and of the page with the trampolines,
// write to them, and map something over them (rules 6 and 7).
#include "attack.h"

extern const char __executable_start[], etext[];

extern const char site[], site_call[];
asm(".text\n.balign 64\nsite: nop; nop; nop; mov %rdi, %rax\nsite_call: syscall\n cmp $-4095, %rax\n ret\n"
    "int3; int3; int3; int3; int3; int3; int3; int3\n");

static void jump_over(const char *what, uint64_t from, uint64_t to)
{
	for (uint64_t ip = from; ip < to; ip += 16) {
		pid_t pid = MUST(fork());
		int status;

		if (pid == 0) {
			/* Some of the calls behind a trampoline wait without end. */
			struct itimerval soon = { .it_value = { .tv_usec = emulated() ? 900000 : 100000 } };

			guarding = 1;
			setitimer(ITIMER_REAL, &soon, NULL);
			for (uint64_t at = ip; at < ip + 16 && at < to; at++)
				for (int hostile = 0; hostile < 2; hostile++) {
					jump_prepare(at);
					jump_in.ax = SYS_getpid;
					if (hostile) {
						jump_in.sp = keys ? PARACELL_CONTROL_BASE + 512 : PARACELL_USER_MAX - 64;
						/* Without keys the exit gate would be as good as a function of the user's. */
						jump_in.cx = keys ? value("monitor.exit_gate") : 0x1234800000000000;
					}
					TRY(jump_go());
					if (inside())
						_exit(SUCCEEDED);
				}
			_exit(STOPPED);
		}
		while (waitpid(pid, &status, 0) != pid)
			;
		if (WIFEXITED(status) && WEXITSTATUS(status) == SUCCEEDED)
			GAINED("a jump to %s near %#lx", what, ip);
	}
}

int attack(void)
{
	long (*call)(long) = (long (*)(long))(uintptr_t)site;
	uint64_t end = ((uint64_t)etext + PAGE - 1) & -PAGE, at;

	for (int n = 0; n < 100; n++)
		if (call(SYS_getpid) != getpid())
			GIVE_UP("the site does not work");
	/* The trampoline of this site is where the way back to it is. Others would
	 * make calls that nobody wants. In front of all is the jump to the gate. */
	jump_over("a site", (uint64_t)site, (uint64_t)site + 32);
	for (at = (uint64_t)etext; at + 5 < end; at++) {
		int32_t rel;

		memcpy(&rel, (void *)(at + 1), 4);
		if (*(uint8_t *)at == 0xe9 && at + 5 + rel == (uint64_t)site_call + 8)
			jump_over("a trampoline", at - 25, at + 5);
	}
	at = ((uint64_t)etext + 15) & -16ul;
	if (*(uint16_t *)at == 0xbb49)
		jump_over("the jump to the gate", at, at + 13);

	/* Nobody can write what executes. */
	if (writable((uint64_t)site) || writable(end - 64))
		GAINED("text that can be written");
	/* A private copy may be had, and executes; the file's other users keep theirs. */
	static const uint8_t mark[] = { 0xb8, 0x2a, 0, 0, 0, 0xc3 }; /* mov $42, %eax; ret */
	pid_t pid = MUST(fork());
	int status;

	if (pid == 0) {
		int mem = MUST(open("/proc/self/mem", O_RDWR));

		MUST(pwrite(mem, mark, sizeof mark, (uint64_t)site));
		_exit(call(SYS_getpid) == 42 ? 0 : 1);
	}
	waitpid(pid, &status, 0);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		GIVE_UP("a write by /proc/self/mem is not executed: %x", status);
	if (call(SYS_getpid) != getpid())
		GAINED("text of another process was changed");
	/* Trampolines are not the attacker's to change for others either. */
	pid = MUST(fork());
	if (pid == 0) {
		uint8_t junk[256];
		int mem = MUST(open("/proc/self/mem", O_RDWR));

		memset(junk, 0xcc, sizeof junk);
		MUST(pwrite(mem, junk, sizeof junk, end - 512));
		MUST(mprotect((void *)(end - PAGE), PAGE, PROT_READ | PROT_WRITE));
		memset((void *)(end - 512), 0xcc, 256);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	for (int n = 0; n < 100; n++)
		if (call(SYS_getpid) != getpid())
			GAINED("a trampoline was changed by another process");
	/* The end of the text away, and something hostile in its place. */
	pid = MUST(fork());
	if (pid == 0) {
		MUST(mmap((void *)(end - PAGE), PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
		memset((void *)(end - PAGE), 0xc3, PAGE);
		for (int n = 0; n < 100; n++)
			call(SYS_getpid);
		_exit(inside() ? SUCCEEDED : STOPPED);
	}
	waitpid(pid, &status, 0);
	if (WIFEXITED(status) && WEXITSTATUS(status) == SUCCEEDED)
		GAINED("a page in the place of the trampolines");
	/* The vDSO and the first pages are the user's own: nothing of the kernel's follows. */
	uint64_t vdso = getauxval(AT_SYSINFO_EHDR);

	if (vdso) {
		if (writable(vdso))
			GAINED("the vDSO can be written");
		pid = MUST(fork());
		if (pid == 0) {
			munmap((void *)(vdso - 4 * PAGE), 8 * PAGE);
			if (mmap((void *)vdso, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == (void *)vdso)
				memset((void *)vdso, 0xcc, PAGE);
			_exit(gate(SYS_getppid, 0, 0, 0) == getppid() && !inside() ? STOPPED : SUCCEEDED);
		}
		waitpid(pid, &status, 0);
		if (!WIFEXITED(status) || WEXITSTATUS(status) != STOPPED)
			GAINED("without a vDSO: %x", status);
	}
	for (uint64_t low = 0; low < 0x10000; low += PAGE)
		if (mmap((void *)low, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED)
			GAINED("the page at %#lx", low);
	return STOPPED;
}
