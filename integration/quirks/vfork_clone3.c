// SPDX-License-Identifier: Apache-2.0
// The ways to make a process besides fork: vfork, clone3 with its options,
// posix_spawn.
#include "quirk.h"
#include <linux/sched.h>
#include <poll.h>
#include <spawn.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

static volatile int shared;

static long clone3(struct clone_args *args) { return syscall(SYS_clone3, args, sizeof *args); }

static void test_vfork(void)
{
	for (volatile int i = 0; i < 200; i++) {
		volatile int exec = i & 1;
		shared = 0;
		pid_t pid = vfork();
		CHECK(pid >= 0, "vfork: %s", strerror(errno));
		if (pid == 0) {
			/* The parent sleeps until we are gone, whatever that takes. */
			for (int j = 0; j < 3; j++)
				syscall(SYS_sched_yield);
			shared = 1;
			if (exec) {
				char *const argv[] = { "vfork_clone3", "exit", NULL };
				syscall(SYS_execve, "/proc/self/exe", argv, NULL);
			}
			_exit(5);
		}
		CHECK(shared == 1, "round %d: vfork returned before the child was done", i);
		int status = reap(pid);
		CHECK(status == (exec ? 6 : 5), "round %d: the child ended with %d", i, status);
	}
	/* A vforked child that is killed frees its parent as well. */
	pid_t pid = vfork();
	if (pid == 0) {
		syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
		_exit(0);
	}
	CHECK(reap(pid) == 128 + SIGKILL, "a killed vfork child");
}

/* CLONE_VM on a stack of its own: the classic thread, made by hand. */
static void test_shared_memory(void)
{
	const size_t size = 64 << 10;
	char *stack = map_anon(size, PROT_READ | PROT_WRITE);
	pid_t parent_tid = 0, child_tid = -1;
	struct clone_args args = {
		.flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID | CLONE_CHILD_SETTID,
		.stack = (uintptr_t)stack,
		.stack_size = size,
		.parent_tid = (uintptr_t)&parent_tid,
		.child_tid = (uintptr_t)&child_tid,
		.exit_signal = SIGCHLD,
	};
	long pid;

	shared = 0;
	/* The child has no frame to return to: it does its work in place. */
	asm volatile("syscall\n"
		     "test %%rax, %%rax\n"
		     "jnz 1f\n"
		     "movl $77, %[shared]\n"
		     "mov $9, %%edi\n"
		     "mov %[exit], %%eax\n"
		     "syscall\n"
		     "1:\n"
		     : "=a"(pid), [shared] "+m"(shared)
		     : "0"((long)SYS_clone3), "D"(&args), "S"(sizeof args), [exit] "i"(SYS_exit)
		     : "rcx", "r11", "memory");
	CHECK(pid > 0, "clone3(CLONE_VM): %ld", pid);
	CHECK(reap(pid) == 9, "the clone's exit status");
	CHECK(shared == 77, "the clone's write is not seen: %d", shared);
	CHECK(parent_tid == pid, "CLONE_PARENT_SETTID: %d, want %ld", parent_tid, pid);
	CHECK(child_tid == 0, "CLONE_CHILD_CLEARTID left %d", child_tid);
}

static void ignore(int sig) { (void)sig; }

static void test_options(void)
{
	int pidfd = -1;
	struct clone_args args = { .flags = CLONE_PIDFD | CLONE_CLEAR_SIGHAND, .pidfd = (uintptr_t)&pidfd, .exit_signal = SIGCHLD };

	signal(SIGUSR1, ignore);
	long pid = clone3(&args);
	CHECK(pid >= 0, "clone3: %s", strerror(errno));
	if (!pid) {
		struct sigaction sa;
		sigaction(SIGUSR1, NULL, &sa);
		_exit(sa.sa_handler == SIG_DFL ? 3 : 4);
	}
	CHECK(pidfd >= 0, "CLONE_PIDFD gave no descriptor");
	struct pollfd p = { pidfd, POLLIN, 0 };
	CHECK(poll(&p, 1, 10000) == 1, "the pidfd does not become readable");
	siginfo_t info = { 0 };
	CHECK(waitid(P_PIDFD, pidfd, &info, WEXITED) == 0, "waitid(P_PIDFD): %s", strerror(errno));
	CHECK(info.si_pid == pid && info.si_status == 3, "pid %d status %d (4: CLONE_CLEAR_SIGHAND ignored)", info.si_pid, info.si_status);
	CHECK(fcntl(pidfd, F_GETFD) == FD_CLOEXEC, "the pidfd is not close-on-exec");
	close(pidfd);

	struct clone_args bad = { .flags = CLONE_THREAD };
	CHECK(clone3(&bad) == -1 && errno == EINVAL, "CLONE_THREAD without CLONE_SIGHAND was accepted");
	CHECK(syscall(SYS_clone3, &args, 8) == -1 && errno == EINVAL, "arguments of 8 bytes were accepted");
}

static void test_spawn(void)
{
	for (int i = 0; i < 100; i++) {
		char *argv[] = { "vfork_clone3", "exit", NULL };
		pid_t pid;
		CHECK(posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, NULL) == 0, "posix_spawn");
		CHECK(reap(pid) == 6, "the spawned program's exit status");
		CHECK(posix_spawn(&pid, "/nonexistent", NULL, NULL, argv, NULL) == ENOENT, "posix_spawn of nothing");
	}
}

int main(int argc, char **argv)
{
	(void)argv;
	if (argc > 1)
		_exit(6);
	test_vfork();
	test_shared_memory();
	test_options();
	test_spawn();
	puts("ok");
	return 0;
}
