/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the programs of this folder share. Each is one attack of a cell's user
 * on the cell's kernel or on the code between them, and says by its exit
 * status how it went: 0 stopped, 1 succeeded (with what), 2 the program itself
 * could not do its work.
 *
 * Arguments are name=hex[,hex...]: addresses of symbols in the monitor and in
 * the kernel, which an attacker would take from the files that everybody has.
 */
#ifndef ATTACK_H
#define ATTACK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>
#include "../../../xgate/monitor/process/paracell_abi.h"
#include "../../../xgate/monitor/process/src/off.h"

#define PAGE 4096ul
#define GATE (PARACELL_MONITOR_BASE + PARACELL_ENTRY_GATE)

enum { STOPPED = 0, SUCCEEDED = 1, BROKEN = 2 };

/* The first success ends most attacks; this says what was gained. */
#define GAINED(...)                          \
	do {                                 \
		printf("succeeded: ");       \
		printf(__VA_ARGS__);         \
		putchar('\n');               \
		fflush(stdout);              \
		_exit(SUCCEEDED);            \
	} while (0)

#define GIVE_UP(...)                                  \
	do {                                          \
		printf("%s:%d: ", __FILE__, __LINE__); \
		printf(__VA_ARGS__);                  \
		putchar('\n');                        \
		fflush(stdout);                       \
		_exit(BROKEN);                        \
	} while (0)

#define MUST(expr)                                              \
	({                                                      \
		__typeof__(expr) must_ = (expr);                \
		if ((intptr_t)must_ == -1)                      \
			GIVE_UP("%s: %s", #expr, strerror(errno)); \
		must_;                                          \
	})

static char **arguments;

/* The values of an argument; returns how many there are. */
static inline int values(const char *name, uint64_t *list, int max)
{
	size_t n = strlen(name);
	char **a, *p;
	int count = 0;

	for (a = arguments; *a; a++) {
		if (strncmp(*a, name, n) != 0 || (*a)[n] != '=')
			continue;
		for (p = *a + n; *p && count < max; p += strcspn(p, ","))
			list[count++] = strtoull(p + 1, &p, 16);
		return count;
	}
	GIVE_UP("argument %s= is missing", name);
}

static inline uint64_t value(const char *name)
{
	uint64_t v = 0;

	if (values(name, &v, 1) != 1)
		GIVE_UP("argument %s= has no value", name);
	return v;
}

/*
 * A signal ends a TRY, which gives its number. No system call is made before the
 * statement: the way back from one would close keys that are open.
 */
static sigjmp_buf try_exit;
static volatile sig_atomic_t trying;

#define TRY(statement)                                 \
	({                                             \
		int signal_ = sigsetjmp(try_exit, 0);  \
		if (!signal_) {                        \
			trying = 1;                    \
			statement;                     \
		}                                      \
		trying = 0;                            \
		signal_;                               \
	})

/* A control shows that the attack would be noticed: no defence is to be expected. */
static inline int control(void) { return value("control") != 0; }

/* 1 if the byte at address can be read, or written without changing it. */
static inline int readable(uint64_t address)
{
	uint8_t byte;

	return TRY(asm volatile("movb (%1), %0" : "=q"(byte) : "r"(address) : "memory")) == 0;
}

static inline int writable(uint64_t address)
{
	return TRY(asm volatile("lock orb $0, (%0)" : : "r"(address) : "memory", "cc")) == 0;
}

int keys; /* the cell has protection keys */

/* 1 if this process has got behind the keys. Without them everybody is. */
static inline int inside(void)
{
	if (!keys)
		return 0;
	return readable(PARACELL_PHYS_BASE + PARACELL_KERNEL_GPA) || readable(PARACELL_CONTROL_BASE);
}

static volatile int guarding; /* a stray signal ends the process with its findings */

static void on_signal(int sig, siginfo_t *info, void *context)
{
	(void)info;
	(void)context;
	asm volatile("pushq $2\n popfq" : : : "memory", "cc");
	if (trying)
		siglongjmp(try_exit, sig);
	if (guarding)
		_exit(inside() ? SUCCEEDED : STOPPED);
	GIVE_UP("signal %d", sig);
}

static inline void catch_signals(void)
{
	static const int faults[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS };
	struct sigaction sa = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK };
	/* Not mapped beside the vDSO, whose surroundings one program unmaps. */
	static uint8_t memory[64 * PAGE];
	stack_t stack = { .ss_sp = memory, .ss_size = sizeof memory };

	MUST(sigaltstack(&stack, NULL));
	for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
		MUST(sigaction(faults[i], &sa, NULL));
}

/* QEMU without hardware help. */
static inline int emulated(void)
{
	uint32_t max, b, c, d;

	__cpuid(0x40000000, max, b, c, d);
	return b == 0x54474354 && c == 0x43544743 && d == 0x47435447; /* TCGTCGTCGTCG */
}

/*
 * QEMU before 9.1 takes the fault of an IRET in ring 3 for one of ring 0, so its
 * kernel panics when something just before an IRET misreads the stack pointer.
 */
static inline int near_iret(uint64_t ip)
{
	static uint64_t irets[16];
	static int n = -1;

	if (!emulated())
		return 0;
	if (n < 0)
		n = values("iretq", irets, 16);
	for (int i = 0; i < n; i++)
		if (ip < irets[i] && ip + 48 > irets[i])
			return 1;
	return 0;
}

/* All registers before and after a jump. */
struct jump {
	uint64_t ax, bx, cx, dx, si, di, bp, sp, r8, r9, r10, r11, r12, r13, r14, r15, ip, flags;
};
struct jump jump_in, jump_out;
uint64_t jump_sp;
int64_t jump_budget;
extern const char landing[], landing_keys[];
void jump_go(void);

static inline uint64_t landing_place(void)
{
	/* With two page tables rdpkru is an invalid opcode. */
	return (uint64_t)(keys && value("isolation") != 2 ? landing_keys : landing);
}

/*
 * jump_go loads every register from jump_in and jumps to jump_in.ip; whoever
 * gets to a landing, by a return or by a jump, ends up behind the call of
 * jump_go with the registers in jump_out. The exit gate, when jumped to, goes
 * where the last exit went: thus the system call, and a budget of rounds.
 */
asm(".text\n"
    ".globl jump_go, landing, landing_keys\n"
    "jump_go:\n"
    "push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push %r15\n"
    "mov %rsp, jump_sp(%rip)\n"
    "mov $39, %eax\n syscall\n"
    "decq jump_budget(%rip)\n js landing\n"
    "mov jump_sp(%rip), %rsp\n"
    "lea jump_in(%rip), %rax\n"
    "pushq 136(%rax)\n popfq\n"
    "mov 8(%rax), %rbx\n mov 16(%rax), %rcx\n mov 24(%rax), %rdx\n mov 32(%rax), %rsi\n"
    "mov 40(%rax), %rdi\n mov 48(%rax), %rbp\n mov 56(%rax), %rsp\n mov 64(%rax), %r8\n"
    "mov 72(%rax), %r9\n mov 80(%rax), %r10\n mov 88(%rax), %r11\n mov 96(%rax), %r12\n"
    "mov 104(%rax), %r13\n mov 112(%rax), %r14\n mov 120(%rax), %r15\n"
    "mov 0(%rax), %rax\n"
    "jmp *jump_in+128(%rip)\n"
    "landing_keys:\n" /* without using memory: key 0 may be closed */
    "movq %rax, %xmm0\n movq %rcx, %xmm1\n movq %rdx, %xmm2\n"
    "xor %ecx, %ecx\n rdpkru\n"
    "cmp $44, %eax\n je 1f\n" /* PARACELL_USER_PKRU */
    "mov $231, %eax\n mov $1, %edi\n syscall\n" /* exit_group(SUCCEEDED) */
    "1: movq %xmm0, %rax\n movq %xmm1, %rcx\n movq %xmm2, %rdx\n"
    "landing:\n"
    "mov %rax, jump_out(%rip)\n mov %rbx, jump_out+8(%rip)\n mov %rcx, jump_out+16(%rip)\n"
    "mov %rdx, jump_out+24(%rip)\n mov %rsi, jump_out+32(%rip)\n mov %rdi, jump_out+40(%rip)\n"
    "mov %rbp, jump_out+48(%rip)\n mov %rsp, jump_out+56(%rip)\n mov %r8, jump_out+64(%rip)\n"
    "mov %r9, jump_out+72(%rip)\n mov %r10, jump_out+80(%rip)\n mov %r11, jump_out+88(%rip)\n"
    "mov %r12, jump_out+96(%rip)\n mov %r13, jump_out+104(%rip)\n mov %r14, jump_out+112(%rip)\n"
    "mov %r15, jump_out+120(%rip)\n"
    "mov jump_sp(%rip), %rsp\n"
    "pushfq\n popq jump_out+136(%rip)\n"
    "pushq $2\n popfq\n"
    "pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n ret\n");

/* A stack on which every return goes to a landing. */
static uint64_t landing_stack[1024] __attribute__((aligned(64)));

/* What hostile registers point to. It is mapped before the jump, for the sake of
 * QEMU: see jump_everywhere. */
static uint8_t jump_area[4096] __attribute__((aligned(4096)));

static inline void touch(volatile void *p, size_t size)
{
	for (size_t i = 0; i < size; i += 64)
		((volatile uint8_t *)p)[i] += 0;
}

static inline void jump_prepare(uint64_t ip)
{
	uint64_t *r = (uint64_t *)&jump_in;

	for (size_t i = 0; i < sizeof landing_stack / 8; i++)
		landing_stack[i] = landing_place();
	for (size_t i = 0; i < sizeof jump_in / 8; i++)
		r[i] = (uint64_t)&landing_stack[512];
	jump_in.ip = ip;
	jump_in.flags = 2;
	jump_budget = 3;
}

/* One call through the gate with hostile registers as jump_in says. */
static inline long gate(long nr, uint64_t a0, uint64_t a1, uint64_t a2)
{
	jump_in.ax = nr;
	jump_in.di = a0;
	jump_in.si = a1;
	jump_in.dx = a2;
	jump_in.cx = landing_place();
	jump_in.ip = GATE;
	jump_budget = 3;
	jump_go();
	return jump_out.ax;
}

/*
 * attempt makes the jump of jump_in in a child, which then tries whether it
 * got anywhere: by itself when it lands, in the signal handler when it is
 * stopped. Returns SUCCEEDED or STOPPED.
 */
static uint8_t *jump_also; /* a page that has to be mapped before the jump */

static unsigned attempt_seconds = 10; /* it may go round in circles */
static int attempt_spoils; /* what is jumped to may write over the child's own memory */

static inline int attempt_once(void)
{
	int status;
	pid_t pid = MUST(fork());

	if (pid == 0) {
		guarding = 1;
		touch(landing_stack, sizeof landing_stack);
		touch(jump_area, sizeof jump_area);
		if (jump_also)
			touch(jump_also, PAGE);
		/* So is the code that looks afterwards: a fault would close keys that are open. */
		inside();
		alarm(attempt_seconds);
		jump_go();
		_exit(inside() ? SUCCEEDED : STOPPED);
	}
	while (waitpid(pid, &status, 0) != pid)
		;
	if (WIFEXITED(status) && WEXITSTATUS(status) == BROKEN && !attempt_spoils)
		GIVE_UP("the child could not be set up");
	return WIFEXITED(status) && WEXITSTATUS(status) == SUCCEEDED ? SUCCEEDED : STOPPED;
}

/* An interrupt closes keys that were open: a control must not depend on it. */
static inline int attempt(void)
{
	for (int tries = control() ? 20 : 1; tries; tries--)
		if (attempt_once() == SUCCEEDED)
			return SUCCEEDED;
	return STOPPED;
}

/* What a process costs from fork to wait, in microseconds. */
static inline long fork_time(void)
{
	struct timespec from, to;
	pid_t pid;

	clock_gettime(CLOCK_MONOTONIC, &from);
	pid = MUST(fork());
	if (pid == 0)
		_exit(0);
	while (waitpid(pid, NULL, 0) != pid)
		;
	clock_gettime(CLOCK_MONOTONIC, &to);
	return (to.tv_sec - from.tv_sec) * 1000000 + (to.tv_nsec - from.tv_nsec) / 1000;
}

_Static_assert(PARACELL_USER_PKRU == 44, "jump_go");

int attack(void);

int main(int argc, char **argv)
{
	(void)argc;
	arguments = argv + 1;
	/* A program that is not in a cell has nothing to attack. */
	if (getauxval(0x5043) != GATE)
		GIVE_UP("not in a cell");
	catch_signals();
	keys = value("isolation") != 0;
	return attack();
}

#endif
