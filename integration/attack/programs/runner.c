// SPDX-License-Identifier: Apache-2.0
// Not an attack: runs those named before "--" one after the other in one cell,
// with what follows as arguments, and prints the status of each.
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int i, rest = 1;

	while (rest < argc && strcmp(argv[rest], "--"))
		rest++;
	for (i = 1; i < rest; i++) {
		struct timespec from, to;
		char *name = argv[i], path[256];
		int status;

		clock_gettime(CLOCK_MONOTONIC, &from);
		snprintf(path, sizeof path, "/bin/%s", name);
		pid_t pid = fork();
		if (pid == 0) {
			argv[rest] = name;
			execv(path, argv + rest);
			_exit(127);
		}
		if (pid < 0) {
			perror("fork");
			return 1;
		}
		while (waitpid(pid, &status, 0) != pid)
			;
		clock_gettime(CLOCK_MONOTONIC, &to);
		printf("\nresult %s %d %ld ms\n", name, WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
		       (to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000);
		fflush(stdout);
	}
	return 0;
}
