// SPDX-License-Identifier: Apache-2.0
// One thread writes WRPKRU and takes it away again, while another runs it;
// and one runs an instruction that contains it while another jumps into that
// (rule 6).
#include "code.h"
#include <pthread.h>

static volatile int done;
static uint8_t *page, *alias;

static void *writer(void *place)
{
	uint8_t *p = place;

	while (!done) {
		p[WRPKRU_AT] = 0x0f;
		p[WRPKRU_AT + 1] = 0x01;
		p[WRPKRU_AT + 2] = 0xef;
		p[WRPKRU_AT + 1] = 0x1f;
		p[WRPKRU_AT + 2] = 0xc0;
	}
	return NULL;
}

/* movabs with WRPKRU in it, again and again. */
static void *around(void *code)
{
	while (!done)
		asm volatile("call *%0" : : "r"(code) : "r11", "memory");
	return NULL;
}

static void until(int ms, const uint8_t *code, const char *what)
{
	struct timespec from, now;

	clock_gettime(CLOCK_MONOTONIC, &from);
	do {
		for (int i = 0; i < 100; i++)
			OPEN_WITH(code, "%s", what);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((now.tv_sec - from.tv_sec) * 1000 + (now.tv_nsec - from.tv_nsec) / 1000000 < ms);
	done = 1;
}

int attack(void)
{
	int fd = MUST(memfd_create("race", 0)), ms = emulated() ? 2000 : 300;
	pthread_t thread;

	MUST(ftruncate(fd, PAGE));
	alias = MUST(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
	page = MUST(mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0));
	memcpy(alias, opener, sizeof opener);
	if (pthread_create(&thread, NULL, writer, alias))
		GIVE_UP("pthread_create");
	until(ms, page, "raced through an alias");
	pthread_join(thread, NULL);

	done = 0;
	page = pages(1, PROT_READ | PROT_WRITE | PROT_EXEC);
	memcpy(page, opener, sizeof opener);
	if (pthread_create(&thread, NULL, writer, page))
		GIVE_UP("pthread_create");
	until(ms, page, "raced in place");
	pthread_join(thread, NULL);

	done = 0;
	page = pages(1, PROT_READ | PROT_WRITE | PROT_EXEC);
	memset(page, 0x90, PAGE);
	memcpy(page, "\x31\xc0\x31\xc9\x31\xd2\xeb\x03", 8);
	memcpy(page + 8, "\x49\xbb\x90\x90\x90\x0f\x01\xef\xc3\x90\xc3", 11);
	if (pthread_create(&thread, NULL, around, page + 8))
		GIVE_UP("pthread_create");
	until(ms, page, "jumped into an instruction that is being run");
	pthread_join(thread, NULL);
	return STOPPED;
}
