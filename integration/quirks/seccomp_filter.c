// SPDX-License-Identifier: Apache-2.0
// Seccomp filters on the guest's own system calls: every action, what a filter
// sees, and that filters are inherited and add up.
#include "quirk.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <ucontext.h>

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define RET(action) BPF_STMT(BPF_RET | BPF_K, action)
#define IF_EQ(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, yes, no)

static long install(struct sock_filter *code, size_t n, unsigned flags)
{
	struct sock_fprog prog = { n, code };

	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);
}

/* A filter that does action on one call and allows the rest. */
static long act_on(long nr, uint32_t action, unsigned flags)
{
	struct sock_filter code[] = {
		LOAD(arch), IF_EQ(AUDIT_ARCH_X86_64, 1, 0), RET(SECCOMP_RET_KILL_PROCESS),
		LOAD(nr), IF_EQ(nr, 0, 1), RET(action), RET(SECCOMP_RET_ALLOW),
	};
	long r = install(code, sizeof code / sizeof *code, flags);

	CHECK(r >= 0, "seccomp: %s", strerror(errno));
	return r;
}

static int in_child(void (*f)(void))
{
	pid_t pid = MUST(fork());

	if (!pid) {
		MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
		f();
		_exit(0);
	}
	return reap(pid);
}

static void errno_action(void)
{
	act_on(SYS_getppid, SECCOMP_RET_ERRNO | 42, 0);
	CHECK(syscall(SYS_getppid) == -1 && errno == 42, "SECCOMP_RET_ERRNO: %s", strerror(errno));
	CHECK(syscall(SYS_getuid) != -1, "another call is refused too");
	/* Filters add up, the strictest answer wins; children inherit. */
	act_on(SYS_getuid, SECCOMP_RET_ERRNO | 43, 0);
	pid_t pid = MUST(fork());
	if (!pid)
		_exit(!(syscall(SYS_getppid) == -1 && errno == 42 && syscall(SYS_getuid) == -1 && errno == 43));
	CHECK(reap(pid) == 0, "filters are not inherited");
}

static void arguments(void)
{
	struct sock_filter code[] = {
		LOAD(nr), IF_EQ(SYS_lseek, 0, 5),
		LOAD(args[1]), IF_EQ(0x89abcdef, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1]) + 4), IF_EQ(0x01234567, 0, 1),
		RET(SECCOMP_RET_ERRNO | 44), RET(SECCOMP_RET_ALLOW),
	};

	CHECK(install(code, sizeof code / sizeof *code, 0) == 0, "seccomp: %s", strerror(errno));
	CHECK(syscall(SYS_lseek, -1, 0x0123456789abcdefl, 0) == -1 && errno == 44, "matching 64-bit argument: %s", strerror(errno));
	CHECK(syscall(SYS_lseek, -1, 0x0123456889abcdefl, 0) == -1 && errno == EBADF, "other upper half: %s", strerror(errno));
}

static volatile int trap_nr, trap_code, trap_errno;
static volatile unsigned trap_arch;
static volatile uintptr_t trap_addr, trap_rip;

static void on_sigsys(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)sig;
	trap_nr = info->si_syscall;
	trap_code = info->si_code;
	trap_arch = info->si_arch;
	trap_errno = info->si_errno;
	trap_addr = (uintptr_t)info->si_call_addr;
	trap_rip = uc->uc_mcontext.gregs[REG_RIP];
	CHECK(uc->uc_mcontext.gregs[REG_RAX] == SYS_getppid, "rax in the frame is %lld", uc->uc_mcontext.gregs[REG_RAX]);
	uc->uc_mcontext.gregs[REG_RAX] = 4711;
}

static void trap_action(void)
{
	struct sigaction sa = { .sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO };
	uintptr_t behind;
	long r = SYS_getppid;

	MUST(sigaction(SIGSYS, &sa, NULL));
	act_on(SYS_getppid, SECCOMP_RET_TRAP | 7, 0);
	asm volatile("lea 1f(%%rip), %[behind]\n syscall\n 1:\n" : "+a"(r), [behind] "=&r"(behind) : : "rcx", "r11", "memory");
	CHECK(r == 4711, "the handler's result is lost: %ld", r);
	CHECK(trap_nr == SYS_getppid && trap_code == 1 /* SYS_SECCOMP */ && trap_errno == 7, "nr %d code %d errno %d", trap_nr, trap_code, trap_errno);
	CHECK(trap_arch == AUDIT_ARCH_X86_64, "arch %#x", trap_arch);
	CHECK(trap_addr == behind && trap_rip == behind, "address %#lx, rip %#lx, want %#lx", trap_addr, trap_rip, behind);
}

static void kill_process(void)
{
	act_on(SYS_getppid, SECCOMP_RET_KILL_PROCESS, 0);
	syscall(SYS_getppid);
}

/* The filter sees where a call comes from. */
static void instruction_pointer(void)
{
	long r = SYS_getppid;
	extern const char behind_call[];
	uintptr_t at = (uintptr_t)behind_call;
	struct sock_filter code[] = {
		LOAD(nr), IF_EQ(SYS_getppid, 0, 5),
		LOAD(instruction_pointer), IF_EQ((uint32_t)at, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, instruction_pointer) + 4), IF_EQ((uint32_t)(at >> 32), 0, 1),
		RET(SECCOMP_RET_ERRNO | 45), RET(SECCOMP_RET_ALLOW),
	};

	CHECK(install(code, sizeof code / sizeof *code, 0) == 0, "seccomp: %s", strerror(errno));
	asm volatile("syscall\n behind_call:\n" : "+a"(r) : : "rcx", "r11", "memory");
	CHECK(r == -45, "a filter on the instruction pointer does not match: %ld", r);
	CHECK(syscall(SYS_getppid) > 0, "a call from elsewhere matches");
}

static void notification(void)
{
	int fd = act_on(SYS_getppid, SECCOMP_RET_USER_NOTIF, SECCOMP_FILTER_FLAG_NEW_LISTENER);
	pid_t pid = MUST(fork());

	if (!pid)
		_exit(syscall(SYS_getppid) == 815 ? 0 : 1);
	struct seccomp_notif req = { 0 };
	MUST(ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &req));
	CHECK(req.data.nr == SYS_getppid && req.pid == (unsigned)pid, "notified of call %d of %u", req.data.nr, req.pid);
	struct seccomp_notif_resp resp = { .id = req.id, .val = 815 };
	MUST(ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &resp));
	CHECK(reap(pid) == 0, "the supervised call's result is wrong");
}

static void traced(void)
{
	pid_t pid = MUST(fork());
	int status;
	unsigned long msg;

	if (!pid) {
		MUST(ptrace(PTRACE_TRACEME, 0, 0, 0));
		raise(SIGSTOP);
		act_on(SYS_getppid, SECCOMP_RET_TRACE | 99, 0);
		_exit(syscall(SYS_getppid) > 0 ? 0 : 1);
	}
	CHECK(waitpid(pid, &status, 0) == pid && WIFSTOPPED(status), "no stop: %#x", status);
	MUST(ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESECCOMP | PTRACE_O_EXITKILL));
	MUST(ptrace(PTRACE_CONT, pid, 0, 0));
	CHECK(waitpid(pid, &status, 0) == pid && status >> 8 == (SIGTRAP | PTRACE_EVENT_SECCOMP << 8), "no seccomp stop: %#x", status);
	MUST(ptrace(PTRACE_GETEVENTMSG, pid, 0, &msg));
	CHECK(msg == 99, "event message %lu, want 99", msg);
	MUST(ptrace(PTRACE_CONT, pid, 0, 0));
	CHECK(reap(pid) == 0, "the traced call failed");
}

int main(void)
{
	CHECK(prctl(PR_GET_SECCOMP) == 0 || !in_cell(), "a filter is in place already");
	CHECK(in_child(errno_action) == 0, "SECCOMP_RET_ERRNO");
	CHECK(in_child(arguments) == 0, "arguments");
	CHECK(in_child(trap_action) == 0, "SECCOMP_RET_TRAP");
	int status = in_child(kill_process);
	CHECK(status == 128 + SIGSYS, "SECCOMP_RET_KILL_PROCESS: ended with %d", status);
	CHECK(in_child(instruction_pointer) == 0, "instruction pointer");
	CHECK(in_child(notification) == 0, "SECCOMP_RET_USER_NOTIF");
	CHECK(in_child(traced) == 0, "SECCOMP_RET_TRACE");
	puts("ok");
	return 0;
}
