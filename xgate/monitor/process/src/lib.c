/* SPDX-License-Identifier: Apache-2.0 */
/* What the compiler expects of a C library, and the ways to end a cell. */
#include "host.h"

void *memcpy(void *to, const void *from, unsigned long n)
{
	void *start = to;

	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
	return start;
}

void *memset(void *to, int byte, unsigned long n)
{
	void *start = to;

	__asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(byte) : "memory");
	return start;
}

unsigned long text_len(const char *s)
{
	unsigned long n = 0;

	while (s[n])
		n++;
	return n;
}

/* text_number writes value as text of at most 20 characters, with a NUL. */
void text_number(char *to, u64 value, int base)
{
	char digits[24];
	int n = 0;

	do {
		digits[n++] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value);
	while (n)
		*to++ = digits[--n];
	*to = 0;
}

/*
 * process_exit ends this process. If the filter does not even let it do that, a
 * fault at the low end of the signal stack does: the frame does not fit.
 */
noreturn void process_exit(int status)
{
	host_syscall(__NR_exit_group, (long)status);
	for (;;)
		__asm__ volatile("mov %0, %%rsp; ud2" : : "r"(altstack + 256));
}

/*
 * await_ending lets the one that was first finish what it writes; it may also
 * have been killed on the way.
 */
static void await_ending(void)
{
	static const struct timespec second = { 1, 0 };

	while (!atomic_load(&control->exit_reason))
		if (futex_wait(&control->exit_reason, 0, &second) == -HOST_ETIMEDOUT)
			return;
}

/* cell_end says why the cell ends, unless somebody has already, and ends it. */
noreturn void cell_end(u32 reason, int code, s64 detail, const char *text)
{
	unsigned long n;

	if (!__atomic_exchange_n(&control->exit_claim, 1, __ATOMIC_SEQ_CST)) {
		control->exit_code = code;
		control->exit_detail = detail;
		/* The kernel may have left a text of its own before CallExit. */
		n = text ? text_len(text) : 0;
		if (n >= sizeof(control->exit_msg))
			n = sizeof(control->exit_msg) - 1;
		if (n) {
			memcpy(control->exit_msg, text, n);
			control->exit_msg[n] = 0;
		}
		/* Last: the warden ends as soon as it sees it, and this process with it. */
		atomic_store(&control->exit_reason, reason);
		futex_wake(&control->exit_reason, PARACELL_MAX_SLOTS);
	}
	await_ending();
	/* The host ends every process of the cell with the warden. */
	if (my_slot == ~0U)
		process_exit(0);
	/* Nobody says why, so the warden has to find a process lost. */
	if (!atomic_load(&control->exit_reason))
		process_exit(1);
	warden_poke();
	for (;;)
		futex_wait(&control->exit_reason, atomic_load(&control->exit_reason), 0);
}

noreturn void broken(int line, const char *text)
{
	cell_end(PARACELL_REASON_MONITOR, 0, line, text);
}
