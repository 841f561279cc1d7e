// SPDX-License-Identifier: Apache-2.0
// Restartable sequences: registered by libc, the CPU number is right, and an
// interrupted critical section continues at its abort address.
#include "quirk.h"
#include <pthread.h>
#include <sys/rseq.h>
#include <sys/time.h>

static struct rseq *self(void) { return (void *)((char *)__builtin_thread_pointer() + __rseq_offset); }

static volatile int ticks;
static void tick(int sig) { (void)sig; ticks++; }

/* Spin inside a critical section until it is aborted: 1, or for too long: 0. */
static int aborted(void)
{
	static struct { uint32_t version, flags; uint64_t start, length, abort; } __attribute__((aligned(32))) cs;
	struct rseq *r = self();
	int result;

	asm volatile(
		"lea 1f(%%rip), %%rax\n mov %%rax, 8(%[cs])\n"
		"lea 2f(%%rip), %%rcx\n sub %%rax, %%rcx\n mov %%rcx, 16(%[cs])\n"
		"lea 4f(%%rip), %%rax\n mov %%rax, 24(%[cs])\n"
		"mov %[cs], %[slot]\n"
		"mov $3000000000, %%rcx\n"
		"1: dec %%rcx\n jnz 1b\n"
		"2: xor %[result], %[result]\n jmp 5f\n"
		".byte 0x0f, 0xb9, 0x3d\n" /* ud1, so that the signature is code */
		".long 0x53053053\n"
		"4: mov $1, %[result]\n"
		"5:\n"
		: [slot] "=m"(r->rseq_cs), [result] "=&r"(result)
		: [cs] "r"(&cs)
		: "rax", "rcx", "memory");
	return result;
}

static void *thread(void *arg)
{
	(void)arg;
	CHECK((int)self()->cpu_id >= 0, "thread is not registered: cpu_id %d", (int)self()->cpu_id);
	return NULL;
}

int main(void)
{
	if (__rseq_size == 0)
		FAIL("libc could not register rseq");
	unsigned cpu, node, hits = 0;

	for (int i = 0; i < 1000; i++) {
		MUST(syscall(SYS_getcpu, &cpu, &node, NULL));
		hits += cpu == self()->cpu_id;
	}
	CHECK(hits > 900, "cpu_id agrees with getcpu in %u of 1000 cases", hits);
	CHECK(syscall(SYS_rseq, self(), 32, 0, 0x53053053) == -1 && errno != ENOSYS, "a second registration: %s", strerror(errno));

	struct itimerval every = { { 0, 2000 }, { 0, 2000 } };
	signal(SIGALRM, tick);
	MUST(setitimer(ITIMER_REAL, &every, NULL));
	for (int i = 0; i < 50; i++)
		CHECK(aborted() == 1, "round %d: a critical section was not aborted by %d signals", i, ticks);

	pthread_t t;
	CHECK(!pthread_create(&t, NULL, thread, NULL), "pthread_create");
	pthread_join(t, NULL);
	pid_t pid = MUST(fork());
	if (!pid)
		_exit((int)self()->cpu_id < 0);
	CHECK(reap(pid) == 0, "a forked process is not registered");
	puts("ok");
	return 0;
}
