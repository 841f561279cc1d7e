/* SPDX-License-Identifier: Apache-2.0 */
/*
 * First touch of anonymous memory, in order: touch MIB ROUNDS MILLISECONDS
 *
 * prints the ns per 4 KiB page of every round, which maps, touches, unmaps and
 * then waits.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

int main(int argc, char **argv)
{
	long pages, rounds;

	if (argc != 4)
		return 2;
	pages = atol(argv[1]) * 256;
	for (rounds = atol(argv[2]); rounds; rounds--) {
		char *p = mmap(NULL, pages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		double begin;

		if (p == MAP_FAILED)
			return 1;
		madvise(p, pages * 4096, MADV_NOHUGEPAGE);
		begin = now();
		for (long i = 0; i < pages; i++)
			((volatile char *)p)[i * 4096] = 1;
		printf("%.0f\n", (now() - begin) / pages);
		munmap(p, pages * 4096);
		usleep(atol(argv[3]) * 1000);
	}
	return 0;
}
