// SPDX-License-Identifier: Apache-2.0
// Switch the interception of system calls off, then call the host (rule 5):
// write to a file that only the cell's host processes have open.
#include "attack.h"

enum { HOST_CONSOLE = 4 };

int attack(void)
{
	static const char text[] = "a call of the host\n";
	volatile uint8_t *selector = (uint8_t *)value("monitor.selector");
	long result = -1;

	if (*selector != 1)
		GAINED("the selector is %d while the user runs", *selector);
	close(HOST_CONSOLE);
	if (TRY(*selector = 0; asm volatile("syscall" : "=a"(result) : "a"(SYS_write), "D"(HOST_CONSOLE), "S"(text), "d"(sizeof text - 1)
					    : "rcx", "r11", "memory")))
		return STOPPED;
	GAINED("wrote the selector, and %ld bytes to the host", result);
}
