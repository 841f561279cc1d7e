// SPDX-License-Identifier: Apache-2.0
// FUTEX_WAKE_OP changes its word atomically with respect to instructions of
// other threads, and computes what it is documented to compute.
#include "quirk.h"
#include <linux/futex.h>
#include <pthread.h>

static uint32_t word, other, flag;

static long wake_op(uint32_t *target, uint32_t encoded)
{
	return syscall(SYS_futex, &other, FUTEX_WAKE_OP | FUTEX_PRIVATE_FLAG, 0, 0, target, encoded);
}

enum { ROUNDS = 100000 };

static void *by_call(void *arg)
{
	(void)arg;
	for (int i = 0; i < ROUNDS; i++)
		CHECK(wake_op(&word, FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_EQ, 0)) >= 0, "FUTEX_WAKE_OP: %s", strerror(errno));
	return NULL;
}

static void *by_instruction(void *arg)
{
	(void)arg;
	while (!__atomic_load_n(&flag, __ATOMIC_RELAXED))
		__atomic_fetch_add(&word, 1u << 20, __ATOMIC_RELAXED);
	return NULL;
}

static void expect(const char *what, uint32_t encoded, uint32_t before, uint32_t after)
{
	word = before;
	CHECK(wake_op(&word, encoded) >= 0, "%s: %s", what, strerror(errno));
	CHECK(word == after, "%s: %#x became %#x, want %#x", what, before, word, after);
}

static void *waiter(void *arg)
{
	(void)arg;
	syscall(SYS_futex, &word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0, NULL, NULL, 0);
	return NULL;
}

int main(void)
{
	expect("SET", FUTEX_OP(FUTEX_OP_SET, 7, FUTEX_OP_CMP_EQ, 0), 3, 7);
	expect("ADD", FUTEX_OP(FUTEX_OP_ADD, 7, FUTEX_OP_CMP_EQ, 0), 3, 10);
	expect("ADD of a negative number", FUTEX_OP(FUTEX_OP_ADD, 0xfff, FUTEX_OP_CMP_EQ, 0), 3, 2);
	expect("OR", FUTEX_OP(FUTEX_OP_OR, 0x30, FUTEX_OP_CMP_EQ, 0), 3, 0x33);
	expect("ANDN", FUTEX_OP(FUTEX_OP_ANDN, 1, FUTEX_OP_CMP_EQ, 0), 3, 2);
	expect("XOR", FUTEX_OP(FUTEX_OP_XOR, 1, FUTEX_OP_CMP_EQ, 0), 3, 2);
	expect("OR with a shift", FUTEX_OP((FUTEX_OP_OR | FUTEX_OP_OPARG_SHIFT), 8, FUTEX_OP_CMP_EQ, 0), 3, 0x103);

	/* A faulting word is an error, not a silent success. */
	uint32_t *ro = map_anon(PAGE, PROT_READ);
	CHECK(wake_op(ro, FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_EQ, 0)) == -1 && errno == EFAULT, "a read-only word was accepted");
	/* A word on a page never touched is one the kernel has to fault in. */
	uint32_t *fresh = map_anon(PAGE, PROT_READ | PROT_WRITE);
	CHECK(wake_op(fresh, FUTEX_OP(FUTEX_OP_ADD, 5, FUTEX_OP_CMP_EQ, 0)) >= 0 && *fresh == 5, "untouched page: %u, %s", *fresh, strerror(errno));

	/* The comparison wakes waiters of the second word only when it holds. */
	pthread_t w;
	word = 0;
	pthread_create(&w, NULL, waiter, NULL);
	for (long woken = 0; woken == 0;) {
		word = 0;
		CHECK(wake_op(&word, FUTEX_OP(FUTEX_OP_ADD, 0, FUTEX_OP_CMP_NE, 0)) == 0, "woke although the comparison fails");
		woken = syscall(SYS_futex, &other, FUTEX_WAKE_OP | FUTEX_PRIVATE_FLAG, 0, 1, &word, FUTEX_OP(FUTEX_OP_ADD, 0, FUTEX_OP_CMP_EQ, 0));
		CHECK(woken >= 0, "FUTEX_WAKE_OP: %s", strerror(errno));
		usleep(100);
	}
	pthread_join(w, NULL);

	/* Adds by call land in the low 20 bits, adds by instruction above; a
	 * lost update shows in the low part. */
	pthread_t caller[3], adder[2];
	word = 0;
	for (int i = 0; i < 2; i++)
		CHECK(!pthread_create(&adder[i], NULL, by_instruction, NULL), "pthread_create");
	for (int i = 0; i < 3; i++)
		CHECK(!pthread_create(&caller[i], NULL, by_call, NULL), "pthread_create");
	for (int i = 0; i < 3; i++)
		pthread_join(caller[i], NULL);
	__atomic_store_n(&flag, 1, __ATOMIC_RELAXED);
	for (int i = 0; i < 2; i++)
		pthread_join(adder[i], NULL);
	CHECK((word & 0xfffff) == 3 * ROUNDS, "%u of %u adds by FUTEX_WAKE_OP counted", word & 0xfffff, 3 * ROUNDS);
	puts("ok");
	return 0;
}
