// SPDX-License-Identifier: Apache-2.0
// Go through the gate with a stack pointer that leads the kernel astray (rule 4).
#include "attack.h"

/* Gate calls without end, and without a stack. */
void gate_forever(void);
asm(".text\n"
    "gate_forever:\n"
    "mov $39, %eax\n" /* getpid */
    "lea gate_forever(%rip), %rcx\n"
    "movabs $0x7f9000001000, %r11\n"
    "jmp *%r11\n");
_Static_assert(GATE == 0x7f9000001000, "gate_forever");

static volatile int ticks;

static void on_tick(int sig)
{
	(void)sig;
	ticks++;
}

int attack(void)
{
	const uint64_t stacks[] = {
		(uint64_t)&landing_stack[256], 0, 8, 1, 0x7fff, 0x0000800000000000, 0x1234800000000000, 0xffffffffff600ff8, ~0ul,
		PARACELL_PHYS_BASE + PARACELL_KERNEL_GPA + 0x100, value("kernel.init_task") + 64,
		PARACELL_CONTROL_BASE + 512, PARACELL_CONTROL_BASE, value("monitor.altstack") + 0x10000,
		value("monitor.altstack") + 0x8000, value("monitor.in_user"), PARACELL_VMALLOC_BASE + 0x1000,
		PARACELL_USER_MAX,
	};
	struct sigaction sa = { .sa_handler = on_tick, .sa_flags = SA_ONSTACK | SA_RESTART };
	struct itimerval every = { { 0, 1000 }, { 0, 1000 } };
	pid_t pid = getpid();

	MUST(sigaction(SIGALRM, &sa, NULL));
	for (size_t i = 0; i < sizeof stacks / sizeof *stacks; i++) {
		jump_prepare(0);
		jump_in.sp = stacks[i];
		jump_in.r15 = OFF_TRIGGER;
		for (int n = 0; n < 50; n++)
			if (gate(SYS_getpid, 0, 0, 0) != pid || jump_out.sp != stacks[i])
				GAINED("rsp %#lx: getpid gives %ld, rsp %#lx", stacks[i], jump_out.ax, jump_out.sp);
		if (i == 0)
			continue; /* that one is its own */
		/* A signal on the way: to the alternate stack, and back. */
		ticks = 0;
		if (gate(SYS_tgkill, pid, pid, SIGALRM) != 0 || ticks != 1 || jump_out.sp != stacks[i])
			GAINED("rsp %#lx: tgkill gives %ld, %d signals, rsp %#lx", stacks[i], jump_out.ax, ticks, jump_out.sp);
		/* A system call that has to touch it. */
		if (gate(SYS_write, 1, stacks[i], 8) == 8)
			GAINED("the kernel writes what is at %#lx", stacks[i]);
	}
	/* Without an alternate stack there is no place for the signal. */
	MUST(setitimer(ITIMER_REAL, &every, NULL));
	for (size_t i = 1; i < sizeof stacks / sizeof *stacks; i++) {
		jump_prepare((uint64_t)gate_forever);
		jump_in.sp = stacks[i];
		if (fork() == 0) {
			stack_t none = { .ss_flags = SS_DISABLE };

			sigaltstack(&none, NULL);
			signal(SIGALRM, on_tick);
			signal(SIGSEGV, SIG_DFL);
			setitimer(ITIMER_REAL, &every, NULL);
			jump_go();
			_exit(0);
		}
	}
	int left = sizeof stacks / sizeof *stacks - 1, status;
	while (left) {
		if (wait(&status) < 0)
			continue;
		left--;
		if (WIFEXITED(status))
			GAINED("a handler ran on a stack that is not the user's");
	}
	return STOPPED;
}
