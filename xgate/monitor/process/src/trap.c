/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signals of the host become events of the guest. sig_entry (entry.S) has
 * checked the frame, set KernelPKRU and the selector, and cleared in_user
 * before any of this runs, on the alternate stack.
 */
#include "host.h"
#include "off.h"

/* struct sigcontext and struct siginfo of the host, as far as needed here. */
struct mcontext {
	u64 r8, r9, r10, r11, r12, r13, r14, r15;
	u64 di, si, bp, bx, dx, ax, cx, sp, ip, flags;
	u16 cs, gs, fs, ss;
	u64 err, trapno, oldmask, cr2;
	void *fpstate;
	u64 reserved[8];
};

struct siginfo {
	int signo, err, code, pad;
	u8 rest[112];
};

struct frame {
	u64 restorer;
	u64 uc_flags, uc_link, uc_stack[3];
	struct mcontext m;
	u64 mask;
	struct siginfo info;
};
_Static_assert(__builtin_offsetof(struct frame, m) == FRAME_MCONTEXT, "mcontext");
_Static_assert(__builtin_offsetof(struct frame, m.ip) == FRAME_IP, "ip");
_Static_assert(__builtin_offsetof(struct frame, m.flags) == FRAME_FLAGS, "flags");
_Static_assert(__builtin_offsetof(struct frame, info) == 312 && sizeof(struct siginfo) == 128, "siginfo");

enum {
	TRAP_DB = 1, TRAP_UD = 6, TRAP_GP = 13, TRAP_PF = 14, TRAP_MC = 18,
};

/* Places in entry.S. */
extern const char __image_start[], __text_end[];
extern const char entry_gate[], gate_saved[], gate_window_end[], exit_gate[], exit_gate_end[];
extern const char sig_entry[], sig_window_end[], sig_restorer[];
extern const char vector_tail[], vector_iret[], call_tail[], call_tail_end[];
extern const char fp_save_insn[], fp_restore_insn[], access_fault[];

#define IN(ip, from, end) ((ip) >= (u64)(from) && (ip) < (u64)(end))

static noreturn void monitor_fault(const struct frame *f);

static u64 measured; /* where the host put the frame of the last signal */
static u8 measuring;

/* Offsets of FP components in frames, for fp_reload; processors differ. */
u64 xstate_ymm, xstate_opmask, xstate_hi16;

/* The number of the signal is with the frame, but not if it is SIGSYS: that has no siginfo. */
static int asynchronous(const struct frame *f, int signo)
{
	if (signo == SIG_SYS)
		return 0;
	/* A fault has a positive code; anything else was sent by a process. */
	return signo == SIG_TIMER || signo == SIG_KICK || signo == SIG_CHILD || f->info.code <= 0;
}

static void save_regs(u64 *gp, const struct mcontext *m)
{
	gp[PARACELL_REG_R15] = m->r15;
	gp[PARACELL_REG_R14] = m->r14;
	gp[PARACELL_REG_R13] = m->r13;
	gp[PARACELL_REG_R12] = m->r12;
	gp[PARACELL_REG_BP] = m->bp;
	gp[PARACELL_REG_BX] = m->bx;
	gp[PARACELL_REG_R11] = m->r11;
	gp[PARACELL_REG_R10] = m->r10;
	gp[PARACELL_REG_R9] = m->r9;
	gp[PARACELL_REG_R8] = m->r8;
	gp[PARACELL_REG_AX] = m->ax;
	gp[PARACELL_REG_CX] = m->cx;
	gp[PARACELL_REG_DX] = m->dx;
	gp[PARACELL_REG_SI] = m->si;
	gp[PARACELL_REG_DI] = m->di;
	gp[PARACELL_REG_ORIG_AX] = NEVER; /* not a system call */
	gp[PARACELL_REG_IP] = m->ip;
	gp[PARACELL_REG_CS] = m->cs;
	gp[PARACELL_REG_FLAGS] = m->flags;
	gp[PARACELL_REG_SP] = m->sp;
	gp[PARACELL_REG_SS] = m->ss;
}

static noreturn void user_fault(struct paracell_regs *regs, u64 trapno, u64 err, u64 cr2)
{
	regs->trap_no = trapno;
	regs->error_code = err;
	regs->cr2 = cr2;
	my_vcpu->faults++;
	leave(PARACELL_EXIT_FAULT);
}

/*
 * user_call: the user has asked the host for something. A 64-bit syscall leaves
 * its return address in rcx, wherever it is. What does not is int 0x80, sysenter
 * or 32-bit code, which the guest does not have, or the vsyscall page, where the
 * filter stops the host from answering. A user that puts the address there gets a
 * system call, which it may make anyway.
 */
static __attribute__((always_inline)) inline noreturn void user_call(const struct frame *f)
{
	struct paracell_vcpu *v = my_vcpu;
	struct paracell_regs *regs = (struct paracell_regs *)v->cur_regs;
	const struct mcontext *m = &f->m;

	save_regs(regs->gp, m);
	if (m->cs != USER_CS || m->cx != m->ip)
		user_fault(regs, TRAP_GP, 0, 0);
	regs->gp[PARACELL_REG_ORIG_AX] = m->ax;
	v->raw_calls++;
	/* A jump: after a call the processor would expect a return to here. */
	__asm__ volatile("jmp leave" : : "D"((long)PARACELL_EXIT_SYSCALL) : "memory");
	__builtin_unreachable();
}

/* user_event delivers what else interrupted user code at f. */
static noreturn void user_event(const struct frame *f, int signo)
{
	struct paracell_vcpu *v = my_vcpu;
	struct paracell_regs *regs = (struct paracell_regs *)v->cur_regs;
	const struct mcontext *m = &f->m;
	u64 trapno = m->trapno;

	if (asynchronous(f, signo)) {
		save_regs(regs->gp, m);
		leave(PARACELL_EXIT_IRQ);
	}
	/* ud2 in the monitor guards what must not be jumped to. */
	if (trapno == TRAP_UD && IN(m->ip, __image_start, __text_end))
		leave(PARACELL_EXIT_ATTACK);
	save_regs(regs->gp, m);
	/* The host has no memory for a guest page. */
	if (signo == SIG_BUS && trapno == TRAP_PF)
		trapno = TRAP_MC;
	user_fault(regs, trapno, m->err, m->cr2);
}

/*
 * gate_window: the user has entered the gate but not passed it. Up to the end
 * of the window the gate has changed only ax, cx and dx, which are in the
 * scratch page by then.
 */
static noreturn void gate_window(struct frame *f, int signo)
{
	struct paracell_vcpu *v = my_vcpu;
	struct paracell_regs *regs = (struct paracell_regs *)v->cur_regs;
	struct mcontext *m = &f->m;

	if (!asynchronous(f, signo) && m->trapno != TRAP_DB)
		user_event(f, signo);
#ifdef OFF_RESTART
	if (asynchronous(f, signo) && m->r15 == OFF_TRIGGER)
		user_event(f, signo);
#endif
#ifdef OFF_STEP
	user_event(f, signo);
#endif
	if (m->ip > (u64)gate_saved) {
		m->ax = scratch_ax;
		m->cx = scratch_cx;
		m->dx = scratch_dx;
	}
	if (m->trapno != TRAP_DB || asynchronous(f, signo) || m->ip == (u64)entry_gate) {
		/* As if the user stood before the gate. */
		m->ip = (u64)entry_gate;
		user_event(f, signo);
	}
	/* A user that single-steps: the gate counts as one instruction. */
	save_regs(regs->gp, m);
	regs->gp[PARACELL_REG_ORIG_AX] = m->ax;
	regs->gp[PARACELL_REG_IP] = m->cx;
	regs->gp[PARACELL_REG_R11] = m->flags;
	v->gate_calls++;
	leave(PARACELL_EXIT_GATE);
}

/* exit_window: the user has not been reached, or jumped into the exit gate. */
static noreturn void exit_window(const struct frame *f, int signo)
{
	struct paracell_regs *regs = (struct paracell_regs *)my_vcpu->cur_regs;

	/* Regs still hold the user. */
	if (asynchronous(f, signo))
		leave(PARACELL_EXIT_IRQ);
	if (f->m.trapno == TRAP_UD)
		leave(PARACELL_EXIT_ATTACK);
#ifdef OFF_EXIT
	monitor_fault(f);
#endif
	/* The last jump refuses an instruction pointer that is not canonical. */
	user_fault(regs, f->m.trapno, f->m.err, f->m.cr2);
}

/*
 * sig_user: a signal stopped the user; depth more came before we could look, and
 * signo is the last. Those stopped the entry, where it still had the number of the
 * one before in rdi.
 */
noreturn void sig_user(long depth, int signo);
noreturn void sig_user(long depth, int signo)
{
	struct frame *f = (struct frame *)chain[0];
	u64 ip = f->m.ip;
	long i;

	if (depth)
		signo = (int)((struct frame *)chain[1])->m.di;
	fp_reload(f->m.fpstate);
	for (i = 0; i <= depth; i++) {
		struct frame *g = (struct frame *)chain[i];

		g->restorer = 0;
		if ((i || signo != SIG_SYS) && g->info.signo == SIG_TIMER)
			timer_fired();
	}
	if (signo == SIG_SYS)
		user_call(f);
	if (IN(ip, entry_gate, gate_window_end))
		gate_window(f, signo);
	if (IN(ip, exit_gate, exit_gate_end))
		exit_window(f, signo);
	if (IN(ip, sig_entry, sig_window_end))
		leave(PARACELL_EXIT_ATTACK);
	user_event(f, signo);
}

/* sig_attack: the user has jumped into sig_entry, or a signal came to a stack pointer in the signal stack. */
noreturn void sig_attack(void);
noreturn void sig_attack(void)
{
	int i;

	/* There may have been real frames, which nobody has looked at. */
	for (i = 0; i < MAX_NESTING; i++)
		((struct frame *)chain[i])->restorer = 0;
	timer_forget();
	timer_arrive();
	leave(PARACELL_EXIT_ATTACK);
}

/* to_kernel builds the kernel's frame below the interrupted stack pointer. */
static noreturn void to_kernel(const struct frame *f, u64 trapno)
{
	const struct mcontext *m = &f->m;
	struct kernel_frame *kf = (struct kernel_frame *)((m->sp - 128 - sizeof(*kf)) & ~63ULL);

	if (!control->vector)
		broken(__LINE__, "event before CallVectors");
	save_regs(kf->k.gp, m);
	kf->k.gp[PARACELL_REG_FLAGS] = m->flags & ~(u64)FLAGS_SPECIAL;
	kf->k.trap_no = trapno;
	kf->k.error_code = m->err;
	kf->k.cr2 = m->cr2;
	kf->restore_irq = 0;
	vector(kf, trapno == PARACELL_KFRAME_IRQ);
}

void vector_trap(struct kernel_frame *kf);
void vector_trap(struct kernel_frame *kf)
{
	((void (*)(struct paracell_kframe *))control->vector)(&kf->k);
}

void vector_irq(struct kernel_frame *kf);
void vector_irq(struct kernel_frame *kf)
{
	my_vcpu->irq_enabled = 0;
	kf->restore_irq = 1;
	kf->k.trap_no = PARACELL_KFRAME_IRQ;
	((void (*)(struct paracell_kframe *))control->vector)(&kf->k);
}

/* monitor_fault ends the cell: the monitor has failed, or was lied to by the kernel. */
static noreturn void monitor_fault(const struct frame *f)
{
	char text[160], *p = text;
	const char *names[] = { "fault in the monitor: trap ", " at ", " address ", " error " };
	u64 values[] = { f->m.trapno, f->m.ip, f->m.cr2, f->m.err };
	int i;

	for (i = 0; i < 4; i++) {
		memcpy(p, names[i], text_len(names[i]));
		p += text_len(names[i]);
		text_number(p, values[i], i == 0 ? 10 : 16);
		p += text_len(p);
	}
	broken(__LINE__, text);
}

static noreturn void denied(const struct frame *f)
{
	cell_end(PARACELL_REASON_DENIED, 0, (int)f->m.ax, 0);
}

/* interrupt: an asynchronous signal came while the user was not running. */
static void interrupt(struct frame *f, int signo)
{
	struct paracell_vcpu *v = my_vcpu;
	u64 ip = f->m.ip;

	if (signo == SIG_CHILD) {
		atomic_add(&control->warden_word, 1);
		return;
	}
	if (parked || my_slot == ~0U) {
		if (signo == SIG_TIMER)
			timer_forget();
		return;
	}
	if (signo == SIG_TIMER)
		timer_fired();
	if (IN(ip, vector_tail, vector_iret + 1)) {
		/* On the way back to the kernel: do not go back first. */
		if (v->irq_enabled && atomic_load(&v->pending))
			vector((struct kernel_frame *)(ip == (u64)vector_iret ? f->m.sp - KF_IRET : f->m.sp), 1);
		return;
	}
	/* Interrupts wait for the end of a monitor call, see call_entry. */
	if (IN(ip, __image_start, __text_end) && !IN(ip, call_tail, call_tail_end))
		return;
	if (v->irq_enabled && atomic_load(&v->pending))
		to_kernel(f, PARACELL_KFRAME_IRQ);
}

/* sig_kernel: a signal came in the kernel or the monitor. Returns to resume. */
struct frame *sig_kernel(struct frame *f, int signo);
struct frame *sig_kernel(struct frame *f, int signo)
{
	struct mcontext *m = &f->m;
	u64 trapno = m->trapno;

	f->restorer = 0;
	fp_restore(m->fpstate);
	if (measuring) {
		measured = (u64)f;
		return f;
	}
	if (asynchronous(f, signo)) {
		interrupt(f, signo);
		return f;
	}
	if (signo == SIG_SYS)
		denied(f);
	if (m->ip == (u64)fp_save_insn || m->ip == (u64)fp_restore_insn) {
		m->ip = (u64)access_fault;
		return f;
	}
	if (parked || my_slot == ~0U || IN(m->ip, __image_start, __text_end))
		monitor_fault(f);
	if (signo == SIG_BUS && trapno == TRAP_PF)
		trapno = TRAP_MC;
	to_kernel(f, trapno);
}

static u64 xstate_offset(u32 component)
{
	u32 eax = 0xd, ebx, ecx = component, edx;

	__asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
	return ebx;
}

/*
 * measure_frames finds out where the host puts signal frames: the first at
 * the top of the alternate stack, each further one below the one before. It is
 * the same in every slot.
 */
void measure_frames(void)
{
	u64 sp = 0;
	int i;

	measuring = 1;
	for (i = 0; i < MAX_NESTING; i++) {
		measured = 0;
		if (i)
			host_syscall_at(sp, __NR_tgkill, (long)warden_pid, (long)warden_pid, (long)SIG_KICK);
		else
			host_syscall(__NR_tgkill, (long)warden_pid, (long)warden_pid, (long)SIG_KICK);
		sp = chain[i] = measured;
	}
	measuring = 0;
	xstate_ymm = xstate_offset(2);
	xstate_opmask = xstate_offset(5);
	xstate_hi16 = xstate_offset(7);
}

/* install_handlers sends every signal that means something to sig_entry. */
void install_handlers(void)
{
	/* RESTORER, ONSTACK, NODEFER */
	enum { SA_SIGINFO = 4, SA_ALL = 0x04000000 | 0x08000000 | 0x40000000 };
	static const int used[] = {
		SIG_ILL, SIG_TRAP, SIG_BUS,
#ifndef OFF_VECTORS
		SIG_FPE,
#endif
		SIG_KICK, SIG_SEGV, SIG_TIMER, SIG_CHILD, SIG_SYS,
	};
	struct { const void *handler; u64 flags; const void *restorer; u64 mask; } action = {
		sig_entry, 0, sig_restorer, 0,
	};
	struct { void *sp; int flags, pad; u64 size; } stack = { altstack, 0, 0, ALTSTACK_SIZE };
	u64 mask = NEVER;
	unsigned long i;

	host_syscall(__NR_sigaltstack, &stack, 0L);
	for (i = 0; i < sizeof(used) / sizeof(used[0]); i++) {
		action.flags = used[i] == SIG_SYS ? SA_ALL : SA_ALL | SA_SIGINFO;
		host_syscall(__NR_rt_sigaction, (long)used[i], &action, 0L, 8L);
		mask &= ~(1ULL << (used[i] - 1));
	}
	/* All others are for whoever started the cell, not for its processes. */
	host_syscall(__NR_rt_sigprocmask, 2L /* SIG_SETMASK */, &mask, 0L, 8L);
}
