/* SPDX-License-Identifier: Apache-2.0 */
/* Seccomp sees calls from rewritten sites as it sees them from plain ones: address, number, SIGSYS and what a handler changes. */
#include "site.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

#ifndef SYS_SECCOMP
#define SYS_SECCOMP 1
#endif

static volatile uintptr_t call_addr, ip;
static volatile int call_nr;

static void on_sys(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)sig;
	call_addr = (uintptr_t)info->si_call_addr;
	call_nr = info->si_syscall;
	ip = uc->uc_mcontext.gregs[REG_RIP];
	uc->uc_mcontext.gregs[REG_RAX] = 4711;
}

#define TRAPPED SYS_getpgid
#define BY_ADDRESS SYS_getsid

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_sigaction = on_sys, .sa_flags = SA_SIGINFO };
	const struct site *one = &sites[2];

	start(argc, argv);
	for (size_t i = 0; i < SITES; i++)
		for (int n = 0; n < 10; n++)
			CHECK(ask(&sites[i]) == getppid(), "%s", sites[i].name);
	MUST(sigaction(SIGSYS, &sa, NULL));
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, TRAPPED, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, BY_ADDRESS, 0, 3),
		/* An error that only the right address gives. */
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, instruction_pointer)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(uintptr_t)one->next, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 77),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { sizeof filter / sizeof *filter, filter };

	MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	MUST(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog));
	struct calls before = calls();

	for (int n = 0; n < 500; n++)
		for (size_t i = 0; i < SITES; i++) {
			const struct site *s = &sites[i];

			CHECK(ask(s) == getppid(), "%s under seccomp", s->name);
			if (!s->any || n >= 50)
				continue;
			call_addr = ip = 0;
			CHECK(call_site(s, TRAPPED, 0, 0, 0) == 4711, "%s: result of the handler", s->name);
			CHECK(call_addr == (uintptr_t)s->next && ip == call_addr && call_nr == TRAPPED,
			      "%s: si_call_addr %lx, ip %lx, next instruction %p, number %d", s->name, call_addr, ip, s->next, call_nr);
			long got = call_site(s, BY_ADDRESS, 0, 0, 0);

			CHECK((got == -77) == (s == one), "%s: filter by address: %ld", s->name, got);
		}
	struct calls after = calls();

	if (rewritten)
		CHECK(after.gate - before.gate > 10 * (after.trap - before.trap), "%lu calls by the gate, %lu by trap",
		      after.gate - before.gate, after.trap - before.trap);
	return 0;
}
