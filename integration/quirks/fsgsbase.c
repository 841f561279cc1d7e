// SPDX-License-Identifier: Apache-2.0
// FS and GS bases belong to the thread: written by instruction or arch_prctl,
// they survive calls, switches, signals, faults and fork.
#include "quirk.h"
#include <asm/prctl.h>
#include <pthread.h>

static int by_instruction;

static uint64_t get_gs(void)
{
	uint64_t base;

	if (by_instruction)
		asm volatile("rdgsbase %0" : "=r"(base));
	else
		MUST(syscall(SYS_arch_prctl, ARCH_GET_GS, &base));
	return base;
}

static void set_gs(uint64_t base)
{
	if (by_instruction)
		asm volatile("wrgsbase %0" : : "r"(base));
	else
		MUST(syscall(SYS_arch_prctl, ARCH_SET_GS, base));
}

static uint64_t get_fs(void)
{
	uint64_t base;

	MUST(syscall(SYS_arch_prctl, ARCH_GET_FS, &base));
	return base;
}

static volatile uint64_t gs_in_handler;
static volatile int handled;

static void handler(int sig)
{
	(void)sig;
	gs_in_handler = get_gs();
	handled++;
}

static volatile int stop;

/* A value of its own per thread, checked over yields and page faults. */
static void *thread(void *arg)
{
	uint64_t *slots = arg, fs = get_fs(), self = (uintptr_t)__builtin_thread_pointer();

	CHECK(fs == self, "FS base %#lx, thread pointer %#lx", fs, self);
	for (int i = 0; !stop && i < 20000; i++) {
		uint64_t *slot = &slots[i % 512];
		*slot = i;
		set_gs((uintptr_t)slot);
		sched_yield();
		uint64_t through;
		asm volatile("mov %%gs:0, %0" : "=r"(through));
		CHECK(through == (uint64_t)i, "read through GS: %lu, want %d", through, i);
		CHECK(get_gs() == (uintptr_t)slot, "GS base changed to %#lx", get_gs());
		CHECK((uintptr_t)__builtin_thread_pointer() == self, "thread pointer changed");
	}
	return NULL;
}

int main(void)
{
	uint64_t value = 0x123456789000, got;

	MUST(syscall(SYS_arch_prctl, ARCH_SET_GS, value));
	MUST(syscall(SYS_arch_prctl, ARCH_GET_GS, &got));
	CHECK(got == value, "ARCH_GET_GS: %#lx, want %#lx", got, value);
	CHECK(syscall(SYS_arch_prctl, ARCH_SET_GS, 0x8000000000000000) == -1 && errno == EPERM, "a non-canonical GS base was accepted");
	CHECK(syscall(SYS_arch_prctl, ARCH_SET_FS, 0xffff800000000000) == -1 && errno == EPERM, "a kernel FS base was accepted");

	by_instruction = has_fsgsbase();
	if (by_instruction) {
		CHECK(get_gs() == value, "rdgsbase: %#lx, want %#lx", get_gs(), value);
		asm volatile("rdfsbase %0" : "=r"(got));
		CHECK(got == get_fs(), "rdfsbase: %#lx, ARCH_GET_FS: %#lx", got, get_fs());
		set_gs(value + 16);
		MUST(syscall(SYS_arch_prctl, ARCH_GET_GS, &got));
		CHECK(got == value + 16, "ARCH_GET_GS after wrgsbase: %#lx", got);
		/* User code may write what the kernel refuses; it must stay harmless. */
		set_gs(0xffff800000001000);
		getppid();
		CHECK(get_gs() == 0xffff800000001000, "a GS base in the kernel half changed to %#lx", get_gs());
		set_gs(value);
	}

	signal(SIGUSR1, handler);
	raise(SIGUSR1);
	CHECK(handled && gs_in_handler == value, "GS base in the handler: %#lx", gs_in_handler);
	CHECK(get_gs() == value, "GS base after the handler: %#lx", get_gs());
	*(volatile char *)map_anon(PAGE, PROT_READ | PROT_WRITE) = 1;
	CHECK(get_gs() == value, "GS base after a page fault: %#lx", get_gs());
	pid_t pid = MUST(fork());
	if (!pid)
		_exit(get_gs() != value);
	CHECK(reap(pid) == 0, "GS base is lost over fork");

	static uint64_t slots[8][512];
	pthread_t t[8];
	for (int i = 0; i < 8; i++)
		CHECK(!pthread_create(&t[i], NULL, thread, slots[i]), "pthread_create");
	for (int i = 0; i < 8; i++)
		pthread_join(t[i], NULL);
	CHECK(get_gs() == value, "GS base of the first thread changed to %#lx", get_gs());
	set_gs(0);
	puts("ok");
	return 0;
}
