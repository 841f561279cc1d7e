// SPDX-License-Identifier: Apache-2.0
// Something to debug: a loop, a global, two threads, an exit status.
#include <pthread.h>
#include <stdio.h>

int total;
double half = 0.5;

__attribute__((noinline)) int add(int a, int b)
{
	total += a;
	return a + b;
}

static void *other(void *arg)
{
	return arg;
}

int main(void)
{
	int sum = 0;

	for (int i = 1; i <= 5; i++)
		sum = add(i, sum);
	pthread_t t;
	pthread_create(&t, NULL, other, NULL);
	pthread_join(t, NULL);
	printf("sum %d total %d\n", sum, total);
	return 7;
}
