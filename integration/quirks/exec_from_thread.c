// SPDX-License-Identifier: Apache-2.0
// execve from a thread that is not the first one: the process keeps its PID,
// the other threads are gone, what should survive does.
#include "quirk.h"
#include <dirent.h>
#include <pthread.h>

static char pid_arg[16], fd_arg[16];

static void *busy(void *arg)
{
	(void)arg;
	for (volatile long i = 0;; i++)
		if (i % 4096 == 0)
			sched_yield();
	return NULL;
}

static void *asleep(void *arg)
{
	(void)arg;
	for (;;)
		pause();
	return NULL;
}

static void *exec_it(void *arg)
{
	(void)arg;
	CHECK(gettid() != getpid(), "not in a thread");
	execl("/proc/self/exe", "exec_from_thread", pid_arg, fd_arg, NULL);
	FAIL("execl: %s", strerror(errno));
}

static int after_exec(char **argv)
{
	int threads = 0;
	char buf[8] = "";
	DIR *d = opendir("/proc/self/task");

	CHECK(getpid() == atoi(argv[1]), "the process is now %d, it was %s", getpid(), argv[1]);
	CHECK(gettid() == getpid(), "thread %d of process %d", gettid(), getpid());
	CHECK(d, "/proc/self/task: %s", strerror(errno));
	for (struct dirent *e; (e = readdir(d));)
		threads += e->d_name[0] != '.';
	CHECK(threads == 1, "%d threads after exec", threads);
	CHECK(read(atoi(argv[2]), buf, 4) == 4 && !memcmp(buf, "kept", 4), "the open pipe is lost");
	struct sigaction sa;
	sigaction(SIGUSR1, NULL, &sa);
	CHECK(sa.sa_handler == SIG_DFL, "a handler survived exec");
	sigaction(SIGUSR2, NULL, &sa);
	CHECK(sa.sa_handler == SIG_IGN, "an ignored signal is not ignored any more");
	return 0;
}

static void ignore(int sig) { (void)sig; }

int main(int argc, char **argv)
{
	if (argc == 3)
		return after_exec(argv);
	for (int i = 0; i < 30; i++) {
		pid_t pid = MUST(fork());
		if (!pid) {
			int fd[2];
			pthread_t t;
			MUST(pipe(fd));
			CHECK(write(fd[1], "kept", 4) == 4, "write: %s", strerror(errno));
			signal(SIGUSR1, ignore);
			signal(SIGUSR2, SIG_IGN);
			snprintf(pid_arg, sizeof pid_arg, "%d", getpid());
			snprintf(fd_arg, sizeof fd_arg, "%d", fd[0]);
			for (int j = 0; j < 3; j++)
				CHECK(!pthread_create(&t, NULL, j ? asleep : busy, NULL), "pthread_create");
			CHECK(!pthread_create(&t, NULL, exec_it, NULL), "pthread_create");
			for (;;)
				pause();
		}
		int status = reap(pid);
		CHECK(status == 0, "round %d: ended with %d", i, status);
	}
	puts("ok");
	return 0;
}
