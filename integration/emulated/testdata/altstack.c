// SPDX-License-Identifier: Apache-2.0
// A signal arrives on an alternate stack whose key the interrupted code has no
// access to (Linux 6.12 and later).
#include "check.h"
#include <ucontext.h>

static uint32_t open_pkru __attribute__((used));
static volatile int handled;
static volatile uintptr_t handler_sp;

static void handle(int sig, siginfo_t *info, void *context) __attribute__((used));
static void handle(int sig, siginfo_t *info, void *context)
{
	int local;
	ucontext_t *uc = context;

	(void)info;
	handler_sp = (uintptr_t)&local;
	handled = sig;
	CHECK(uc->uc_mcontext.gregs[REG_RIP] != 0, "the frame has no instruction pointer");
}

/* The handler's first instructions open the key: no stack access before. */
void entry(int sig, siginfo_t *info, void *context);
asm(".text\n"
    "entry:\n"
    "	mov %rdx, %r8\n"
    "	mov open_pkru(%rip), %eax\n"
    "	xor %ecx, %ecx\n"
    "	xor %edx, %edx\n"
    "	.byte 0x0f, 0x01, 0xef\n"
    "	mov %r8, %rdx\n"
    "	jmp handle\n");

int main(void)
{
	int key = key_alloc();
	const size_t size = 64 << 10;
	char *stack = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(stack != MAP_FAILED, "mmap: %s", strerror(errno));
	CHECK(syscall(SYS_pkey_mprotect, stack, size, PROT_READ | PROT_WRITE, key) == 0, "pkey_mprotect: %s", strerror(errno));
	stack_t ss = { .ss_sp = stack, .ss_size = size };
	CHECK(sigaltstack(&ss, NULL) == 0, "sigaltstack: %s", strerror(errno));
	struct sigaction sa = { .sa_sigaction = entry, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	sigaction(SIGUSR1, &sa, NULL);

	open_pkru = rdpkru() & ~(DENY_ACCESS(key) | DENY_WRITE(key));
	uint32_t denied = open_pkru | DENY_ACCESS(key) | DENY_WRITE(key);
	wrpkru(denied);
	raise(SIGUSR1);
	CHECK(handled == SIGUSR1, "no signal was handled");
	CHECK(handler_sp > (uintptr_t)stack && handler_sp < (uintptr_t)stack + size, "the handler ran on another stack");
	CHECK(rdpkru() == denied, "PKRU after the handler: %#x, want %#x", rdpkru(), denied);
	return 0;
}
