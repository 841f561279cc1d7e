// SPDX-License-Identifier: Apache-2.0
// A program at a fixed address with much data and more than 1 GiB of bss.
#include <stdio.h>

static char zero[1200ul << 20];
static char data[16 << 20] = { 1 };

int main(void)
{
	unsigned long sum = 0;

	for (unsigned long i = 0; i < sizeof zero; i += 1 << 20)
		zero[i] = i >> 20;
	for (unsigned long i = 0; i < sizeof zero; i += 1 << 20)
		sum += (unsigned char)zero[i];
	for (unsigned long i = 0; i < sizeof data; i += 4096)
		sum += data[i];
	printf("%p %p %p %lu\n", (void *)main, (void *)zero, (void *)data, sum);
	return 0;
}
