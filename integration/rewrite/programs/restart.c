/* SPDX-License-Identifier: Apache-2.0 */
/* Interrupted calls at rewritten sites are made again, or fail with EINTR, and the handler finds ip at the instruction or behind it. */
#include "site.h"

static volatile uint64_t found, found_cx;

static void on_signal(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)sig, (void)info;
	found = uc->uc_mcontext.gregs[REG_RIP];
	found_cx = uc->uc_mcontext.gregs[REG_RCX];
}

static const struct site mov_read_site = { "mov_read", mov_read, mov_read_syscall, mov_read_next, mov_read_end, 0 };

static long do_read(const struct site *s, int fd, char *buf)
{
	if (s->any)
		return call_site(s, SYS_read, fd, (long)buf, 1);
	return ((site_fn)(uintptr_t)s->code)(fd, (long)buf, 1, 0);
}

static void interrupt(const struct site *s, int flags)
{
	struct sigaction sa = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | flags };
	char c = 0;
	int p[2];

	MUST(sigaction(SIGUSR1, &sa, NULL));
	MUST(pipe(p));
	MUST(write(p[1], "x", 1));
	for (int n = 0; n < 3; n++) { /* rewritten by now */
		CHECK(do_read(s, p[0], &c) == 1, "%s: read", s->name);
		MUST(write(p[1], "x", 1));
	}
	do_read(s, p[0], &c);
	pid_t parent = getpid(), child = MUST(fork());

	if (!child) {
		char state[64] = "", path[64];

		/* Until the parent sleeps. */
		snprintf(path, sizeof path, "/proc/%d/wchan", parent);
		for (int n = 0; n < 20000 && !strstr(state, "pipe"); n++) {
			int fd = open(path, O_RDONLY);

			memset(state, 0, sizeof state);
			if (fd < 0 || read(fd, state, sizeof state - 1) <= 0)
				usleep(1000);
			close(fd);
			sched_yield();
		}
		usleep(20000);
		kill(parent, SIGUSR1);
		usleep(20000);
		if (write(p[1], "y", 1) != 1)
			_exit(1);
		_exit(0);
	}
	found = 0;
	long got = do_read(s, p[0], &c);

	CHECK(found, "%s: no signal", s->name);
	if (flags & SA_RESTART) {
		CHECK(got == 1 && c == 'y', "%s: read again: %ld", s->name, got);
		CHECK(found == (uintptr_t)s->syscall, "%s: ip %lx, instruction at %p", s->name, found, s->syscall);
	} else {
		CHECK(got == -EINTR, "%s: %ld instead of EINTR", s->name, got);
		CHECK(found == (uintptr_t)s->next, "%s: ip %lx, next instruction at %p", s->name, found, s->next);
		CHECK(found_cx == found, "%s: rcx %lx, ip %lx", s->name, found_cx, found);
	}
	CHECK(reap(child) == 0, "child");
	close(p[0]);
	close(p[1]);
}

/* A sleep goes on after a stop: the call is made again under another number. */
static void sleep_on(const struct site *s)
{
	struct timespec t = { 0, 100000000 };
	pid_t parent = getpid(), child = MUST(fork());
	uint64_t begin = now_ns();

	if (!child) {
		usleep(20000);
		kill(parent, SIGSTOP);
		usleep(20000);
		kill(parent, SIGCONT);
		_exit(0);
	}
	long got = call_site(s, SYS_nanosleep, (long)&t, 0, 0);

	CHECK(got == 0 && now_ns() - begin >= 100000000, "%s: nanosleep %ld after %lu ns", s->name, got, now_ns() - begin);
	CHECK(reap(child) == 0, "child");
}

int main(int argc, char **argv)
{
	start(argc, argv);
	for (size_t i = 0; i < SITES; i++) {
		const struct site *s = sites[i].any ? &sites[i] : &mov_read_site;

		interrupt(s, 0);
		interrupt(s, SA_RESTART);
		if (s->any)
			sleep_on(s);
	}
	return 0;
}
