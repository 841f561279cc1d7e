// SPDX-License-Identifier: Apache-2.0
// Open the keys with a WRPKRU of one's own (rule 6).
#include "attack.h"

int attack(void)
{
	int round;

	/* An interrupt between the two steps closes the keys again. */
	for (round = 0; round < 1000; round++) {
		if (TRY(asm volatile(".byte 0x0f, 0x01, 0xef" : : "a"(0), "c"(0), "d"(0) : "memory")))
			return STOPPED;
		if (inside())
			GAINED("the user's own wrpkru opens the kernel's memory");
	}
	return STOPPED;
}
