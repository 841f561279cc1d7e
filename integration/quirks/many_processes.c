// SPDX-License-Identifier: Apache-2.0
// More processes than most machines run at a time, all of which take turns: what
// each has in its memory, and runs from it, stays its own.
#include "quirk.h"
#include <sys/sysinfo.h>

enum { PROCESSES = 300, ROUNDS = 4 };

static int pipes[PROCESSES + 1][2];

static void turn(int me, uint8_t *data, uint8_t *code, int round)
{
	for (size_t i = 0; i < 4 * PAGE; i += 512)
		CHECK(data[i] == (uint8_t)(me * 7 + round), "process %d, round %d: byte %zu is %d", me, round, i, data[i]);
	memset(data, me * 7 + round + 1, 4 * PAGE);
	int value = me * 1000 + round;

	CHECK(((int (*)(void))(uintptr_t)code)() == value, "process %d, round %d: other code", me, round);
	value++;
	memcpy(code + 1, &value, 4);
}

static int process(int me)
{
	uint8_t *data = map_anon(4 * PAGE, PROT_READ | PROT_WRITE);
	uint8_t *code = map_anon(PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
	int value = me * 1000, token;

	memset(data, me * 7, 4 * PAGE);
	code[0] = 0xb8; /* mov $value, %eax */
	memcpy(code + 1, &value, 4);
	code[5] = 0xc3; /* ret */
	for (int round = 0; round < ROUNDS; round++) {
		CHECK(read(pipes[me][0], &token, sizeof token) == sizeof token, "process %d: %s", me, strerror(errno));
		turn(me, data, code, round);
		token++;
		/* Some make another one meanwhile. */
		if (me % 8 == round) {
			pid_t pid = MUST(fork());

			if (!pid) {
				turn(me, data, code, round + 1);
				_exit(7);
			}
			CHECK(reap(pid) == 7, "process %d: its child", me);
		}
		CHECK(write(pipes[me + 1][1], &token, sizeof token) == sizeof token, "process %d: %s", me, strerror(errno));
	}
	return 0;
}

/* The kernel lets there be as many threads as its memory is good for. */
static void limits(void)
{
	FILE *f = fopen("/proc/sys/kernel/threads-max", "r");
	struct sysinfo info;
	long most = 0;

	CHECK(f && fscanf(f, "%ld", &most) == 1, "threads-max: %s", strerror(errno));
	fclose(f);
	MUST(sysinfo(&info));
	CHECK(most >= (long)(info.totalram * info.mem_unit >> 18), "at most %ld threads in %lu MiB", most,
	      info.totalram * info.mem_unit >> 20);
}

int main(void)
{
	pid_t pids[PROCESSES];
	int token = 0;

	limits();
	for (int i = 0; i <= PROCESSES; i++)
		MUST(pipe(pipes[i]));
	for (int i = 0; i < PROCESSES; i++) {
		pids[i] = MUST(fork());
		if (!pids[i])
			_exit(process(i));
	}
	for (int round = 0; round < ROUNDS; round++) {
		CHECK(write(pipes[0][1], &token, sizeof token) == sizeof token, "first: %s", strerror(errno));
		CHECK(read(pipes[PROCESSES][0], &token, sizeof token) == sizeof token, "last: %s", strerror(errno));
		CHECK(token == (round + 1) * PROCESSES, "round %d: %d turns", round, token);
	}
	for (int i = 0; i < PROCESSES; i++)
		CHECK(reap(pids[i]) == 0, "process %d failed", i);
	puts("ok");
	return 0;
}
