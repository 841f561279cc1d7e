// SPDX-License-Identifier: Apache-2.0
// AT_MINSIGSTKSZ is enough for a handler on an alternate stack; on one that is
// too small for the frame the program dies instead of running over what lies
// below. A handler that stays on the normal stack leaves the red zone alone.
#include "quirk.h"
#include <sys/resource.h>

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

static char stack[65536] __attribute__((aligned(64)));
static volatile int on_stack;

static void handler(int sig)
{
	char *here = __builtin_frame_address(0);

	(void)sig;
	on_stack = here > stack && here < stack + sizeof stack;
}

static int child(size_t size)
{
	struct sigaction sa = { .sa_handler = handler, .sa_flags = SA_ONSTACK };
	struct rlimit none = { 0, 0 };
	pid_t pid = MUST(fork());

	if (!pid) {
		stack_t ss = { .ss_sp = stack + 4096, .ss_size = size };

		MUST(setrlimit(RLIMIT_CORE, &none));
		MUST(sigaction(SIGUSR1, &sa, NULL));
		memset(stack, 0x5a, 4096);
		MUST(sigaltstack(&ss, NULL));
		raise(SIGUSR1);
		for (int i = 0; i < 4096; i++)
			CHECK(stack[i] == 0x5a, "byte %d below the stack is overwritten", 4096 - i);
		_exit(on_stack ? 0 : 2);
	}
	return reap(pid);
}

int main(void)
{
	size_t min = getauxval(AT_MINSIGSTKSZ);
	struct sigaction sa = { .sa_handler = handler };
	long nr = SYS_tgkill, damage;
	int got;

	CHECK(min >= 1000 && min < 32768, "AT_MINSIGSTKSZ is %zu", min);
	/* Some bytes are for the handler itself; MINSIGSTKSZ is the least there can be. */
	got = child((min > 2048 ? min : 2048) + 512);
	CHECK(got == 0, "512 bytes more than AT_MINSIGSTKSZ (%zu): status %d", min, got);
	if (min > 2048 + 512) {
		got = child(2048);
		CHECK(got == 128 + SIGSEGV, "a stack of 2048 bytes, smaller than a frame: status %d", got);
	}
	stack_t tiny = { .ss_sp = stack, .ss_size = 1024 };
	CHECK(sigaltstack(&tiny, NULL) == -1 && errno == ENOMEM, "1024 bytes: %s", strerror(errno));

	MUST(sigaction(SIGUSR1, &sa, NULL));
	asm volatile("movq $0x1234, -8(%%rsp)\n"
		     "movq $0x5678, -128(%%rsp)\n"
		     "syscall\n"
		     "xor %%edx, %%edx\n"
		     "cmpq $0x1234, -8(%%rsp)\n"
		     "setne %%dl\n"
		     "cmpq $0x5678, -128(%%rsp)\n"
		     "setne %%dh\n"
		     : "+a"(nr), "=d"(damage)
		     : "D"((long)getpid()), "S"((long)gettid()), "1"((long)SIGUSR1)
		     : "rcx", "r11", "memory", "cc");
	CHECK(!damage, "the red zone is damaged (%#lx)", damage);
	puts("ok");
	return 0;
}
