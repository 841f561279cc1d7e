// SPDX-License-Identifier: Apache-2.0
//
// fsx DIR SEED OPERATIONS: changes and reads files below DIR at random in every
// way that there is, and compares what it reads with what it knows to be there.
// Four processes work on a file each; each has two descriptors and a mapping.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX (256 << 10)

static uint64_t state;
static char name[64];
static unsigned char model[MAX], buffer[MAX];
static int size, fds[2] = { -1, -1 };
static unsigned char *map;
static int step;
static const char *doing = "";

static uint32_t rnd(uint32_t n)
{
	state = state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(state >> 33) % n;
}

static void fail(const char *what, long got, long want)
{
	printf("%s: step %d, %s: %s: got %ld, want %ld (%s)\n", name, step, doing, what, got, want, strerror(errno));
	fflush(stdout);
	_exit(1);
}

static void expect(const char *what, long got, long want)
{
	if (got != want)
		fail(what, got, want);
}

static void reopen(int i)
{
	if (fds[i] >= 0)
		expect("close", close(fds[i]), 0);
	fds[i] = open(name, O_RDWR | O_CREAT, 0600);
	if (fds[i] < 0)
		fail("open", fds[i], 0);
}

static void remap(void)
{
	if (map)
		expect("munmap", munmap(map, MAX), 0);
	map = mmap(NULL, MAX, PROT_READ | PROT_WRITE, MAP_SHARED, fds[rnd(2)], 0);
	if (map == MAP_FAILED)
		fail("mmap", -1, 0);
}

static void same(const unsigned char *got, int from, int n)
{
	if (!memcmp(got, model + from, n))
		return;
	for (int i = 0; i < n; i++)
		if (got[i] != model[from + i])
			fail("wrong byte", (long)(from + i) << 16 | got[i] << 8 | model[from + i], 0);
}

static void fill(unsigned char *p, int n)
{
	unsigned char c = rnd(255) + 1;

	for (int i = 0; i < n; i++)
		p[i] = c + i;
}

static void grow(int to)
{
	if (to > size)
		size = to; // the model is zero beyond
}

static void shrink(int to)
{
	if (to < size)
		memset(model + to, 0, size - to);
	size = to;
}

static void one(void)
{
	int fd = fds[rnd(2)], from = rnd(MAX), n = rnd(rnd(4) ? 5000 : MAX) + 1;
	struct stat s;

	if (rnd(3) == 0)
		from &= ~4095;
	if (from + n > MAX)
		n = MAX - from;
	switch (rnd(15)) {
	case 0: case 1: case 2:
		doing = "write";
		fill(buffer, n);
		expect(doing, pwrite(fd, buffer, n, from), n);
		memcpy(model + from, buffer, n);
		grow(from + n);
		break;
	case 3: case 4: case 5: {
		doing = "read";
		int there = from >= size ? 0 : from + n > size ? size - from : n;
		expect(doing, pread(fd, buffer, n, from), there);
		same(buffer, from, there);
		break;
	}
	case 6: case 7:
		doing = "mapped write";
		if (from >= size)
			break;
		if (from + n > size)
			n = size - from;
		fill(map + from, n);
		memcpy(model + from, map + from, n);
		break;
	case 8:
		doing = "mapped read";
		if (from >= size)
			break;
		if (from + n > size)
			n = size - from;
		same(map + from, from, n);
		break;
	case 9:
		doing = "truncate";
		expect(doing, ftruncate(fd, from), 0);
		if (from < size)
			shrink(from);
		else
			grow(from);
		break;
	case 10:
		doing = "punch";
		expect(doing, fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, from, n), 0);
		memset(model + from, 0, n);
		break;
	case 11:
		doing = "allocate";
		expect(doing, fallocate(fd, 0, from, n), 0);
		grow(from + n);
		break;
	case 12: {
		doing = "copy";
		int half = MAX / 2, len = n > half ? half : n;
		loff_t in = rnd(half - len + 1), out = half + rnd(half - len + 1);
		int there = in >= size ? 0 : in + len > size ? size - in : len;
		long got = copy_file_range(fds[0], &in, fds[1], &out, len, 0);
		expect(doing, got, there);
		memcpy(model + out - got, model + in - got, got);
		if (got)
			grow(out);
		break;
	}
	case 13:
		switch (rnd(4)) {
		case 0: doing = "reopen"; reopen(rnd(2)); break;
		case 1: doing = "remap"; remap(); break;
		case 2: doing = "fsync"; expect(doing, fsync(fd), 0); break;
		case 3: doing = "msync"; expect(doing, msync(map, MAX, MS_SYNC), 0); break;
		}
		break;
	case 14:
		doing = "stat";
		expect("fstat", fstat(fd, &s), 0);
		expect("size", s.st_size, size);
		break;
	}
}

static void work(const char *dir, int seed, int operations)
{
	state = seed * 7919 + 1;
	snprintf(name, sizeof(name), "%s/fsx.%d", dir, seed);
	unlink(name);
	reopen(0);
	reopen(1);
	remap();
	for (step = 0; step < operations; step++)
		one();
	doing = "the end";
	reopen(0);
	expect("read all", pread(fds[0], buffer, MAX, 0), size);
	same(buffer, 0, size);
	unlink(name);
	_exit(0);
}

int main(int argc, char **argv)
{
	int bad = 0, status;

	if (argc != 4)
		return 2;
	for (int i = 0; i < 4; i++)
		if (!fork())
			work(argv[1], atoi(argv[2]) + i, atoi(argv[3]));
	while (wait(&status) > 0)
		bad += status != 0;
	puts(bad ? "bad" : "good");
	return bad;
}
