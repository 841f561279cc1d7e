// SPDX-License-Identifier: Apache-2.0
// Correct with no argument, else with one error that a sanitizer finds.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static int n;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void *count(void *racy)
{
	for (int i = 0; i < 1000; i++) {
		char *p = malloc(100);
		p[i % 100] = 1;
		if (!racy)
			pthread_mutex_lock(&lock);
		n++;
		if (!racy)
			pthread_mutex_unlock(&lock);
		free(p);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t t[4];
	char *late = malloc(10);

	for (int i = 0; i < 4; i++)
		pthread_create(t + i, NULL, count, argc > 1 && argv[1][0] == 'r' ? &n : NULL);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	if (argc > 1 && argv[1][0] == 'o')
		n += 0x7fffffff;
	free(late);
	if (argc > 1 && argv[1][0] == 'f')
		return late[3];
	puts(argc > 1 || n == 4000 ? "done" : "lost");
	return 0;
}
