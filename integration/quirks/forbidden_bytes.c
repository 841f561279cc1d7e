// SPDX-License-Identifier: Apache-2.0
// Code that contains the bytes of wrpkru or xrstor without meaning them runs as
// written, and a program may use xrstor.
#include "quirk.h"
#include <sys/ptrace.h>
#include <sys/time.h>
#include <sys/user.h>
#include <ucontext.h>

static uint8_t *code;

/* Code at an offset of the two pages, between bytes of a kind. */
static void *put(size_t at, int filler, const void *bytes, size_t len)
{
	memset(code, filler, 2 * PAGE);
	memcpy(code + at, bytes, len);
	return code + at;
}

#define PUT(at, filler, bytes) put(at, filler, bytes, sizeof bytes - 1)

static uint64_t call(void *f)
{
	uint64_t result;

	asm volatile("call *%1" : "=a"(result) : "r"(f)
		     : "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory", "cc");
	return result;
}

/* Nops, where it is clear where instructions start, and zeros, where it is not. */
static const int fillers[] = { 0x90, 0x00, 0xcc };

static void innocent(int filler)
{
	static const size_t places[] = { 128, PAGE - 3, PAGE - 7, PAGE - 8, PAGE - 9, PAGE - 1, PAGE, PAGE + 1 };
	void *f;

	for (size_t i = 0; i < sizeof places / sizeof *places; i++)
		for (int round = 0; round < 3; round++) {
			/* movabs $..., %rax; ret */
			f = PUT(places[i], filler, "\x48\xb8\x11\x22\x0f\x01\xef\x33\x0f\xae\xc3");
			CHECK(call(f) == 0xae0f33ef010f2211, "movabs at %zu", places[i]);
			CHECK(call(f) == 0xae0f33ef010f2211, "movabs at %zu, second run", places[i]);
			/* mov $0xf909090, %eax; add %ebp, %edi; ret */
			f = PUT(places[i], filler, "\xb8\x90\x90\x90\x0f\x01\xef\xc3");
			CHECK(call(f) == 0x0f909090, "mov and add at %zu", places[i]);
			/* mov $0xae0f0000, %eax; sub $1, %eax; xchg: 0f ae 2d ... */
			f = PUT(places[i], filler, "\xb8\x00\x00\x0f\xae\x2d\x01\x00\x00\x00\xc3");
			CHECK(call(f) == 0xae0effff, "mov and sub at %zu", places[i]);
		}
}

/* What a step of the kernel's must not show. */
static void no_trace(int filler)
{
	void *volatile f;

	/* mov $wrpkru, %ecx; pushf; pop %rax; ret */
	f = PUT(64, filler, "\xb9\x0f\x01\xef\x00\x9c\x58\xc3");
	CHECK(!(call(f) & 0x100), "pushf shows the trap flag");
	/* pushf; movl $wrpkru, -8(%rsp); popf; pushf; pop %rax; ret */
	f = PUT(64, filler, "\x9c\xc7\x44\x24\xf8\x0f\x01\xef\x00\x9d\x9c\x58\xc3");
	CHECK(!(call(f) & 0x100), "popf keeps the trap flag");
	/* mov $wrpkru, %edx; mov $39, %eax; syscall; ret */
	f = PUT(64, filler, "\xba\x0f\x01\xef\x00\xb8\x27\x00\x00\x00\x0f\x05\xc3");
	CHECK(call(f) == (uint64_t)getpid(), "a system call");
	/* the same, with r11 as the result */
	f = PUT(64, filler, "\xba\x0f\x01\xef\x00\xb8\x27\x00\x00\x00\x0f\x05\x4c\x89\xd8\xc3");
	CHECK(!(call(f) & 0x100), "a system call shows the trap flag");
	/* mov $wrpkru, %ecx; xor %ecx, %ecx; mov $1000, %cx; dec %ecx; jnz; ret */
	f = PUT(64, filler, "\xb9\x0f\x01\xef\x00\x31\xc0\xb9\xe8\x03\x00\x00\xff\xc0\xff\xc9\x75\xfa\xc3");
	CHECK(call(f) == 1000, "a loop");
	/* mov $wrpkru, %ecx; mov (0), %eax */
	f = PUT(64, filler, "\xb9\x0f\x01\xef\x00\x31\xc0\x8b\x00\xc3");
	TRY(call(f));
	CHECK(fault.signal == SIGSEGV && fault.addr == NULL, "a fault: signal %d at %p", fault.signal, fault.addr);
}

static volatile int ticks;

static void on_tick(int sig)
{
	(void)sig;
	ticks++;
}

/* Signals between and in steps. */
static void interrupted(void)
{
	struct itimerval timer = { { 0, 300 }, { 0, 300 } };
	uint64_t want = 0xae0f33ef010f2211;
	void *f = PUT(128, 0x90, "\x48\xb8\x11\x22\x0f\x01\xef\x33\x0f\xae\xc3");

	signal(SIGALRM, on_tick);
	MUST(setitimer(ITIMER_REAL, &timer, NULL));
	for (int i = 0; i < 100000 && ticks < 20; i++)
		CHECK(call(f) == want, "round %d", i);
	memset(&timer, 0, sizeof timer);
	MUST(setitimer(ITIMER_REAL, &timer, NULL));
}

/* A debugger steps through: every instruction once, and sees the bytes. */
static void debugged(void)
{
	static const char text[] = "\x90\x48\xb8\x11\x22\x0f\x01\xef\x33\x0f\xae\x90\xc3";
	void *f = put(128, 0x90, text, sizeof text - 1);
	unsigned long seen[16], want[] = { 0, 1, 11, 12 };
	struct user_regs_struct regs;
	int status, n = 0;

	call(f);
	pid_t pid = MUST(fork());
	if (!pid) {
		MUST(ptrace(PTRACE_TRACEME, 0, 0, 0));
		raise(SIGSTOP);
		_exit(call(f) == 0xae0f33ef010f2211 ? 0 : 1);
	}
	MUST(waitpid(pid, &status, 0));
	errno = 0;
	long word = ptrace(PTRACE_PEEKTEXT, pid, code + 132, 0);
	CHECK(!errno && !memcmp(&word, text + 4, 8), "PEEKTEXT shows %lx", word);
	for (int i = 0; i < 100000; i++) {
		MUST(ptrace(PTRACE_SINGLESTEP, pid, 0, 0));
		MUST(waitpid(pid, &status, 0));
		if (!WIFSTOPPED(status))
			break;
		CHECK(WSTOPSIG(status) == SIGTRAP, "stopped by signal %d", WSTOPSIG(status));
		MUST(ptrace(PTRACE_GETREGS, pid, 0, &regs));
		if (regs.rip >= (uint64_t)code && regs.rip < (uint64_t)code + PAGE && n < 16)
			seen[n++] = regs.rip - (uint64_t)f;
	}
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with %x", status);
	CHECK(n == 4 && !memcmp(seen, want, sizeof want), "%d steps: %lu %lu %lu %lu", n, seen[0], seen[1], seen[2], seen[3]);
}

static void own_bytes(void)
{
	static const char text[] = "\x48\xb8\x11\x22\x0f\x01\xef\x33\x0f\xae\xc3";
	void *f = put(128, 0x90, text, sizeof text - 1);
	char bytes[sizeof text];
	int fd = MUST(open("/proc/self/mem", O_RDONLY)), fds[2];

	call(f);
	CHECK(pread(fd, bytes, sizeof text - 1, (off_t)f) == sizeof text - 1 && !memcmp(bytes, text, sizeof text - 1),
	      "/proc/self/mem shows other bytes");
	MUST(pipe(fds));
	CHECK(write(fds[1], f, sizeof text - 1) == sizeof text - 1 && read(fds[0], bytes, sizeof text) == sizeof text - 1 &&
		      !memcmp(bytes, text, sizeof text - 1),
	      "a pipe gets other bytes");
}

static uint8_t area[8192] __attribute__((aligned(64)));

/* xsave or xsavec and xrstor around a change of registers, as ld.so has it. */
static void save_and_restore(int compacted, uint32_t mask)
{
	double x = 0, y = 0;
	uint16_t control = 0x37f;
	uint32_t mxcsr = 0x1f80;

	memset(area, 0, sizeof area);
	asm volatile("movq %3, %%xmm7\n movq %3, %%xmm15\n"
		     "test %5, %5\n jnz 1f\n xsave64 (%4)\n jmp 2f\n 1: xsavec64 (%4)\n"
		     "2: pxor %%xmm7, %%xmm7\n pxor %%xmm15, %%xmm15\n"
		     "xrstor64 (%4)\n"
		     "movq %%xmm7, %0\n movq %%xmm15, %1\n stmxcsr %2\n"
		     : "=r"(x), "=r"(y), "=m"(mxcsr)
		     : "r"(1.5), "r"(area), "r"(compacted), "a"(mask), "d"(0)
		     : "xmm7", "xmm15", "memory", "cc");
	asm volatile("fnstcw %0" : "=m"(control));
	CHECK(x == 1.5 && y == 1.5, "registers lost, compacted %d, mask %x", compacted, mask);
	CHECK(control == 0x37f && mxcsr == 0x1f80, "control words %x, %x", control, mxcsr);
}

static void xrstor(void)
{
	uint32_t a, b, c, d;

	__cpuid_count(0xd, 1, a, b, c, d);
	for (int compacted = 0; compacted <= (int)(a >> 1 & 1); compacted++) {
		save_and_restore(compacted, 0x02);
		save_and_restore(compacted, 0x03);
		save_and_restore(compacted, 0x06);
		save_and_restore(compacted, 0xee);
		save_and_restore(compacted, ~0u & ~0x60000);
	}
	/* What the processor refuses. */
	memset(area, 0, sizeof area);
	TRY(asm volatile("xrstor (%0)" : : "r"(area + 8), "a"(7), "d"(0) : "memory"));
	CHECK(fault.signal == SIGSEGV, "unaligned: signal %d", fault.signal);
	area[512 + 8] = 1;
	TRY(asm volatile("xrstor (%0)" : : "r"(area), "a"(7), "d"(0) : "memory"));
	CHECK(fault.signal == SIGSEGV, "bad header: signal %d", fault.signal);
	TRY(asm volatile("xrstor (%0)" : : "r"(0x40), "a"(7), "d"(0) : "memory"));
	CHECK(fault.signal == SIGSEGV, "no memory: signal %d", fault.signal);
}

int main(void)
{
	catch_faults();
	code = map_anon(2 * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
	for (size_t i = 0; i < sizeof fillers / sizeof *fillers; i++) {
		innocent(fillers[i]);
		no_trace(fillers[i]);
	}
	interrupted();
	own_bytes();
	xrstor();
	debugged();
	puts("ok");
	return 0;
}
