// SPDX-License-Identifier: Apache-2.0
// Robust and priority-inheriting mutexes: the next owner learns of a dead one,
// in the same process and in another.
#include "quirk.h"
#include <pthread.h>

struct shared {
	pthread_mutex_t robust, pi;
	int value;
};

static void init(struct shared *s)
{
	pthread_mutexattr_t a;

	pthread_mutexattr_init(&a);
	pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	CHECK(!pthread_mutex_init(&s->robust, &a), "robust mutex");
	CHECK(!pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT), "PTHREAD_PRIO_INHERIT");
	int err = pthread_mutex_init(&s->pi, &a);
	CHECK(!err, "priority-inheriting mutex: %s", strerror(err));
}

static void *die_with_locks(void *arg)
{
	struct shared *s = arg;

	CHECK(!pthread_mutex_lock(&s->robust), "lock");
	CHECK(!pthread_mutex_lock(&s->pi), "lock (pi)");
	s->value++;
	return NULL;
}

static void expect_dead(pthread_mutex_t *m, const char *what)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 20;
	int err = pthread_mutex_timedlock(m, &until);
	CHECK(err == EOWNERDEAD, "%s: %s, want EOWNERDEAD", what, strerror(err));
	CHECK(!pthread_mutex_consistent(m), "%s: pthread_mutex_consistent", what);
	CHECK(!pthread_mutex_unlock(m), "%s: unlock", what);
	CHECK(!pthread_mutex_lock(m) && !pthread_mutex_unlock(m), "%s: not usable again", what);
}

static void *count(void *arg)
{
	struct shared *s = arg;

	for (int i = 0; i < 20000; i++) {
		CHECK(!pthread_mutex_lock(&s->pi), "lock (pi)");
		s->value++;
		CHECK(!pthread_mutex_unlock(&s->pi), "unlock (pi)");
	}
	return NULL;
}

int main(void)
{
	struct shared *s = MUST(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	pthread_t t[4];

	init(s);
	for (int i = 0; i < 100; i++) {
		CHECK(!pthread_create(t, NULL, die_with_locks, s), "pthread_create");
		pthread_join(*t, NULL);
		expect_dead(&s->robust, "thread that ended");
		expect_dead(&s->pi, "thread that ended (pi)");
	}

	/* A killed process: nobody is left to run its list but the kernel. The
	 * waiter is there before and after the kill. */
	for (int i = 0; i < 20; i++) {
		int ready[2];
		char c;
		MUST(pipe(ready));
		pid_t pid = MUST(fork());
		if (!pid) {
			die_with_locks(s);
			MUST(write(ready[1], "x", 1));
			pause();
		}
		MUST(read(ready[0], &c, 1));
		CHECK(pthread_mutex_trylock(&s->robust) == EBUSY, "the lock is free");
		pid_t killer = MUST(fork());
		if (!killer) {
			if (i & 1)
				usleep(5000);
			kill(pid, SIGKILL);
			_exit(0);
		}
		expect_dead(&s->robust, "process that was killed");
		expect_dead(&s->pi, "process that was killed (pi)");
		reap(pid);
		reap(killer);
		close(ready[0]);
		close(ready[1]);
	}

	/* exec gives up the locks as well. */
	int ready[2];
	char c;
	MUST(pipe(ready));
	pid_t pid = MUST(fork());
	if (!pid) {
		die_with_locks(s);
		MUST(write(ready[1], "x", 1));
		execl("/proc/self/exe", "robust_futex", "exit", NULL);
		_exit(1);
	}
	MUST(read(ready[0], &c, 1));
	expect_dead(&s->robust, "process that called exec");
	expect_dead(&s->pi, "process that called exec (pi)");
	kill(pid, SIGKILL);
	reap(pid);

	s->value = 0;
	for (int i = 0; i < 4; i++)
		CHECK(!pthread_create(&t[i], NULL, count, s), "pthread_create");
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	CHECK(s->value == 80000, "counted %d under a contended lock, want 80000", s->value);
	puts("ok");
	return 0;
}

/* The program that exec starts is this one; it must not run the test again. */
__attribute__((constructor)) static void started_by_exec(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "exit")) {
		pause();
		_exit(0);
	}
}
