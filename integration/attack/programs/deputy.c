// SPDX-License-Identifier: Apache-2.0
// Have the kernel read or write its own memory, or the monitor's, for the user
// (rule 8).
#include "attack.h"
#include <linux/futex.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

int attack(void)
{
	const uint64_t places[] = {
		value("kernel.init_task"), value("kernel.panic"), PARACELL_PHYS_BASE + (64 << 20),
		PARACELL_CONTROL_BASE + PARACELL_BOOT_PARAMS_RNG_SEED_OFFSET, GATE, value("monitor.selector"),
		value("monitor.in_user") & -8ul, PARACELL_USER_MAX, 0xffffffff81000000, 0x1234800000000000,
	};
	char buffer[64];
	int fd[2], mem = MUST(open("/proc/self/mem", O_RDWR));
	pid_t child;

	MUST(pipe(fd));
	if ((child = MUST(fork())) == 0) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		_exit(0);
	}
	MUST(waitpid(child, NULL, 0));
	for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
		void *p = (void *)places[i];
		struct iovec ours = { buffer, 8 }, theirs = { p, 8 };

		if (write(fd[1], p, 8) > 0)
			GAINED("write() from %p", p);
		MUST(write(fd[1], buffer, 8));
		if (read(fd[0], p, 8) > 0)
			GAINED("read() to %p", p);
		if (read(fd[0], buffer, 8) < 0)
			GIVE_UP("the pipe: %s", strerror(errno));
		if (writev(fd[1], &theirs, 1) > 0)
			GAINED("writev() from %p", p);
		if (writev(fd[1], p, 1) > 0)
			GAINED("writev() of a vector at %p", p);
		if (process_vm_readv(getpid(), &ours, 1, &theirs, 1, 0) > 0 || process_vm_writev(getpid(), &ours, 1, &theirs, 1, 0) > 0)
			GAINED("process_vm_readv() of %p", p);
		if (pread(mem, buffer, 8, places[i]) > 0 || pwrite(mem, buffer, 8, places[i]) > 0)
			GAINED("/proc/self/mem at %p", p);
		errno = 0;
		if (ptrace(PTRACE_PEEKDATA, child, p, 0) != -1 || errno == 0 || ptrace(PTRACE_POKEDATA, child, p, 0L) == 0)
			GAINED("ptrace at %p", p);
		if (syscall(SYS_futex, (uint64_t)p & -4ul, FUTEX_WAKE, 1, 0, 0, 0) >= 0)
			GAINED("futex at %p", p);
		if (syscall(SYS_uname, p) == 0 || syscall(SYS_clock_gettime, CLOCK_MONOTONIC, p) == 0 || syscall(SYS_getcpu, p, 0, 0) == 0)
			GAINED("a result written to %p", p);
		if (open(p, O_RDONLY) >= 0 || errno != EFAULT)
			GAINED("a path read at %p: %s", p, strerror(errno));
		if (syscall(SYS_set_robust_list, p, 24) == 0 && fork() == 0)
			_exit(0); /* the kernel walks the list, and gives up */
		else
			wait(NULL);
	}
	ptrace(PTRACE_KILL, child, 0, 0);
	return STOPPED;
}
