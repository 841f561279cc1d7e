// SPDX-License-Identifier: Apache-2.0
/*
 * Memory patterns: several processes map, fill, check and unmap memory of all
 * kinds, and every page has to hold what was put into it last, or zero.
 *
 *	pattern SECONDS PROCESSES MIB FOLDER
 *
 * MIB bounds what a process has at a time; FOLDER is for files.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, AREAS = 64 };

struct area {
	char *at;
	long pages;
	uint64_t seed;
	int shared, filled;
};

static uint64_t state;

static uint64_t next(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static void fail(const char *what, uint64_t want, uint64_t got)
{
	printf("lost: %s: %llx instead of %llx\n", what, (unsigned long long)got, (unsigned long long)want);
	fflush(stdout);
	_exit(3);
}

static uint64_t word(uint64_t seed, long page, int at)
{
	return (seed + page * 512 + at) * 0x9e3779b97f4a7c15ull | 1;
}

static const int places[] = { 0, 1, 63, 200, 511 };

static void fill(char *page, uint64_t seed, long n)
{
	for (unsigned i = 0; i < sizeof places / sizeof *places; i++)
		((uint64_t *)page)[places[i]] = word(seed, n, places[i]);
}

static void check(const char *what, const char *page, uint64_t seed, long n)
{
	for (unsigned i = 0; i < sizeof places / sizeof *places; i++) {
		uint64_t want = seed ? word(seed, n, places[i]) : 0, got = ((volatile uint64_t *)page)[places[i]];

		if (got != want)
			fail(what, want, got);
	}
}

static void check_zero(const char *what, const char *page)
{
	for (int i = 0; i < PAGE / 8; i++)
		if (((volatile uint64_t *)page)[i])
			fail(what, 0, ((volatile uint64_t *)page)[i]);
}

static struct area areas[AREAS];
static long held;

static void drop(struct area *a)
{
	for (long i = 0; i < a->pages; i++)
		if (i < a->filled)
			check(a->shared ? "shared" : "anonymous", a->at + i * PAGE, a->seed, i);
	munmap(a->at, a->pages * PAGE);
	held -= a->pages;
	a->at = NULL;
}

static void make(struct area *a, long most)
{
	a->pages = 1 + next() % (next() % 4 ? 64 : most / 4);
	if (held + a->pages > most)
		return;
	a->shared = next() % 4 == 0;
	a->at = mmap(NULL, a->pages * PAGE, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | (a->shared ? MAP_SHARED : MAP_PRIVATE), -1, 0);
	if (a->at == MAP_FAILED) {
		perror("mmap");
		_exit(1);
	}
	held += a->pages;
	a->seed = next() | 1;
	a->filled = next() % 8 ? a->pages : next() % a->pages;
	for (long i = 0; i < a->filled; i++) {
		char *page = a->at + i * PAGE;

		if (next() % 4 == 0)
			check_zero("new page", page);
		fill(page, a->seed, i);
	}
}

/* A child sees its parent's pages and changes its own. */
static void fork_one(void)
{
	struct area *a = &areas[next() % AREAS];
	int status;
	pid_t child;

	if (!a->at || a->shared)
		return;
	child = fork();
	if (!child) {
		for (long i = 0; i < a->filled; i++) {
			check("inherited", a->at + i * PAGE, a->seed, i);
			fill(a->at + i * PAGE, a->seed + 2, i);
		}
		for (long i = 0; i < a->filled; i++)
			check("copied", a->at + i * PAGE, a->seed + 2, i);
		_exit(0);
	}
	if (waitpid(child, &status, 0) < 0 || status) {
		printf("child: status %x\n", status);
		_exit(3);
	}
}

/* The page cache: write a file, read it back in two ways, remove it. */
static void file(const char *folder)
{
	static char buffer[PAGE];
	char path[4096], *map;
	long pages = 1 + next() % 256;
	uint64_t seed = next() | 1;
	int fd;

	snprintf(path, sizeof path, "%s/pattern.%d", folder, getpid());
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (fd < 0) {
		perror(path);
		_exit(1);
	}
	for (long i = 0; i < pages; i++) {
		memset(buffer, 0, PAGE);
		fill(buffer, seed, i);
		if (write(fd, buffer, PAGE) != PAGE) {
			perror("write");
			_exit(1);
		}
	}
	for (long i = 0; i < pages; i++) {
		if (pread(fd, buffer, PAGE, i * PAGE) != PAGE)
			_exit(1);
		check("file", buffer, seed, i);
	}
	map = mmap(NULL, pages * PAGE, PROT_READ, MAP_SHARED, fd, 0);
	for (long i = 0; i < pages; i++)
		check("mapped file", map + i * PAGE, seed, i);
	munmap(map, pages * PAGE);
	close(fd);
	unlink(path);
}

static void run(double seconds, long most, const char *folder)
{
	struct timespec t;
	double end;

	clock_gettime(CLOCK_MONOTONIC, &t);
	end = t.tv_sec + t.tv_nsec / 1e9 + seconds;
	do {
		for (int i = 0; i < 50; i++) {
			struct area *a = &areas[next() % AREAS];

			if (a->at)
				drop(a);
			else
				make(a, most);
		}
		if (next() % 8 == 0)
			fork_one();
		if (next() % 8 == 0)
			file(folder);
		/* Let go of everything now and then, for as long as it takes the host. */
		if (next() % 64 == 0) {
			for (int i = 0; i < AREAS; i++)
				if (areas[i].at)
					drop(&areas[i]);
			usleep(next() % 200000);
		}
		clock_gettime(CLOCK_MONOTONIC, &t);
	} while (t.tv_sec + t.tv_nsec / 1e9 < end);
	for (int i = 0; i < AREAS; i++)
		if (areas[i].at)
			drop(&areas[i]);
}

int main(int argc, char **argv)
{
	int processes, status, bad = 0;

	if (argc != 5)
		return 2;
	processes = atoi(argv[2]);
	for (int i = 0; i < processes; i++) {
		if (!fork()) {
			state = 88172645463325252ull + i * 7919;
			run(atof(argv[1]), atol(argv[3]) * 256, argv[4]);
			_exit(0);
		}
	}
	while (wait(&status) > 0)
		bad |= status;
	if (bad) {
		printf("status %x\n", bad);
		return 3;
	}
	puts("nothing lost");
	return 0;
}
