// SPDX-License-Identifier: Apache-2.0
// Jump to the monitor's own syscall instructions (rule 5). The guest has to
// answer; if the host does, its filter ends the cell.
#include "attack.h"

static struct utsname ours, theirs;

int attack(void)
{
	uint64_t sites[16];
	int n = values("syscall", sites, 16);

	MUST(uname(&ours));
	for (int i = 0; i < n; i++) {
		jump_prepare(sites[i]);
		jump_in.ax = SYS_uname;
		jump_in.di = (uint64_t)&theirs;
		memset(&theirs, 0, sizeof theirs);
		if (TRY(jump_go()))
			GIVE_UP("a signal, not a call, at %#lx", sites[i]);
		if (jump_out.ax != 0 || memcmp(&ours, &theirs, sizeof ours) != 0)
			GAINED("uname at %#lx gives %ld, %s %s", sites[i], jump_out.ax, theirs.nodename, theirs.release);
		jump_prepare(sites[i]);
		jump_in.ax = SYS_getpid;
		jump_go();
		if ((pid_t)jump_out.ax != getpid())
			GAINED("getpid at %#lx gives %ld", sites[i], jump_out.ax);
	}
	return STOPPED;
}
