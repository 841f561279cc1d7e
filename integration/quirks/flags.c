// SPDX-License-Identifier: Apache-2.0
// User code may set AC, DF, NT and TF: system calls, faults and signals work
// with them set, none of them reaches the kernel, and all come back.
#include "quirk.h"
#include <ucontext.h>

enum { TF = 0x100, DF = 0x400, NT = 0x4000, AC = 0x40000, WATCHED = TF | DF | NT | AC };

/* One system call with the given flags set; what they are afterwards. */
static uint64_t call_with(uint64_t set, long nr, long a, long b, long c, long *result)
{
	uint64_t after, rax = nr;

	asm volatile("pushfq\n"
		     "pushfq\n"
		     "or %[set], (%%rsp)\n"
		     "popfq\n"
		     "syscall\n"
		     "pushfq\n"
		     "pop %[after]\n"
		     "popfq\n"
		     : "+a"(rax), [after] "=&r"(after)
		     : "D"(a), "S"(b), "d"(c), [set] "r"(set)
		     : "rcx", "r11", "memory", "cc");
	*result = rax;
	return after;
}

/* The same through the cell's gate. */
static uint64_t gate_with(uint64_t set, long nr, long a, long b, long c, long *result)
{
	uint64_t after, rax = nr, gate = getauxval(AT_PARACELL_GATE);

	asm volatile("pushfq\n"
		     "pushfq\n"
		     "or %[set], (%%rsp)\n"
		     "lea 1f(%%rip), %%rcx\n"
		     "popfq\n"
		     "jmp *%[gate]\n"
		     "1: pushfq\n"
		     "pop %[after]\n"
		     "popfq\n"
		     : "+a"(rax), [after] "=&r"(after)
		     : "D"(a), "S"(b), "d"(c), [set] "r"(set), [gate] "r"(gate)
		     : "rcx", "r11", "memory", "cc");
	*result = rax;
	return after;
}

static uint64_t touch_with(uint64_t set, char *page)
{
	uint64_t after;

	asm volatile("pushfq\n"
		     "pushfq\n"
		     "or %[set], (%%rsp)\n"
		     "popfq\n"
		     "movb $1, (%[page])\n"
		     "pushfq\n"
		     "pop %[after]\n"
		     "popfq\n"
		     : [after] "=&r"(after) : [set] "r"(set), [page] "r"(page) : "memory", "cc");
	return after;
}

static volatile uint64_t in_handler, in_frame;

static void on_signal(int sig, siginfo_t *info, void *context)
{
	uint64_t flags;

	/* AC is the one flag that a handler inherits on x86. */
	asm volatile("pushfq\n pop %0\n push %0\n andq %1, (%%rsp)\n popfq\n" : "=&r"(flags) : "i"(~AC) : "memory", "cc");
	(void)sig;
	(void)info;
	in_handler = flags;
	in_frame = ((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL];
}

static uintptr_t stops[64];
static volatile int nstops;

static void on_step(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)info;
	if (nstops < 64)
		stops[nstops++] = ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
}

extern const char trap_a[], trap_b[], trap_call[], trap_e[], trap_f[], trap_g[];

__attribute__((noinline)) static void step_over_call(void)
{
	asm volatile("pushfq\n"
		     "pushfq\n"
		     "orq $0x100, (%%rsp)\n"
		     "popfq\n"
		     "trap_a: nop\n"
		     "trap_b: mov $39, %%eax\n"
		     "trap_call: syscall\n"
		     "nop\n"
		     "trap_e: nop\n"
		     "trap_f: popfq\n"
		     "trap_g: nop\n"
		     : : : "rax", "rcx", "r11", "memory", "cc");
}

int main(void)
{
	static char out[PAGE + 64], in[PAGE + 64];
	int fd[2];
	long result;
	uint64_t after;

	MUST(pipe(fd));
	for (size_t i = 0; i < sizeof out; i++)
		out[i] = i * 7;
	struct sigaction sa = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO };
	MUST(sigaction(SIGUSR1, &sa, NULL));

	static const uint64_t sets[] = { 0, AC, DF, NT, AC | DF | NT };
	for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
		for (int gate = 0; gate <= in_cell(); gate++) {
			uint64_t (*call)(uint64_t, long, long, long, long, long *) = gate ? gate_with : call_with;
			const char *how = gate ? "through the gate" : "by instruction";
			uint64_t set = sets[i];

			after = call(set, SYS_getpid, 0, 0, 0, &result);
			CHECK(result == getpid(), "flags %#lx, getpid %s: %ld", set, how, result);
			CHECK((after & WATCHED) == set, "flags %#lx are %#lx after a call %s", set, after & WATCHED, how);

			/* Odd addresses and lengths: what the kernel copies must not
			 * run backwards or trap on alignment. */
			memset(in, 0, sizeof in);
			after = call(set, SYS_write, fd[1], (long)out + 3, PAGE + 5, &result);
			CHECK(result == PAGE + 5 && (after & WATCHED) == set, "flags %#lx, write %s: %ld, flags %#lx", set, how, result, after & WATCHED);
			after = call(set, SYS_read, fd[0], (long)in + 1, PAGE + 5, &result);
			CHECK(result == PAGE + 5 && (after & WATCHED) == set, "flags %#lx, read %s: %ld, flags %#lx", set, how, result, after & WATCHED);
			CHECK(memcmp(out + 3, in + 1, PAGE + 5) == 0 && in[0] == 0 && in[PAGE + 6] == 0, "flags %#lx: the copied data is wrong", set);

			in_handler = in_frame = ~0ul;
			after = call(set, SYS_tgkill, getpid(), gettid(), SIGUSR1, &result);
			CHECK(result == 0 && (after & WATCHED) == set, "flags %#lx, signal %s: %ld, flags %#lx", set, how, result, after & WATCHED);
			CHECK(!(in_handler & (DF | TF)), "the handler starts with flags %#lx", in_handler & WATCHED);
			CHECK((in_frame & WATCHED) == set, "flags %#lx are %#lx in the frame", set, in_frame & WATCHED);

			char *page = map_anon(PAGE, PROT_READ | PROT_WRITE);
			after = touch_with(set, page);
			CHECK(*page == 1 && (after & WATCHED) == set, "flags %#lx are %#lx after a page fault", set, after & WATCHED);
		}

	/* AC does what it is there for (QEMU's emulated processor ignores it). */
	catch_faults();
	TRY(asm volatile("pushfq\n orq $0x40000, (%%rsp)\n popfq\n mov 1(%0), %%eax\n" : : "r"(out) : "rax", "memory", "cc"));
	asm volatile("pushfq\n andq %0, (%%rsp)\n popfq\n" : : "i"(~AC) : "memory", "cc");
	CHECK(emulated() || (fault.signal == SIGBUS && fault.code == BUS_ADRALN), "unaligned access with AC: signal %d code %d", fault.signal, fault.code);

	/* Single steps by the program itself: after every instruction. A system
	 * call is an exception: the trap comes when the instruction behind it is
	 * done, because the flag is off while the kernel runs. */
	sa.sa_sigaction = on_step;
	MUST(sigaction(SIGTRAP, &sa, NULL));
	step_over_call();
	const char *const want[] = { trap_b, trap_call, trap_e, trap_f, trap_g };
	const int n = sizeof want / sizeof *want;
	for (int i = 0; i < nstops && i < n; i++)
		CHECK(stops[i] == (uintptr_t)want[i], "stop %d at trap_a%+ld, want %+ld", i, stops[i] - (uintptr_t)trap_a, want[i] - trap_a);
	CHECK(nstops == n, "%d stops, want %d", nstops, n);
	puts("ok");
	return 0;
}
