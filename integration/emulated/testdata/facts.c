// SPDX-License-Identifier: Apache-2.0
// What a monitor may rely on in this machine. Prints the facts, fails when one
// of those it needs is missing.
#include "check.h"
#include <cpuid.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>

static uint64_t ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void cpu(void)
{
	uint32_t a, b, c, d, max;
	char vendor[13] = "";

	__cpuid(0, max, b, c, d);
	memcpy(vendor, &b, 4);
	memcpy(vendor + 4, &d, 4);
	memcpy(vendor + 8, &c, 4);
	__cpuid(1, a, b, c, d);
	printf("vendor %s, xsave %d, osxsave %d, avx %d\n", vendor, c >> 26 & 1, c >> 27 & 1, c >> 28 & 1);
	__cpuid_count(7, 0, a, b, c, d);
	printf("fsgsbase %d, avx2 %d, avx512f %d, pku %d, ospke %d, rdpid %d, la57 %d\n",
	       b & 1, b >> 5 & 1, b >> 16 & 1, c >> 3 & 1, c >> 4 & 1, c >> 22 & 1, c >> 16 & 1);
	CHECK(c >> 4 & 1, "protection keys are not enabled");
	CHECK(getauxval(AT_HWCAP2) & 2, "fsgsbase is not enabled for user code");
	__cpuid_count(13, 0, a, b, c, d);
	printf("xcr0 supported %#x, xsave area enabled %u, supported %u\n", a, b, c);
	CHECK(a >> 9 & 1, "PKRU is not in the XSAVE area");
	__cpuid_count(13, 1, a, b, c, d);
	printf("xsaveopt %d, xsavec %d, xgetbv1 %d, xsaves %d\n", a & 1, a >> 1 & 1, a >> 2 & 1, a >> 3 & 1);
	for (int i = 2; i < 19; i++) {
		__cpuid_count(13, i, a, b, c, d);
		if (a)
			printf("xstate %d: offset %u, size %u\n", i, b, a);
	}
	__cpuid(0x15, a, b, c, d);
	printf("cpuid 15h (TSC ratio): %u %u %u of max leaf %#x; AT_MINSIGSTKSZ %lu\n", a, b, c, max, getauxval(51));
}

static int in_child(int (*f)(void))
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(f());
	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid, "fork: %s", strerror(errno));
	return status;
}

static int filtered(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 42),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { 4, code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog))
		return 1;
	return !(syscall(SYS_getppid) == -1 && errno == 42);
}

static int namespaces(void)
{
	return unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP) ? errno : 0;
}

static volatile int ticks;
static void on_tick(int sig) { (void)sig; ticks++; }

static void timers(void)
{
	timer_t t;
	struct sigevent ev = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGALRM };
	struct itimerspec when = { .it_value = { 0, 2000000 }, .it_interval = { 0, 2000000 } };

	ev._sigev_un._tid = gettid();
	signal(SIGALRM, on_tick);
	CHECK(timer_create(CLOCK_MONOTONIC, &ev, &t) == 0, "timer_create: %s", strerror(errno));
	CHECK(timer_settime(t, 0, &when, NULL) == 0, "timer_settime: %s", strerror(errno));
	for (uint64_t end = ns() + 5000000000ull; ticks < 5 && ns() < end;)
		pause();
	CHECK(ticks >= 5, "the timer fired %d times", ticks);
	timer_delete(t);
}

int main(void)
{
	struct utsname u;
	uname(&u);
	printf("kernel %s %s\n", u.release, u.version);
	cpu();
	CHECK(in_child(filtered) == 0, "seccomp filters do not work");
	int status = in_child(namespaces);
	CHECK(status == 0, "unshare: %s", strerror(WEXITSTATUS(status)));
	timers();
	int fd = syscall(SYS_memfd_create, "x", 0);
	CHECK(fd >= 0 && ftruncate(fd, 1 << 20) == 0, "memfd: %s", strerror(errno));

	const int n = 20000;
	uint64_t t = ns();
	for (int i = 0; i < n; i++)
		syscall(SYS_getpid);
	printf("getpid %llu ns\n", (unsigned long long)(ns() - t) / n);
	volatile double x = 1;
	t = ns();
	for (int i = 0; i < 1000000; i++)
		x = x * 1.0000001;
	printf("1e6 dependent multiplications %llu us\n", (unsigned long long)(ns() - t) / 1000);
	unsigned char *p = mmap(NULL, 1024 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	t = ns();
	for (int i = 0; i < 1024; i++)
		p[i * PAGE] = 1;
	printf("first touch %llu ns/page\n", (unsigned long long)(ns() - t) / 1024);
	return 0;
}
