/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events, after trap_entry (entry.S) has saved the registers: those of the user
 * become results of EntryEnter, those of the kernel go to its vector.
 */
#include "monitor.h"

/* Places in entry.S. */
extern const char __image_start[], __text_end[];
extern const char entry_gate[], gate_saved[], gate_window_end[];
extern const char gate_call[], gate_call_syscall[], gate_call_after[];
extern const char vector_tail[], vector_iret[], call_tail[], call_tail_end[];
extern const char fp_save_insn[], fp_restore_insn[], copy_insn[], access_fault[], probe_keys_insn[];

#define IN(ip, from, end) ((ip) >= (u64)(from) && (ip) < (u64)(end))
/* Places in gate_call, where the user sees them. */
#define GATE PARACELL_MONITOR_BASE + PARACELL_ENTRY_GATE
#define GATE_SYSCALL (GATE + (u64)(gate_call_syscall - gate_call))
#define GATE_AFTER (GATE + (u64)(gate_call_after - gate_call))

u8 probing;
/*
 * 1: the host lets the syscall instruction arrive at its entry in ring 3, where
 * the page is not to be had: a page fault there is a system call.
 */
u8 syscall_faults;

static int is_syscall(u64 vec, u64 ip, u64 cr2)
{
	return vec == VEC_SYSCALL || (vec == VEC_PF && syscall_faults && ip == handoff.syscall_entry && cr2 == ip);
}

noreturn static void user_fault(struct paracell_regs *regs, u64 vec, u64 err, u64 cr2)
{
	regs->trap_no = vec;
	regs->error_code = err;
	regs->cr2 = cr2;
	my_vcpu->faults++;
	leave(PARACELL_EXIT_FAULT);
}

/* gate_done: a call through the gate, with the return address in cx. */
noreturn static void gate_done(u64 *gp)
{
	gp[PARACELL_REG_ORIG_AX] = gp[PARACELL_REG_AX];
	gp[PARACELL_REG_IP] = gp[PARACELL_REG_CX];
	gp[PARACELL_REG_R11] = gp[PARACELL_REG_FLAGS];
	my_vcpu->gate_calls++;
	leave(PARACELL_EXIT_GATE);
}

noreturn static void user_syscall(u64 *gp, u64 vec)
{
	if (vec != VEC_SYSCALL) {
		gp[PARACELL_REG_IP] = gp[PARACELL_REG_CX];
		gp[PARACELL_REG_FLAGS] = gp[PARACELL_REG_R11];
	}
	gp[PARACELL_REG_CS] = USER_CS;
	gp[PARACELL_REG_SS] = USER_SS;
	if (pagetable && gp[PARACELL_REG_IP] == GATE_AFTER) {
		gp[PARACELL_REG_CX] = scratch_cx;
		gate_done(gp);
	}
	gp[PARACELL_REG_CX] = gp[PARACELL_REG_IP];
	gp[PARACELL_REG_R11] = gp[PARACELL_REG_FLAGS];
	gp[PARACELL_REG_ORIG_AX] = gp[PARACELL_REG_AX];
	my_vcpu->raw_calls++;
	leave(PARACELL_EXIT_SYSCALL);
}

/*
 * gate_window: the user has entered the gate but not passed it. A single step
 * counts as the call, anything else puts the user before the gate.
 */
static void gate_window(u64 *gp, u64 vec)
{
	u64 ip = gp[PARACELL_REG_IP];

	if (pagetable) {
		if (ip != GATE_SYSCALL || (vec != VEC_IRQ && vec != VEC_DB))
			return;
		if (vec == VEC_DB)
			gate_done(gp);
		gp[PARACELL_REG_IP] = GATE;
		return;
	}
	if (!IN(ip, entry_gate, gate_window_end) || (vec != VEC_IRQ && vec != VEC_DB))
		return;
	if (ip > (u64)gate_saved) {
		gp[PARACELL_REG_AX] = scratch_ax;
		gp[PARACELL_REG_CX] = scratch_cx;
		gp[PARACELL_REG_DX] = scratch_dx;
	}
	if (vec == VEC_DB && ip != (u64)entry_gate)
		gate_done(gp);
	gp[PARACELL_REG_IP] = (u64)entry_gate;
}

noreturn void trap_user(struct paracell_regs *regs, u64 vec, u64 err, u64 cr2);
noreturn void trap_user(struct paracell_regs *regs, u64 vec, u64 err, u64 cr2)
{
	u64 ip = regs->gp[PARACELL_REG_IP];

	if (is_syscall(vec, ip, cr2))
		user_syscall(regs->gp, vec);
	if (vec == VEC_SYSCALL32) {
		regs->gp[PARACELL_REG_CS] = USER_CS32;
		regs->gp[PARACELL_REG_SS] = USER_SS;
		user_fault(regs, VEC_GP, 0, 0);
	}
	gate_window(regs->gp, vec);
	if (vec == VEC_IRQ)
		leave(PARACELL_EXIT_IRQ);
	/* ud2 in the monitor guards what must not be jumped to. */
	if (vec == VEC_UD && IN(ip, __image_start, __text_end))
		leave(PARACELL_EXIT_ATTACK);
	user_fault(regs, vec, err, cr2);
}

/* exit_window: the user has not been reached, or jumped into the exit gate. */
noreturn void exit_window(u64 vec, u64 err, u64 cr2);
noreturn void exit_window(u64 vec, u64 err, u64 cr2)
{
	/* Regs still hold the user. */
	if (vec == VEC_IRQ)
		leave(PARACELL_EXIT_IRQ);
	if (vec == VEC_UD || vec >= VEC_SYSCALL)
		leave(PARACELL_EXIT_ATTACK);
	/* The last jump refuses an instruction pointer that is not canonical. */
	user_fault((struct paracell_regs *)my_vcpu->cur_regs, vec, err, cr2);
}

/* bad_ip: the same where the exit gate looks first. */
noreturn void bad_ip(struct paracell_regs *regs);
noreturn void bad_ip(struct paracell_regs *regs)
{
	user_fault(regs, VEC_GP, 0, 0);
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

static char *put(char *p, const char *name, u64 value)
{
	char digits[16];
	int n = 0;

	while (*name)
		*p++ = *name++;
	do {
		digits[n++] = "0123456789abcdef"[value % 16];
		value /= 16;
	} while (value);
	while (n)
		*p++ = digits[--n];
	return p;
}

/* monitor_fault ends the cell: the monitor has failed, or was lied to by the kernel. */
noreturn static void monitor_fault(u64 vec, u64 ip, u64 cr2, u64 err)
{
	char text[160], *p = text;

	p = put(p, "fault in the monitor: trap 0x", vec);
	p = put(p, " at 0x", ip);
	p = put(p, " address 0x", cr2);
	p = put(p, " error 0x", err);
	*p = 0;
	broken(__LINE__, text);
}

/* interrupt: the VMM has interrupted the kernel or the monitor. */
static void interrupt(struct kernel_frame *kf)
{
	u64 ip = kf->k.gp[PARACELL_REG_IP], sp = kf->k.gp[PARACELL_REG_SP];

	if (!my_vcpu->irq_enabled || !atomic_load(&my_vcpu->pending))
		return;
	if (IN(ip, vector_tail, vector_iret + 1))
		/* On the way back to the kernel: do not go back first. */
		kf = (struct kernel_frame *)(ip == (u64)vector_iret ? sp - KF_IRET : sp);
	else if (IN(ip, __image_start, __text_end) && !IN(ip, call_tail, call_tail_end))
		return; /* it waits for the end of the monitor call, see call_entry */
	if (!control->vector)
		broken(__LINE__, "interrupt before CallVectors");
	vector(kf, 1);
}

/* trap_kernel: an event in the kernel or the monitor. Returns to resume kf. */
void trap_kernel(struct kernel_frame *kf);
void trap_kernel(struct kernel_frame *kf)
{
	u64 vec = kf->k.trap_no, *gp = kf->k.gp, ip = gp[PARACELL_REG_IP];

	if (vec == VEC_IRQ) {
		interrupt(kf);
		return;
	}
	if (probing && vec == VEC_PF && ip == handoff.syscall_entry) {
		syscall_faults = 1;
		gp[PARACELL_REG_IP] = gp[PARACELL_REG_CX];
		gp[PARACELL_REG_FLAGS] = gp[PARACELL_REG_R11];
		return;
	}
	if (probing && vec == VEC_SYSCALL)
		return;
	/* Bit 5: the key was the reason. */
	if (probing && vec == VEC_PF && ip == (u64)probe_keys_insn && kf->k.error_code & 0x20) {
		gp[PARACELL_REG_IP] = (u64)access_fault;
		return;
	}
	if (ip == (u64)fp_save_insn || ip == (u64)fp_restore_insn || ip == (u64)copy_insn) {
		gp[PARACELL_REG_IP] = (u64)access_fault;
		return;
	}
	if (IN(ip, __image_start, __text_end))
		monitor_fault(vec, ip, kf->k.cr2, kf->k.error_code);
	/* A system call instruction in the kernel. */
	if (vec >= VEC_SYSCALL || is_syscall(vec, ip, kf->k.cr2)) {
		kf->k.trap_no = VEC_GP;
		kf->k.error_code = 0;
	}
	gp[PARACELL_REG_FLAGS] &= ~(u64)FLAGS_SPECIAL;
	if (!control->vector)
		broken(__LINE__, "exception before CallVectors");
	vector(kf, 0);
}

/* trap_broken: a fault where the frame is read or the kernel's context saved. */
noreturn void trap_broken(u64 vec, u64 ip, u64 cr2, u64 err);
noreturn void trap_broken(u64 vec, u64 ip, u64 cr2, u64 err)
{
	monitor_fault(vec, ip, cr2, err);
}
