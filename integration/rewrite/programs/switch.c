/* SPDX-License-Identifier: Apache-2.0 */
/* A process can have its sites left alone, for itself, its children and what they execute, and change its mind. */
#include "site.h"

#define ARCH_SET_REWRITE 0x50430001
#define ARCH_GET_REWRITE 0x50430002

static struct calls of_thousand(void)
{
	struct calls a = calls(), b;

	for (int n = 0; n < 200; n++)
		for (size_t i = 0; i < SITES; i++)
			CHECK(ask(&sites[i]) == getppid(), "%s", sites[i].name);
	b = calls();
	return (struct calls){ b.gate - a.gate, b.trap - a.trap };
}

int main(int argc, char **argv)
{
	start(argc, argv);
	if (!in_cell())
		SKIP("not in a cell");
	if (argc > 2 && !strcmp(argv[2], "child"))
		return of_thousand().gate ? 1 : 2;
	struct calls c = of_thousand();

	if (rewritten)
		CHECK(c.gate > c.trap, "%lu calls by the gate, %lu by trap", c.gate, c.trap);
	MUST(syscall(SYS_arch_prctl, ARCH_SET_REWRITE, 0));
	CHECK(syscall(SYS_arch_prctl, ARCH_GET_REWRITE, 0) == 0, "still on");
	c = of_thousand();
	CHECK(c.gate == 0 && c.trap >= 1000, "off: %lu calls by the gate, %lu by trap", c.gate, c.trap);
	pid_t pid = MUST(fork());

	if (!pid) {
		c = of_thousand();
		if (c.gate)
			_exit(1);
		execl("/proc/self/exe", argv[0], argc > 1 ? argv[1] : "-", "child", NULL);
		_exit(3);
	}
	CHECK(reap(pid) == 2, "a child's calls went by the gate");
	MUST(syscall(SYS_arch_prctl, ARCH_SET_REWRITE, 1));
	c = of_thousand();
	if (rewritten)
		CHECK(syscall(SYS_arch_prctl, ARCH_GET_REWRITE, 0) == 1 && c.gate > c.trap,
		      "on again: %lu calls by the gate, %lu by trap", c.gate, c.trap);
	return 0;
}
