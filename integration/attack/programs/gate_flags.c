// SPDX-License-Identifier: Apache-2.0
// Go through the gate with flags that would trip the kernel (rule 4).
#include "attack.h"

enum { TF = 0x100, DF = 0x400, NT = 0x4000, AC = 0x40000, ID = 0x200000 };

int attack(void)
{
	static const uint64_t flags[] = { AC, DF, NT, ID, DF | NT, DF | NT | AC | ID };
	static char out[PAGE], in[PAGE];
	int fd[2];

	MUST(pipe(fd));
	for (size_t i = 0; i < sizeof out; i++)
		out[i] = i * 13;
	for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
		/* Some hosts lose flags on the way, whoever sets them. */
		uint64_t expected = flags[i] & ~value("lost_flags");

		jump_prepare(0);
		jump_in.flags = flags[i] | 2;
		if (TRY(gate(SYS_getpid, 0, 0, 0)))
			GAINED("flags %#lx: getpid ends in a signal", flags[i]);
		if (jump_out.ax != (uint64_t)getpid())
			GAINED("flags %#lx: getpid gives %ld", flags[i], jump_out.ax);
		/* Unaligned, and longer than a forward copy by chance. */
		if (gate(SYS_write, fd[1], (uint64_t)out + 1, 1234) != 1234 ||
		    gate(SYS_read, fd[0], (uint64_t)in + 3, 1234) != 1234 || memcmp(out + 1, in + 3, 1234))
			GAINED("flags %#lx: the kernel copies wrongly", flags[i]);
		if ((jump_out.flags & expected) != expected || (jump_out.flags & TF))
			GAINED("flags %#lx come back as %#lx", flags[i], jump_out.flags);
	}
	return STOPPED;
}
