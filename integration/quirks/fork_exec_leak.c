// SPDX-License-Identifier: Apache-2.0
// Thousands of processes come and go and leave nothing behind.
//
//	fork_exec_leak [cycles]
#include "quirk.h"
#include <dirent.h>

static long count_dir(const char *path)
{
	DIR *d = opendir(path);
	long n = 0;

	CHECK(d, "%s: %s", path, strerror(errno));
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static long count_processes(void)
{
	DIR *d = opendir("/proc");
	long n = 0;

	CHECK(d, "/proc: %s", strerror(errno));
	for (struct dirent *e; (e = readdir(d));)
		n += e->d_name[0] >= '0' && e->d_name[0] <= '9';
	closedir(d);
	return n;
}

static long count_lines(const char *path)
{
	FILE *f = fopen(path, "r");
	long n = 0;

	CHECK(f, "%s: %s", path, strerror(errno));
	for (int c; (c = getc(f)) != EOF;)
		n += c == '\n';
	fclose(f);
	return n;
}

static long available_kib(void)
{
	FILE *f = fopen("/proc/meminfo", "r");
	char line[128];
	long kib = -1;

	CHECK(f, "/proc/meminfo: %s", strerror(errno));
	while (fgets(line, sizeof line, f))
		if (sscanf(line, "MemAvailable: %ld", &kib) == 1)
			break;
	fclose(f);
	return kib;
}

static void cycles(int n)
{
	for (int i = 0; i < n; i++) {
		pid_t pid = fork();
		CHECK(pid >= 0, "cycle %d: fork: %s", i, strerror(errno));
		if (!pid) {
			execl("/proc/self/exe", "fork_exec_leak", "exit", NULL);
			_exit(99);
		}
		int status = reap(pid);
		CHECK(status == 23, "cycle %d: the child ended with %d", i, status);
	}
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "exit"))
		_exit(23);
	int n = argc > 1 ? atoi(argv[1]) : emulated() ? 200 : 10000;

	cycles(n / 10 + 1); /* caches fill up first */
	long fds = count_dir("/proc/self/fd"), maps = count_lines("/proc/self/maps");
	long procs = count_processes(), before = available_kib();
	cycles(n);
	CHECK(count_dir("/proc/self/fd") == fds, "file descriptors: %ld, before %ld", count_dir("/proc/self/fd"), fds);
	CHECK(count_lines("/proc/self/maps") == maps, "mappings: %ld, before %ld", count_lines("/proc/self/maps"), maps);
	if (in_cell()) {
		/* On a host others come and go as well. */
		CHECK(count_processes() <= procs + 2, "processes: %ld, before %ld", count_processes(), procs);
		long lost = before - available_kib();
		CHECK(lost < 8192, "%ld KiB of memory are gone after %d cycles", lost, n);
	}
	printf("ok (%d cycles)\n", n);
	return 0;
}
