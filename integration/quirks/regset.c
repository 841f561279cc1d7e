// SPDX-License-Identifier: Apache-2.0
// Register sets and system-call information through ptrace, as gdb and strace
// use them.
#include "quirk.h"
#include <elf.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>


static pid_t child;

static void wait_stop(int want)
{
	int status;

	CHECK(waitpid(child, &status, 0) == child, "waitpid: %s", strerror(errno));
	CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == want, "child's status %#x, want a stop by %d", status, want);
}

static size_t get_set(int set, void *buf, size_t size)
{
	struct iovec v = { buf, size };

	CHECK(ptrace(PTRACE_GETREGSET, child, set, &v) == 0, "PTRACE_GETREGSET %#x: %s", set, strerror(errno));
	return v.iov_len;
}

static void put_set(int set, void *buf, size_t size)
{
	struct iovec v = { buf, size };

	CHECK(ptrace(PTRACE_SETREGSET, child, set, &v) == 0, "PTRACE_SETREGSET %#x: %s", set, strerror(errno));
}

static const char pattern[16] = "pattern in xmm5.";
static const char changed[16] = "xmm5 by debugger";

/* The child stops itself with known registers and exits with what it finds. */
static void run_child(void)
{
	char out[16];
	uint64_t r12 = 0x1212121212121212, nr = SYS_tgkill;

	MUST(ptrace(PTRACE_TRACEME, 0, 0, 0));
	asm volatile("mov %[r12], %%r12\n movdqu %[in], %%xmm5\n"
		     "syscall\n"
		     "mov %%r12, %[r12]\n movdqu %%xmm5, %[out]\n"
		     : "+a"(nr), [r12] "+m"(r12), [out] "=m"(out)
		     : "D"(getpid()), "S"(gettid()), "d"(SIGSTOP), [in] "m"(pattern)
		     : "r12", "rcx", "r11", "xmm5", "memory");
	if (r12 != 0x3434343434343434)
		_exit(10);
	if (memcmp(out, changed, 16))
		_exit(11);
	syscall(SYS_getppid);
	syscall(SYS_write, -1l, 0x1234l, 77l);
	_exit(42);
}

static void expect_syscall(int op, uint64_t nr)
{
	struct __ptrace_syscall_info info = { 0 };
	struct user_regs_struct regs;

	MUST(ptrace(PTRACE_SYSCALL, child, 0, 0));
	wait_stop(SIGTRAP | 0x80);
	long size = ptrace(PTRACE_GET_SYSCALL_INFO, child, sizeof info, &info);
	CHECK(size > 0, "PTRACE_GET_SYSCALL_INFO: %s", strerror(errno));
	MUST(ptrace(PTRACE_GETREGS, child, 0, &regs));
	CHECK(info.op == op, "stop for op %d, want %d", info.op, op);
	CHECK(info.arch == 0xc000003e, "arch %#x, want x86-64", info.arch);
	CHECK(info.instruction_pointer == regs.rip, "instruction pointer %#llx, registers say %#llx", (unsigned long long)info.instruction_pointer, regs.rip);
	CHECK(info.stack_pointer == regs.rsp, "stack pointer %#llx, registers say %#llx", (unsigned long long)info.stack_pointer, regs.rsp);
	CHECK(regs.orig_rax == nr, "orig_rax %lld, want %lu", regs.orig_rax, nr);
	if (op == PTRACE_SYSCALL_INFO_ENTRY) {
		CHECK(info.entry.nr == nr, "entry of call %llu, want %lu", (unsigned long long)info.entry.nr, nr);
		if (nr == SYS_write)
			CHECK(info.entry.args[0] == (uint64_t)-1 && info.entry.args[1] == 0x1234 && info.entry.args[2] == 77, "arguments of write() are wrong");
	} else if (nr == SYS_write) {
		CHECK(info.exit.is_error && info.exit.rval == -EBADF, "result %lld, want -EBADF", (long long)info.exit.rval);
	} else {
		CHECK(!info.exit.is_error && info.exit.rval == getpid(), "result %lld, want %d", (long long)info.exit.rval, getpid());
	}
}

int main(void)
{
	static unsigned char xstate[32 << 10];
	struct user_regs_struct regs, copy;
	struct user_fpregs_struct fp;

	child = MUST(fork());
	if (!child)
		run_child();
	wait_stop(SIGSTOP);
	MUST(ptrace(PTRACE_SETOPTIONS, child, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL));

	size_t n = get_set(NT_PRSTATUS, &regs, sizeof regs);
	CHECK(n == sizeof regs, "NT_PRSTATUS has %zu bytes, want %zu", n, sizeof regs);
	CHECK(regs.r12 == 0x1212121212121212, "r12 is %#llx", regs.r12);
	CHECK(regs.cs == 0x33 && regs.ss == 0x2b, "cs %#llx ss %#llx, want 0x33 and 0x2b", regs.cs, regs.ss);
	unsigned char code[2];
	long word = ptrace(PTRACE_PEEKTEXT, child, regs.rip - 2, 0);
	memcpy(code, &word, 2);
	CHECK(code[0] == 0x0f && code[1] == 0x05, "rip %#llx is not behind a syscall instruction", regs.rip);
	MUST(ptrace(PTRACE_GETREGS, child, 0, &copy));
	CHECK(memcmp(&regs, &copy, sizeof regs) == 0, "PTRACE_GETREGS and PTRACE_GETREGSET differ");
	CHECK(ptrace(PTRACE_PEEKUSER, child, offsetof(struct user, regs.r12), 0) == 0x1212121212121212, "PTRACE_PEEKUSER of r12 is wrong");
	unsigned long fsbase = getauxval(AT_SYSINFO_EHDR); /* any value that differs */
	CHECK(regs.fs_base != 0 && regs.fs_base != fsbase, "fs_base is %#llx", regs.fs_base);

	regs.r12 = 0x3434343434343434;
	put_set(NT_PRSTATUS, &regs, sizeof regs);

	n = get_set(NT_PRFPREG, &fp, sizeof fp);
	CHECK(n == sizeof fp && n == 512, "NT_PRFPREG has %zu bytes, want 512", n);
	CHECK(memcmp((char *)fp.xmm_space + 5 * 16, pattern, 16) == 0, "NT_PRFPREG: xmm5 is \"%.16s\"", (char *)fp.xmm_space + 5 * 16);

	n = get_set(NT_X86_XSTATE, xstate, sizeof xstate);
	CHECK(n >= 576, "NT_X86_XSTATE has %zu bytes", n);
	CHECK(memcmp(xstate + 160 + 5 * 16, pattern, 16) == 0, "NT_X86_XSTATE: xmm5 is \"%.16s\"", xstate + 160 + 5 * 16);
	/* gdb finds the enabled features at offset 464. */
	uint64_t features;
	memcpy(&features, xstate + 464, 8);
	CHECK((features & 0xe7) == (xcr0() & 0xe7), "NT_X86_XSTATE features %#lx, enabled are %#lx", features, xcr0());
	memcpy(xstate + 160 + 5 * 16, changed, 16);
	put_set(NT_X86_XSTATE, xstate, n);

	expect_syscall(PTRACE_SYSCALL_INFO_ENTRY, SYS_getppid);
	expect_syscall(PTRACE_SYSCALL_INFO_EXIT, SYS_getppid);
	expect_syscall(PTRACE_SYSCALL_INFO_ENTRY, SYS_write);
	expect_syscall(PTRACE_SYSCALL_INFO_EXIT, SYS_write);
	MUST(ptrace(PTRACE_CONT, child, 0, 0));
	int status = reap(child);
	CHECK(status == 42, "the child ended with %d (10: r12, 11: xmm5 not changed by the debugger)", status);
	puts("ok");
	return 0;
}
