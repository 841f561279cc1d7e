// SPDX-License-Identifier: Apache-2.0
// Micro benchmarks of what an operating system does for a program. Every round
// runs every benchmark once, so that a noisy minute hits all alike; the result
// is the median over the rounds, as JSON on standard output.
//
//	micro [-r rounds] [-s percent] [-f name-part] [-d folder] [-l]
//
// -s scales the number of iterations, -d names the folder for the test file
// (default /tmp), -l lists the benchmarks.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096ul
#define AT_PARACELL_GATE 0x5043 /* auxiliary vector: address of the system-call gate */
#define MUST(expr)                                                                          \
	({                                                                                  \
		__typeof__(expr) must_ = (expr);                                            \
		if ((intptr_t)must_ == -1) {                                                \
			fprintf(stderr, "micro: %s: %s\n", #expr, strerror(errno));         \
			exit(1);                                                            \
		}                                                                           \
		must_;                                                                      \
	})

static uint64_t gate;
static const char *folder = "/tmp";

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

/* A system call by instruction, whatever libc does. */
static inline long raw_call(long nr, long a, long b, long c)
{
	asm volatile("syscall" : "+a"(nr) : "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
	return nr;
}

/* A system call through the gate: the return address goes in rcx. */
static inline long gate_call4(long nr, long a, long b, long c, long d)
{
	register long r10 asm("r10") = d;

	asm volatile("lea 1f(%%rip), %%rcx\n jmp *%[gate]\n 1:"
		     : "+a"(nr)
		     : "D"(a), "S"(b), "d"(c), "r"(r10), [gate] "r"(gate)
		     : "rcx", "r11", "memory");
	return nr;
}

static inline long gate_call(long nr, long a, long b, long c)
{
	return gate_call4(nr, a, b, c, 0);
}

/* A benchmark does n operations and returns the nanoseconds they took; what it
 * prepares and clears away is not in that. */
#define MEASURE(n, statement)                  \
	({                                     \
		double start_ = now();         \
		for (long i = 0; i < (n); i++) \
			statement;             \
		now() - start_;                \
	})

static double getpid_gate(long n) { return MEASURE(n, gate_call(SYS_getpid, 0, 0, 0)); }
static double getpid_raw(long n) { return MEASURE(n, raw_call(SYS_getpid, 0, 0, 0)); }

static double write_null(long n)
{
	int fd = MUST(open("/dev/null", O_WRONLY));
	double t = MEASURE(n, write(fd, "", 1));

	close(fd);
	return t;
}

static double write_null_gate(long n)
{
	int fd = MUST(open("/dev/null", O_WRONLY));
	double t = MEASURE(n, gate_call(SYS_write, fd, (long)"", 1));

	close(fd);
	return t;
}

static double read_zero(long n)
{
	int fd = MUST(open("/dev/zero", O_RDONLY));
	char c;
	double t = MEASURE(n, read(fd, &c, 1));

	close(fd);
	return t;
}

static double read_zero_gate(long n)
{
	int fd = MUST(open("/dev/zero", O_RDONLY));
	char c;
	double t = MEASURE(n, gate_call(SYS_read, fd, (long)&c, 1));

	close(fd);
	return t;
}

static double clock_gettime_vdso(long n)
{
	struct timespec ts;

	return MEASURE(n, clock_gettime(CLOCK_MONOTONIC, &ts));
}

/* Two processes, one byte there and back. */
static double pipe_pingpong(long n)
{
	int there[2], back[2];
	char c = 0;

	MUST(pipe(there));
	MUST(pipe(back));
	pid_t pid = MUST(fork());
	if (!pid) {
		for (long i = 0; i < n; i++)
			if (read(there[0], &c, 1) != 1 || write(back[1], &c, 1) != 1)
				_exit(1);
		_exit(0);
	}
	double t = MEASURE(n, ({
		MUST(write(there[1], &c, 1));
		MUST(read(back[0], &c, 1));
	}));
	waitpid(pid, NULL, 0);
	close(there[0]), close(there[1]), close(back[0]), close(back[1]);
	return t;
}

static void futex_wait_for(uint32_t *word, uint32_t value)
{
	for (uint32_t seen; (seen = __atomic_load_n(word, __ATOMIC_ACQUIRE)) != value;)
		syscall(SYS_futex, word, FUTEX_WAIT, seen, NULL, NULL, 0);
}

static void futex_set(uint32_t *word, uint32_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
	syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static double futex_pingpong(long n)
{
	uint32_t *word = MUST(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	pid_t pid = MUST(fork());

	if (!pid) {
		for (long i = 0; i < n; i++) {
			futex_wait_for(word, 2 * i + 1);
			futex_set(word, 2 * i + 2);
		}
		_exit(0);
	}
	double t = MEASURE(n, ({
		futex_set(word, 2 * i + 1);
		futex_wait_for(word, 2 * i + 2);
	}));
	waitpid(pid, NULL, 0);
	munmap(word, PAGE);
	return t;
}

/* Two processes on one processor hand it to each other; n switches. */
static double context_switch(long n)
{
	cpu_set_t all, one;
	int cpu = MUST(sched_getcpu());

	MUST(sched_getaffinity(0, sizeof all, &all));
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	MUST(sched_setaffinity(0, sizeof one, &one));
	pid_t pid = MUST(fork());
	if (!pid) {
		for (;;)
			sched_yield();
	}
	double t = MEASURE(n / 2, sched_yield());
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	sched_setaffinity(0, sizeof all, &all);
	return t;
}

static double fork_exit(long n)
{
	return MEASURE(n, ({
		pid_t pid = MUST(fork());
		if (!pid)
			_exit(0);
		waitpid(pid, NULL, 0);
	}));
}

static double fork_exec(long n)
{
	return MEASURE(n, ({
		pid_t pid = MUST(fork());
		if (!pid) {
			execl("/proc/self/exe", "micro", "exit", NULL);
			_exit(1);
		}
		waitpid(pid, NULL, 0);
	}));
}

static void *return_at_once(void *arg) { return arg; }

static double thread_create(long n)
{
	return MEASURE(n, ({
		pthread_t t;
		if (pthread_create(&t, NULL, return_at_once, NULL))
			abort();
		pthread_join(t, NULL);
	}));
}

static double anon_touch(long n)
{
	char *p = MUST(mmap(NULL, n * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));

	madvise(p, n * PAGE, MADV_NOHUGEPAGE);
	double t = MEASURE(n, ((volatile char *)p)[i * PAGE] = 1);
	munmap(p, n * PAGE);
	return t;
}

static double anon_unmap(long n)
{
	char *p = MUST(mmap(NULL, n * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));

	madvise(p, n * PAGE, MADV_NOHUGEPAGE);
	for (long i = 0; i < n; i++)
		p[i * PAGE] = 1;
	return MEASURE(1, munmap(p, n * PAGE));
}

/* A file of n pages in the page cache; it is made once and kept. */
static int cached_file(long pages)
{
	static int fd = -1;
	static long have;
	static char block[1 << 16];

	if (fd < 0) {
		char path[4096];
		snprintf(path, sizeof path, "%s/micro.XXXXXX", folder);
		fd = MUST(mkstemp(path));
		unlink(path);
		memset(block, 1, sizeof block);
	}
	for (; have < pages; have += sizeof block / PAGE)
		MUST(pwrite(fd, block, sizeof block, have * PAGE));
	return fd;
}

static double file_touch(long n)
{
	char *p = MUST(mmap(NULL, n * PAGE, PROT_READ, MAP_SHARED, cached_file(n), 0));
	double t = MEASURE(n, (void)((volatile char *)p)[i * PAGE]);

	munmap(p, n * PAGE);
	return t;
}

static double mmap_munmap(long n)
{
	return MEASURE(n, ({
		char *p = MUST(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
		munmap(p, PAGE);
	}));
}

static double mmap_touch_munmap(long n)
{
	return MEASURE(n, ({
		volatile char *p = MUST(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
		*p = 1;
		munmap((void *)p, PAGE);
	}));
}

static double stat_file(long n)
{
	struct stat st;

	return MEASURE(n, MUST(stat("/proc/self/exe", &st)));
}

static double open_read_close(long n)
{
	char path[64], c[64];

	snprintf(path, sizeof path, "/proc/self/fd/%d", cached_file(16));
	return MEASURE(n, ({
		int fd = MUST(open(path, O_RDONLY));
		MUST(read(fd, c, sizeof c));
		close(fd);
	}));
}

static double pread_4k(long n)
{
	static char buf[PAGE];
	int fd = cached_file(1024);

	return MEASURE(n, MUST(pread(fd, buf, PAGE, i % 1024 * PAGE)));
}

static double pread_4k_gate(long n)
{
	static char buf[PAGE];
	int fd = cached_file(1024);

	return MEASURE(n, gate_call4(SYS_pread64, fd, (long)buf, PAGE, i % 1024 * PAGE));
}

static volatile long signals;
static void on_signal(int sig) { (void)sig; signals++; }

static double signal_handler(long n)
{
	pid_t pid = getpid(), tid = gettid();

	signal(SIGUSR1, on_signal);
	return MEASURE(n, syscall(SYS_tgkill, pid, tid, SIGUSR1));
}

static void on_fault(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	mprotect((void *)((uintptr_t)info->si_addr & -PAGE), PAGE, PROT_READ | PROT_WRITE);
}

/* Write-protect, fault, unprotect in the handler: a garbage collector's barrier. */
static double mprotect_fault(long n)
{
	struct sigaction sa = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO }, old;
	volatile char *p = MUST(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));

	sigaction(SIGSEGV, &sa, &old);
	*p = 1;
	double t = MEASURE(n, ({
		mprotect((void *)p, PAGE, PROT_READ);
		*p = 2;
	}));
	sigaction(SIGSEGV, &old, NULL);
	munmap((void *)p, PAGE);
	return t;
}

static const struct bench {
	const char *name;
	double (*run)(long n);
	long n;
	int needs_gate;
} benches[] = {
	{ "getpid_gate", getpid_gate, 300000, 1 },
	{ "getpid_raw", getpid_raw, 100000, 0 },
	{ "write_1_byte", write_null, 100000, 0 },
	{ "write_1_byte_gate", write_null_gate, 300000, 1 },
	{ "read_1_byte", read_zero, 100000, 0 },
	{ "read_1_byte_gate", read_zero_gate, 300000, 1 },
	{ "clock_gettime", clock_gettime_vdso, 300000, 0 },
	{ "pipe_pingpong", pipe_pingpong, 5000, 0 },
	{ "futex_pingpong", futex_pingpong, 5000, 0 },
	{ "context_switch", context_switch, 20000, 0 },
	{ "fork_exit", fork_exit, 200, 0 },
	{ "fork_exec", fork_exec, 100, 0 },
	{ "thread_create_join", thread_create, 500, 0 },
	{ "anon_first_touch_4k", anon_touch, 8192, 0 },
	{ "anon_unmap_4k", anon_unmap, 8192, 0 },
	{ "file_first_touch_4k", file_touch, 4096, 0 },
	{ "mmap_munmap", mmap_munmap, 10000, 0 },
	{ "mmap_touch_munmap", mmap_touch_munmap, 5000, 0 },
	{ "stat", stat_file, 20000, 0 },
	{ "open_read_close", open_read_close, 10000, 0 },
	{ "pread_4k", pread_4k, 20000, 0 },
	{ "pread_4k_gate", pread_4k_gate, 20000, 1 },
	{ "signal_handler", signal_handler, 10000, 0 },
	{ "mprotect_fault", mprotect_fault, 3000, 0 },
};
enum { BENCHES = sizeof benches / sizeof *benches, MAX_ROUNDS = 101 };

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	static double ns[BENCHES][MAX_ROUNDS];
	const char *part = "";
	int rounds = 7, percent = 100, list = 0;

	if (argc == 2 && !strcmp(argv[1], "exit"))
		_exit(0); /* the program that fork_exec starts */
	for (int opt; (opt = getopt(argc, argv, "r:s:f:d:l")) != -1;) {
		switch (opt) {
		case 'r': rounds = atoi(optarg); break;
		case 's': percent = atoi(optarg); break;
		case 'f': part = optarg; break;
		case 'd': folder = optarg; break;
		case 'l': list = 1; break;
		default: return 2;
		}
	}
	if (rounds < 1 || rounds > MAX_ROUNDS || percent < 1) {
		fprintf(stderr, "micro: 1 to %d rounds of at least 1 %%\n", MAX_ROUNDS);
		return 2;
	}
	gate = getauxval(AT_PARACELL_GATE);
	int chosen[BENCHES], nchosen = 0;
	for (int b = 0; b < BENCHES; b++)
		if (strstr(benches[b].name, part) && (gate || !benches[b].needs_gate))
			chosen[nchosen++] = b;
	if (list) {
		for (int i = 0; i < nchosen; i++)
			puts(benches[chosen[i]].name);
		return 0;
	}

	for (int r = 0; r < rounds; r++)
		for (int i = 0; i < nchosen; i++) {
			const struct bench *b = &benches[chosen[i]];
			long n = b->n * percent / 100 < 2 ? 2 : b->n * percent / 100;
			b->run(n / 10 + 1); /* warm up */
			ns[i][r] = b->run(n) / n;
		}

	printf("{\"rounds\": %d, \"gate\": %s, \"results\": [", rounds, gate ? "true" : "false");
	for (int i = 0; i < nchosen; i++) {
		qsort(ns[i], rounds, sizeof **ns, by_value);
		double iqr = ns[i][rounds * 3 / 4] - ns[i][rounds / 4];
		printf("%s\n  {\"name\": \"%s\", \"unit\": \"ns\", \"median\": %.1f, \"min\": %.1f, \"iqr\": %.1f}",
		       i ? "," : "", benches[chosen[i]].name, ns[i][rounds / 2], ns[i][0], iqr);
	}
	printf("\n]}\n");
	return 0;
}
