/* SPDX-License-Identifier: Apache-2.0 */
/* fork, vfork, clone, execve and exit at rewritten sites, and threads that meet at one site while it is rewritten. */
#include "site.h"

#define THREADS 8

static pthread_barrier_t gather;
static char *fresh;	/* a site that nobody has used */

static void *meet(void *arg)
{
	long (*f)(long) = (void *)fresh;

	pthread_barrier_wait(&gather);
	for (int i = 0; i < 2000; i++) {
		long got = f(SYS_getpid);

		if (got != getpid())
			return arg; /* not NULL */
		if (i % 100 == 0)
			sched_yield();
	}
	return NULL;
}

/* The text of this program once more, as a second file: every site is new again. */
static void second_copy(void)
{
	char name[] = "/tmp/copyXXXXXX";
	int from = MUST(open("/proc/self/exe", O_RDONLY)), to = MUST(mkstemp(name));
	static char buf[1 << 16];
	ssize_t n;

	while ((n = MUST(read(from, buf, sizeof buf))) > 0)
		MUST(write(to, buf, n));
	close(to);
	to = MUST(open(name, O_RDONLY));
	unlink(name);
	Elf64_Ehdr eh;
	Elf64_Phdr ph;

	MUST(pread(from, &eh, sizeof eh, 0));
	for (int i = 0; i < eh.e_phnum; i++) {
		MUST(pread(from, &ph, sizeof ph, eh.e_phoff + i * sizeof ph));
		if (ph.p_type != PT_LOAD || !(ph.p_flags & PF_X))
			continue;
		uint64_t off = ph.p_offset & ~4095ul;
		char *at = MUST(mmap(NULL, ph.p_offset - off + ph.p_filesz, PROT_READ | PROT_EXEC, MAP_PRIVATE, to, off));

		fresh = at + (ret_any - (char *)(ph.p_vaddr & ~4095ul));
	}
	close(to);
	close(from);
}

static long raw_fork(const struct site *s)
{
	return call_site(s, SYS_fork, 0, 0, 0);
}

/* The child shares the parent's memory and borrows its stack. */
static __attribute__((noinline)) pid_t vfork_and_ask(const struct site *s, pid_t self)
{
	pid_t pid = vfork();

	if (!pid)
		_exit(ask(s) == self ? 6 : 1);
	return pid;
}

int main(int argc, char **argv)
{
	start(argc, argv);
	if (argc > 2 && !strcmp(argv[2], "child"))
		return 7;
	pid_t self = getpid();

	for (size_t i = 0; i < SITES; i++) {
		const struct site *s = &sites[i];

		if (!s->any)
			continue;
		for (int n = 0; n < rounds(20); n++) {
			long pid = raw_fork(s);

			if (!pid) {
				if (ask(s) != self)
					call_site(s, SYS_exit_group, 1, 0, 0);
				call_site(s, SYS_exit_group, 5, 0, 0);
			}
			CHECK(pid > 0 && reap(pid) == 5, "%s: fork", s->name);
		}
		for (int n = 0; n < 5; n++) {
			long pid = raw_fork(s);

			if (!pid) {
				char *args[] = { argv[0], argc > 1 ? argv[1] : "-", "child", NULL };

				call_site(s, SYS_execve, (long)"/proc/self/exe", (long)args, 0);
				_exit(1);
			}
			CHECK(reap(pid) == 7, "%s: execve", s->name);
		}
		for (int n = 0; n < rounds(20); n++)
			CHECK(reap(vfork_and_ask(s, self)) == 6, "%s: vfork", s->name);
	}
	for (int round = 0; round < rounds(20); round++) {
		pthread_t t[THREADS];

		second_copy();
		pthread_barrier_init(&gather, NULL, THREADS);
		for (int i = 0; i < THREADS; i++)
			CHECK(!pthread_create(&t[i], NULL, meet, fresh), "pthread_create");
		for (int i = 0; i < THREADS; i++) {
			void *wrong;

			pthread_join(t[i], &wrong);
			CHECK(!wrong, "round %d: a thread got a wrong result", round);
		}
	}
	return 0;
}
