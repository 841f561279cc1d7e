// SPDX-License-Identifier: Apache-2.0
// Programs that write code: through an alias, with mprotect, and in place.
#include "quirk.h"
#include <pthread.h>

static void emit(unsigned char *p, int value)
{
	*p++ = 0xb8; /* mov $value, %eax */
	memcpy(p, &value, 4);
	p[4] = 0xc3; /* ret */
}

static int call(void *code) { return ((int (*)(void))code)(); }

static void *other_thread(void *code) { return (void *)(intptr_t)call(code); }

int main(void)
{
	int fd = MUST(memfd_create("jit", 0));
	MUST(ftruncate(fd, PAGE));
	unsigned char *w = MUST(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
	unsigned char *x = MUST(mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0));

	for (int i = 0; i < 1000; i++) {
		emit(w, i);
		CHECK(call(x) == i, "alias: round %d ran old code", i);
	}

	unsigned char *p = map_anon(PAGE, PROT_READ | PROT_WRITE);
	for (int i = 0; i < 1000; i++) {
		MUST(mprotect(p, PAGE, PROT_READ | PROT_WRITE));
		emit(p, i);
		MUST(mprotect(p, PAGE, PROT_READ | PROT_EXEC));
		CHECK(call(p) == i, "mprotect: round %d ran old code", i);
	}

	p = map_anon(2 * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
	for (int i = 0; i < 1000; i++) {
		unsigned char *code = p + PAGE - 3; /* across the page edge */
		emit(code, i);
		CHECK(call(code) == i, "in place: round %d ran old code", i);
		/* Data next to code stays writable and readable. */
		p[0] = i;
		CHECK(p[0] == (unsigned char)i, "in place: data lost");
	}

	/* The system call reads and writes such a page as well. */
	int pipefd[2];
	MUST(pipe(pipefd));
	unsigned char code[6];
	emit(code, 4711);
	CHECK(write(pipefd[1], code, 6) == 6 && read(pipefd[0], p, 6) == 6, "pipe: %s", strerror(errno));
	CHECK(call(p) == 4711, "code that came by read() does not run");

	emit(p, 42);
	pthread_t t;
	void *result;
	CHECK(pthread_create(&t, NULL, other_thread, p) == 0, "pthread_create");
	pthread_join(t, &result);
	CHECK((intptr_t)result == 42, "another thread ran old code");
	pid_t pid = MUST(fork());
	if (!pid)
		_exit(call(p));
	CHECK(reap(pid) == 42, "a forked process ran old code");
	puts("ok");
	return 0;
}
