// SPDX-License-Identifier: Apache-2.0
// One process of the cell drives another with ptrace while that is at a gate, in
// a system call, or stopped anywhere (rules 3 and 4).
#include "attack.h"
#include <sys/ptrace.h>
#include <sys/user.h>

enum { PAGES = 3 };
static volatile uint64_t *shared;

static void look(void)
{
	_exit(inside() ? SUCCEEDED : STOPPED);
}

static void drive(pid_t pid, uint64_t ip, uint64_t sp, uint64_t flags, int request)
{
	struct user_regs_struct saved, r;
	int status;

	if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
		GIVE_UP("no stop: %x", status);
	MUST(ptrace(PTRACE_GETREGS, pid, 0, &saved));
	r = saved;
	r.rip = ip;
	r.rsp = sp;
	r.rax = PARACELL_KERNEL_PKRU;
	r.rcx = r.rdx = 0;
	r.eflags = flags;
	/* A refusal is an answer, too. */
	ptrace(PTRACE_SETREGS, pid, 0, &r);
	MUST(ptrace(request, pid, 0, 0));
	if (waitpid(pid, &status, 0) != pid)
		GIVE_UP("waitpid");
	if (keys && WIFEXITED(status) && WEXITSTATUS(status) == SUCCEEDED)
		GAINED("sent to %#lx the other process found other rights", ip); /* landing_keys */
	if (!WIFSTOPPED(status))
		return; /* killed for it */
	MUST(ptrace(PTRACE_GETREGS, pid, 0, &r));
	/* What has it got? Let it look. */
	saved.rip = (uint64_t)look;
	saved.orig_rax = -1;
	MUST(ptrace(PTRACE_SETREGS, pid, 0, &saved));
	MUST(ptrace(PTRACE_CONT, pid, 0, 0));
	if (waitpid(pid, &status, 0) != pid)
		GIVE_UP("waitpid");
	if (WIFEXITED(status) && WEXITSTATUS(status) == SUCCEEDED)
		GAINED("sent to %#lx the other process got behind the keys", ip);
	if (inside())
		GAINED("the tracer is inside");
}

/* A process that waits for what its tracer does with it. */
static pid_t puppet(void)
{
	pid_t pid = MUST(fork());

	if (pid == 0) {
		touch((void *)shared, PAGES * PAGE);
		MUST(ptrace(PTRACE_TRACEME, 0, 0, 0));
		alarm(10);
		raise(SIGSTOP);
		_exit(STOPPED);
	}
	return pid;
}

/*
 * A tracer sets all registers, but those of the gate's wrpkru are loaded on the way
 * out as well: so the other process jumps there from a place of its own, to which
 * the gate comes back. What it sees there are its rights.
 */
extern const char spring[], out[];
asm(".text\n"
    "spring: xor %ecx, %ecx\n rdpkru\n cmp $44, %eax\n jne out\n" /* PARACELL_USER_PKRU */
    "mov %r13, %rax\n xor %ecx, %ecx\n xor %edx, %edx\n jmp *%r14\n"
    "out: mov $231, %eax\n mov $1, %edi\n syscall\n"); /* exit_group(SUCCEEDED) */

static void spring_to(uint64_t site, uint64_t pkru)
{
	struct user_regs_struct r;
	pid_t pid = puppet();
	int status;

	waitpid(pid, &status, 0);
	MUST(ptrace(PTRACE_GETREGS, pid, 0, &r));
	r.rip = (uint64_t)spring;
	r.r13 = pkru;
	r.r14 = site;
	MUST(ptrace(PTRACE_SETREGS, pid, 0, &r));
	MUST(ptrace(PTRACE_CONT, pid, 0, 0));
	waitpid(pid, &status, 0);
	if (WIFEXITED(status) && WEXITSTATUS(status) == SUCCEEDED)
		GAINED("the other process has been sent through wrpkru at %#lx with eax %#lx", site, pkru);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
}

/* The signal entry, with a stack of ours in the other process. */
static void forged_stack(void)
{
	struct user_regs_struct r;
	pid_t pid = puppet();
	int status;

	memset((void *)shared, 0, PAGES * PAGE);
	waitpid(pid, &status, 0);
	MUST(ptrace(PTRACE_GETREGS, pid, 0, &r));
	r.rip = value("monitor.sig_entry");
	r.rsp = (uint64_t)shared + PAGE;
	MUST(ptrace(PTRACE_SETREGS, pid, 0, &r));
	MUST(ptrace(PTRACE_CONT, pid, 0, 0));
	waitpid(pid, &status, 0);
	for (size_t i = 0; i < PAGES * PAGE / 8; i++)
		if (shared[i])
			GAINED("the monitor has used the stack of the other process, %#lx at %zu", shared[i], i);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
}

/*
 * The exit gate from its start, with a vCPU and registers of ours in the other
 * process. Without keys nothing is to stop this, so only a control does it.
 */
static void forged_exit(void)
{
	uint64_t *vcpu = (uint64_t *)shared, *gp = vcpu + PAGE / 8;
	struct user_regs_struct r;
	pid_t pid = puppet();
	int status;

	waitpid(pid, &status, 0);
	memset(vcpu, 0, PAGES * PAGE);
	gp[PARACELL_REG_IP] = (uint64_t)out;
	gp[PARACELL_REG_SP] = (uint64_t)(gp + PAGE / 8);
	gp[PARACELL_REG_FLAGS] = 2;
	gp[PARACELL_REG_CS] = 0x33;
	MUST(ptrace(PTRACE_GETREGS, pid, 0, &r));
	r.rip = value("monitor.exit_gate");
	r.rbx = (uint64_t)vcpu;
	r.rdi = (uint64_t)gp;
	MUST(ptrace(PTRACE_SETREGS, pid, 0, &r));
	MUST(ptrace(PTRACE_CONT, pid, 0, 0));
	waitpid(pid, &status, 0);
	if (WIFEXITED(status) && WEXITSTATUS(status) == SUCCEEDED)
		GAINED("the exit gate has let the other process go with registers of ours");
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
}

static void attack_at(uint64_t ip, uint64_t sp, uint64_t flags, int request)
{
	pid_t pid = MUST(fork());
	int status;

	if (pid == 0) {
		MUST(ptrace(PTRACE_TRACEME, 0, 0, 0));
		alarm(10);
		raise(SIGSTOP);
		for (;;)
			shared[0] += gate(SYS_getpid, 0, 0, 0) != getpid();
	}
	drive(pid, ip, sp, flags, request);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
}

int attack(void)
{
	uint64_t sites[32];
	int n = values("wrpkru", sites, 32);
	const uint64_t stacks[] = { value("monitor.altstack") + 0x8000, PARACELL_CONTROL_BASE + 4096, 0 };
	const uint64_t places[] = { GATE, GATE + 7, value("monitor.exit_gate"), value("monitor.sig_entry"), value("monitor._start") };

	shared = MUST(mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	if (keys && value("isolation") != 2)
		for (int i = 0; i < n; i++) {
			spring_to(sites[i], 0);
			spring_to(sites[i], PARACELL_KERNEL_PKRU);
			spring_to(sites[i], PARACELL_USER_PKRU & ~0xcu);
		}
	if (value("process"))
		forged_stack();
	for (int i = 0; i < n; i++)
		for (int how = 0; how < 2; how++)
			attack_at(sites[i], stacks[i % 3], 0x202, how ? PTRACE_SINGLESTEP : PTRACE_CONT);
	for (size_t i = 0; i < sizeof places / sizeof *places; i++)
		for (int how = 0; how < 2; how++) {
			attack_at(places[i], stacks[i % 3], 0x202, how ? PTRACE_SINGLESTEP : PTRACE_CONT);
			attack_at(places[i], stacks[i % 3], 0x247fd7, how ? PTRACE_SINGLESTEP : PTRACE_CONT);
		}
	/* A system call of the traced process, redirected into the kernel's half. */
	static const long calls[] = { SYS_read, SYS_write, SYS_process_vm_readv, SYS_futex };

	for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
		struct user_regs_struct r;
		pid_t pid = MUST(fork());
		int status;

		if (pid == 0) {
			MUST(ptrace(PTRACE_TRACEME, 0, 0, 0));
			raise(SIGSTOP);
			for (;;)
				gate(SYS_getpid, 0, 0, 0);
		}
		waitpid(pid, &status, 0);
		for (int round = 0; round < 6; round++) {
			MUST(ptrace(PTRACE_SYSCALL, pid, 0, 0));
			waitpid(pid, &status, 0);
			MUST(ptrace(PTRACE_GETREGS, pid, 0, &r));
			r.orig_rax = calls[i];
			r.rdi = 1;
			r.rsi = PARACELL_PHYS_BASE + PARACELL_KERNEL_GPA;
			r.rdx = 64;
			if (round & 1) {
				if ((long)r.rax > 0 && (long)r.rax <= 64 && calls[i] != SYS_futex)
					GAINED("call %ld on the kernel's memory gives %lld", calls[i], r.rax);
			} else {
				MUST(ptrace(PTRACE_SETREGS, pid, 0, &r));
			}
		}
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
	}
	/* Reading the peer's half of the kernel through ptrace. */
	pid_t pid = MUST(fork());
	int status;

	if (pid == 0) {
		MUST(ptrace(PTRACE_TRACEME, 0, 0, 0));
		raise(SIGSTOP);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	const uint64_t memory[] = { PARACELL_PHYS_BASE + PARACELL_KERNEL_GPA, PARACELL_CONTROL_BASE, PARACELL_MONITOR_BASE, value("monitor.selector") };

	for (size_t i = 0; i < sizeof memory / sizeof *memory; i++) {
		errno = 0;
		if (ptrace(PTRACE_PEEKDATA, pid, memory[i], 0) != -1 || errno == 0)
			GAINED("PEEKDATA at %#lx", memory[i]);
		if (ptrace(PTRACE_POKEDATA, pid, memory[i], 0) == 0)
			GAINED("POKEDATA at %#lx", memory[i]);
	}
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	if (value("process") && (keys || control()))
		forged_exit();
	return STOPPED;
}
