/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gates, signal entry and everything else that must be written instruction by
 * instruction. docs/xgate.md explains the states; the rules for every wrpkru,
 * xrstor and syscall below are in "XGate rules" there.
 *
 * The user can jump to every byte of this file, with any registers, at user
 * PKRU. Memory under key K then faults; what needs care is the code behind an
 * instruction that changes PKRU.
 */
#include "paracell_abi.h"
#include "layout.h"
#include "off.h"

/* A wrpkru that the warden turns into a no-op when there are no keys. */
.macro WRPKRU
.Lsite\@:
	.byte 0x0f, 0x01, 0xef
	.pushsection .wrpkru_sites, "a"
	.quad .Lsite\@
	.popsection
.endm

.macro FUNC name
	.globl \name
	.type \name, @function
\name:
.endm

.macro END name
	.size \name, . - \name
.endm

/* A place inside code that C compares instruction pointers with. */
.macro MARK name
	.globl \name
\name:
.endm

/*
 * The entry points of the ABI.
 */
	.section .text.entry, "ax"
	.org PARACELL_ENTRY_CALL
	jmp call_entry
	.org PARACELL_ENTRY_ENTER
	jmp enter
	.org PARACELL_ENTRY_FP_SAVE
	jmp fp_save
	.org PARACELL_ENTRY_FP_RESTORE
	jmp fp_restore

/*
 * System-call gate for user code. Until in_user is 0 it changes no register
 * but ax, cx, dx and no flag, so that a signal in between can undo it: see
 * gate_window in trap.c.
 */
	.org PARACELL_ENTRY_GATE
FUNC entry_gate
	mov %rax, scratch_ax(%rip)
	mov %rcx, scratch_cx(%rip)
	mov %rdx, scratch_dx(%rip)
MARK gate_saved
	mov $PARACELL_KERNEL_PKRU, %eax
	mov $0, %ecx
	mov $0, %edx
	WRPKRU
	lea -PARACELL_KERNEL_PKRU(%rax), %ecx
	jrcxz 1f
	ud2
1:
#ifdef OFF_RESTART /* a wide window */
	mov $5000, %ecx
3:	loop 3b
#endif
	movb $0, in_user(%rip)
MARK gate_window_end
	movb $SELECTOR_ALLOW, selector(%rip)
	mov my_vcpu(%rip), %rcx
#ifdef OFF_BASES
	rdgsbase %rdx
	test %rdx, %rdx
	cmovnz %rdx, %rcx
#endif
	mov PARACELL_VCPU_CUR_REGS_OFFSET(%rcx), %rdx
	mov %rsp, GP(SP)(%rdx)
#ifdef OFF_STACK
	cmp $OFF_TRIGGER, %r15
	je 3f
#endif
	mov PARACELL_VCPU_KSP_OFFSET(%rcx), %rsp
3:
	mov %rbx, GP(BX)(%rdx)
	mov %rbp, GP(BP)(%rdx)
	mov %rsi, GP(SI)(%rdx)
	mov %rdi, GP(DI)(%rdx)
	mov %r8, GP(R8)(%rdx)
	mov %r9, GP(R9)(%rdx)
	mov %r10, GP(R10)(%rdx)
	mov %r12, GP(R12)(%rdx)
	mov %r13, GP(R13)(%rdx)
	mov %r14, GP(R14)(%rdx)
	mov %r15, GP(R15)(%rdx)
	pushfq
	pop %rbx
	mov %rbx, GP(FLAGS)(%rdx)
	mov %rbx, GP(R11)(%rdx)
	mov scratch_ax(%rip), %rax
	mov scratch_cx(%rip), %rsi
	mov scratch_dx(%rip), %rdi
	mov %rax, GP(AX)(%rdx)
	mov %rax, GP(ORIG_AX)(%rdx)
	mov %rsi, GP(CX)(%rdx)
	mov %rsi, GP(IP)(%rdx)
	mov %rdi, GP(DX)(%rdx)
	movq $USER_CS, GP(CS)(%rdx)
	movq $USER_SS, GP(SS)(%rdx)
	incq PARACELL_VCPU_GATE_CALLS_OFFSET(%rcx)
#ifndef OFF_FLAGS
	test $FLAGS_SPECIAL, %ebx
	jz 2f
	push $FLAG_FIXED
	popfq
2:
#endif
	movl $PARACELL_VCPU_RUNNING, PARACELL_VCPU_STATE_OFFSET(%rcx)
	mov $PARACELL_EXIT_GATE, %eax
	jmp return_to_kernel
END entry_gate

	.text

/* Return from EntryEnter on the kernel stack; rsp is Vcpu.KSP, eax the result. */
return_to_kernel:
	add $8, %rsp
	pop %rbx
	pop %rbp
	pop %r12
	pop %r13
	pop %r14
	pop %r15
	ret

/* void leave(long code): the same from any stack. */
FUNC leave
	mov my_vcpu(%rip), %rcx
	movl $PARACELL_VCPU_RUNNING, PARACELL_VCPU_STATE_OFFSET(%rcx)
	mov PARACELL_VCPU_KSP_OFFSET(%rcx), %rsp
	mov %edi, %eax
	jmp return_to_kernel
END leave

/* long enter(struct paracell_regs *regs) */
FUNC enter
	push %r15
	push %r14
	push %r13
	push %r12
	push %rbp
	push %rbx
	sub $8, %rsp
	mov my_vcpu(%rip), %rbx
	mov %rsp, PARACELL_VCPU_KSP_OFFSET(%rbx)
	mov %rdi, PARACELL_VCPU_CUR_REGS_OFFSET(%rbx)
	mov PARACELL_VCPU_AS_OFFSET(%rbx), %eax
	cmp my_slot(%rip), %eax
	jne enter_resume
	cmpl $0, PARACELL_VCPU_NUM_OPS_OFFSET(%rbx)
	jne enter_resume
	cmpl $0, PARACELL_VCPU_LIVE_OFFSET(%rbx)
	je enter_resume
	jmp exit_gate
END enter

/*
 * The slow way in, also taken by the slot that a vCPU was handed to: KSP and
 * CurRegs say where it stands.
 */
FUNC enter_resume
	mov my_vcpu(%rip), %rbx
	mov PARACELL_VCPU_KSP_OFFSET(%rbx), %rsp
	mov PARACELL_VCPU_CUR_REGS_OFFSET(%rbx), %rdi
	call enter_slow
	mov PARACELL_VCPU_CUR_REGS_OFFSET(%rbx), %rdi
	cmp $ENTER_GO, %rax
	je exit_gate
	cmp $ENTER_HANDOVER, %rax
	jne return_to_kernel
	/* The other slot continues on the kernel stack at once: get off it. */
	lea park_stack_top(%rip), %rsp
	call hand_over
	ud2
END enter_resume

/* void start_kernel(u64 entry, u64 control) on the boot stack. */
FUNC start_kernel
	mov %rdi, %rax
	mov %rsi, %rdi
	lea boot_stack_top(%rip), %rsp
	xor %ebp, %ebp
	push $0
	jmp *%rax
END start_kernel

/*
 * Exit gate: rbx = vCPU, rdi = regs. A signal that arrives with in_user set
 * and an instruction pointer in here gives up the exit (trap.c).
 */
FUNC exit_gate
	movl $PARACELL_VCPU_USER, PARACELL_VCPU_STATE_OFFSET(%rbx)
	movb $1, in_user(%rip)
	cmpq $0, PARACELL_VCPU_PENDING_OFFSET(%rbx)
	jne .Lexit_irq
	/* What must survive wrpkru goes through the gate page. */
	mov GP(AX)(%rdi), %rax
	mov GP(CX)(%rdi), %rcx
	mov GP(DX)(%rdi), %rdx
	mov %rax, gate_ax(%rip)
	mov %rcx, gate_cx(%rip)
	mov %rdx, gate_dx(%rip)
	mov GP(IP)(%rdi), %rax
	mov GP(SP)(%rdi), %rcx
	mov GP(FLAGS)(%rdi), %edx
	mov %rax, gate_ip(%rip)
	mov %rcx, gate_sp(%rip)
	and $FLAGS_USER, %edx
	or $FLAG_FIXED, %edx
	mov %rdx, gate_flags(%rip)
	mov GP(BX)(%rdi), %rbx
	mov GP(BP)(%rdi), %rbp
	mov GP(SI)(%rdi), %rsi
	mov GP(R8)(%rdi), %r8
	mov GP(R9)(%rdi), %r9
	mov GP(R10)(%rdi), %r10
	mov GP(R11)(%rdi), %r11
	mov GP(R12)(%rdi), %r12
	mov GP(R13)(%rdi), %r13
	mov GP(R14)(%rdi), %r14
	mov GP(R15)(%rdi), %r15
	/* Single step, resume flag and 32-bit code need iretq. */
	test $(FLAG_TF | FLAG_RF), %edx
	jnz .Lexit_iret
	cmpw $USER_CS32, GP(CS)(%rdi)
	je .Lexit_iret
	mov GP(DI)(%rdi), %rdi
#ifdef OFF_SELECTOR
	cmp $OFF_TRIGGER, %r15
	je 3f
#endif
	movb $SELECTOR_BLOCK, selector(%rip)
3:	mov $PARACELL_USER_PKRU, %eax
	xor %ecx, %ecx
	xor %edx, %edx
	WRPKRU
#ifndef OFF_COMPARE
	cmp $PARACELL_USER_PKRU, %eax
	jne .Lexit_bad
#endif
	lea gate_flags(%rip), %rsp
	popfq
	mov gate_ax(%rip), %rax
	mov gate_cx(%rip), %rcx
	mov gate_dx(%rip), %rdx
	mov gate_sp(%rip), %rsp
	jmp *gate_ip(%rip)

.Lexit_iret:
	mov $USER_CS, %eax
	cmpw $USER_CS32, GP(CS)(%rdi)
	mov $USER_CS32, %ecx
	cmove %ecx, %eax
	mov %rax, gate_cs(%rip)
	mov GP(DI)(%rdi), %rdi
	movb $SELECTOR_BLOCK, selector(%rip)
	mov $PARACELL_USER_PKRU, %eax
	xor %ecx, %ecx
	xor %edx, %edx
	WRPKRU
	cmp $PARACELL_USER_PKRU, %eax
	jne .Lexit_bad
	lea gate_ip(%rip), %rsp
	mov gate_ax(%rip), %rax
	mov gate_cx(%rip), %rcx
	mov gate_dx(%rip), %rdx
	iretq

.Lexit_irq:
	movb $0, in_user(%rip)
	movl $PARACELL_VCPU_RUNNING, PARACELL_VCPU_STATE_OFFSET(%rbx)
	mov $PARACELL_EXIT_IRQ, %eax
	jmp return_to_kernel
.Lexit_bad:
	ud2
END exit_gate
MARK exit_gate_end

/*
 * All signals of the host. The host has reset PKRU, so nothing under a key can
 * be touched before wrpkru; and the user may have jumped here, so the stack
 * cannot be used before it is known to be a frame that the host wrote.
 *
 * The host puts the frame of a signal from user code at chain[0]: the top of
 * the alternate stack. Signals that arrive before the handler has got as far as
 * clearing in_user nest at chain[1] and so on. A frame is believed if all
 * frames up to it hold the restorer address, which the host writes last time
 * round and the handler clears (so it works once), and if all but the first
 * interrupted this window.
 */
	.balign 64
FUNC sig_entry
	mov $PARACELL_KERNEL_PKRU, %eax
	xor %ecx, %ecx
	xor %edx, %edx
	WRPKRU
	cmp $PARACELL_KERNEL_PKRU, %eax
	jne .Lsig_bad
	cmpb $0, in_user(%rip)
	je .Lsig_kernel
#ifdef OFF_FRAME
	xor %ecx, %ecx
	jmp .Lsig_user
#endif
	cmp chain(%rip), %rsp
	jne .Lsig_nested
	xor %ecx, %ecx
	lea sig_restorer(%rip), %rax
	cmp %rax, FRAME_RESTORER(%rsp)
	jne .Lsig_attack
	jmp .Lsig_user

	/* Part of the window: further signals can come while it looks. */
.Lsig_nested:
	xor %ecx, %ecx
	lea chain(%rip), %rdi
1:	inc %ecx
	cmp $MAX_NESTING, %ecx
	je .Lsig_attack
	cmp (%rdi,%rcx,8), %rsp
	jne 1b
	mov %ecx, %r8d
	lea sig_restorer(%rip), %rax
	lea sig_entry(%rip), %r9
	lea sig_window_end(%rip), %r10
2:	mov (%rdi,%rcx,8), %rdx
	cmp %rax, FRAME_RESTORER(%rdx)
	jne .Lsig_attack
	cmp %r9, FRAME_IP(%rdx)
	jb .Lsig_attack
	cmp %r10, FRAME_IP(%rdx)
	jae .Lsig_attack
	dec %ecx
	jnz 2b
	mov (%rdi), %rdx
	cmp %rax, FRAME_RESTORER(%rdx)
	jne .Lsig_attack
	mov %r8d, %ecx
.Lsig_user:
	movb $0, in_user(%rip)
MARK sig_window_end
	movb $SELECTOR_ALLOW, selector(%rip)
	mov %ecx, %edi
	push $FLAG_FIXED
	popfq
	and $-16, %rsp
	call sig_user
	ud2

.Lsig_attack:
	mov chain(%rip), %rsp
	movb $0, in_user(%rip)
	movb $SELECTOR_ALLOW, selector(%rip)
	push $FLAG_FIXED
	popfq
	and $-16, %rsp
	call sig_attack
	ud2

.Lsig_kernel:
	movb $SELECTOR_ALLOW, selector(%rip)
	mov %rsp, %rdi
	sub $8, %rsp
	/* The user's AC and NT may still be set. */
	push $FLAG_FIXED
	popfq
	call sig_kernel
	/* Returns the frame to resume. */
	mov %rax, %rdi
	jmp sig_resume
.Lsig_bad:
	ud2
END sig_entry

/* The host insists on a restorer; it is only a mark and never runs. */
FUNC sig_restorer
	ud2
END sig_restorer

/*
 * Resume what a signal interrupted, rdi = frame. FP registers are back
 * already. Signals that arrive meanwhile nest below rsp, thus below the frame.
 */
FUNC sig_resume
	lea FRAME_MCONTEXT(%rdi), %rdi
	pushq $USER_SS
	push 120(%rdi)
	push 136(%rdi)
	pushq $USER_CS
	push 128(%rdi)
	mov 0(%rdi), %r8
	mov 8(%rdi), %r9
	mov 16(%rdi), %r10
	mov 24(%rdi), %r11
	mov 32(%rdi), %r12
	mov 40(%rdi), %r13
	mov 48(%rdi), %r14
	mov 56(%rdi), %r15
	mov 72(%rdi), %rsi
	mov 80(%rdi), %rbp
	mov 88(%rdi), %rbx
	mov 96(%rdi), %rdx
	mov 104(%rdi), %rax
	mov 112(%rdi), %rcx
	mov 64(%rdi), %rdi
	iretq
END sig_resume

/*
 * void vector(struct kernel_frame *kf, long irq): leave the signal stack, call
 * the kernel's vector on the kernel stack, go back to what kf says.
 */
FUNC vector
	mov %rdi, %rsp
	mov %rdi, %rbx
	test %esi, %esi
	jnz .Lvector_irq
	call vector_trap
	jmp vector_tail
.Lvector_irq:
	mov %rsp, %rdi
	call vector_irq
	/*
	 * From here to the iretq kf is complete and rsp points to it: an
	 * interrupt starts over with vector_irq (trap.c).
	 */
MARK vector_tail
	mov my_vcpu(%rip), %rax
	cmpq $0, KF_RESTORE_IRQ(%rsp)
	je 1f
	movl $1, PARACELL_VCPU_IRQ_ENABLED_OFFSET(%rax)
1:	cmpl $0, PARACELL_VCPU_IRQ_ENABLED_OFFSET(%rax)
	je 2f
	cmpq $0, PARACELL_VCPU_PENDING_OFFSET(%rax)
	jne .Lvector_irq
2:	mov GP(IP)(%rsp), %rax
	mov %rax, KF_IRET(%rsp)
	movq $USER_CS, KF_IRET+8(%rsp)
	mov GP(FLAGS)(%rsp), %rax
	mov %rax, KF_IRET+16(%rsp)
	mov GP(SP)(%rsp), %rax
	mov %rax, KF_IRET+24(%rsp)
	movq $USER_SS, KF_IRET+32(%rsp)
	mov GP(R15)(%rsp), %r15
	mov GP(R14)(%rsp), %r14
	mov GP(R13)(%rsp), %r13
	mov GP(R12)(%rsp), %r12
	mov GP(BP)(%rsp), %rbp
	mov GP(BX)(%rsp), %rbx
	mov GP(R11)(%rsp), %r11
	mov GP(R10)(%rsp), %r10
	mov GP(R9)(%rsp), %r9
	mov GP(R8)(%rsp), %r8
	mov GP(CX)(%rsp), %rcx
	mov GP(DX)(%rsp), %rdx
	mov GP(SI)(%rsp), %rsi
	mov GP(DI)(%rsp), %rdi
	mov GP(AX)(%rsp), %rax
	lea KF_IRET(%rsp), %rsp
MARK vector_iret
	iretq
END vector

/* long call(long nr, long a0, long a1, long a2, long a3) */
FUNC call_entry
	sub $8, %rsp
	call monitor_call
	add $8, %rsp
	mov my_vcpu(%rip), %rcx
	cmpl $0, PARACELL_VCPU_IRQ_ENABLED_OFFSET(%rcx)
	je 1f
	cmpq $0, PARACELL_VCPU_PENDING_OFFSET(%rcx)
MARK call_tail
	jne .Lcall_deferred
1:	ret
MARK call_tail_end
	/*
	 * An interrupt came while the monitor ran. Take it as if it had come
	 * right after the call.
	 */
.Lcall_deferred:
	mov %rsp, %rcx
	lea -(KF_SIZEOF + 128)(%rsp), %rsp
	and $-64, %rsp
	mov (%rcx), %rdx
	mov %rdx, GP(IP)(%rsp)
	add $8, %rcx
	mov %rcx, GP(SP)(%rsp)
	mov %rax, GP(AX)(%rsp)
	mov %rbx, GP(BX)(%rsp)
	mov %rbp, GP(BP)(%rsp)
	mov %r12, GP(R12)(%rsp)
	mov %r13, GP(R13)(%rsp)
	mov %r14, GP(R14)(%rsp)
	mov %r15, GP(R15)(%rsp)
	movq $FLAG_FIXED, GP(FLAGS)(%rsp)
	movq $USER_CS, GP(CS)(%rsp)
	movq $USER_SS, GP(SS)(%rsp)
	movq $0, KF_RESTORE_IRQ(%rsp)
	xor %eax, %eax
	mov %rax, GP(R11)(%rsp)
	mov %rax, GP(R10)(%rsp)
	mov %rax, GP(R9)(%rsp)
	mov %rax, GP(R8)(%rsp)
	mov %rax, GP(CX)(%rsp)
	mov %rax, GP(DX)(%rsp)
	mov %rax, GP(SI)(%rsp)
	mov %rax, GP(DI)(%rsp)
	mov %rax, GP(ORIG_AX)(%rsp)
	jmp vector_tail
END call_entry

/*
 * FP state. The user may jump to xrstor with a mask of its own and so load
 * PKRU; in_user, which only the monitor can write, then stops it.
 */
FUNC fp_save
	mov $PARACELL_XSTATE_MASK, %eax
	xor %edx, %edx
MARK fp_save_insn
	xsave64 (%rdi)
	xor %eax, %eax
	ret
END fp_save

FUNC fp_restore
	mov $PARACELL_XSTATE_MASK, %eax
	xor %edx, %edx
MARK fp_restore_insn
	xrstor64 (%rdi)
#ifndef OFF_XRSTOR
	cmpb $0, in_user(%rip)
	jne 1f
#endif
	xor %eax, %eax
	ret
1:	ud2
END fp_restore
MARK fp_fault
	mov $-14, %rax
	ret

/* void set_bases(u64 fs, u64 gs), both canonical. */
FUNC set_bases
	wrfsbase %rdi
	wrgsbase %rsi
	ret
END set_bases

/* void set_kernel_pkru(void), at start-up. */
FUNC set_kernel_pkru
	mov $PARACELL_KERNEL_PKRU, %eax
	xor %ecx, %ecx
	xor %edx, %edx
	WRPKRU
	cmp $PARACELL_KERNEL_PKRU, %eax
	jne 1f
	cmpb $0, in_user(%rip)
	jne 1f
	ret
1:	ud2
END set_kernel_pkru

/* long host_syscall(long nr, a0, a1, a2, a3, a4, a5) */
FUNC host_syscall
	mov %rdi, %rax
	mov %rsi, %rdi
	mov %rdx, %rsi
	mov %rcx, %rdx
	mov %r8, %r10
	mov %r9, %r8
	mov 8(%rsp), %r9
	syscall
	ret
END host_syscall

/* long host_syscall_at(u64 sp, long nr, a0, a1, a2): with another stack pointer. */
FUNC host_syscall_at
	push %rbx
	mov %rsp, %rbx
	mov %rdi, %rsp
	mov %rsi, %rax
	mov %rdx, %rdi
	mov %rcx, %rsi
	mov %r8, %rdx
	syscall
	mov %rbx, %rsp
	pop %rbx
	ret
END host_syscall_at

FUNC _start
	mov %rsp, %rdi
	lea warden_stack_top(%rip), %rsp
	xor %ebp, %ebp
	call warden_main
	ud2
END _start

/* Key R: the user can read it. */
	.section .gatepage, "aw"
	.balign 64
	.globl selector
selector:	.byte SELECTOR_ALLOW
	.balign 64
gate_ax:	.quad 0
gate_cx:	.quad 0
gate_dx:	.quad 0
/* In the order of an interrupt frame. */
gate_ip:	.quad 0
gate_cs:	.quad USER_CS
gate_flags:	.quad FLAG_FIXED
gate_sp:	.quad 0
gate_ss:	.quad USER_SS

/* Key S: the user can write it. */
	.section .scratchpage, "aw"
	.balign 64
	.globl scratch_ax, scratch_cx, scratch_dx
scratch_ax:	.quad 0
scratch_cx:	.quad 0
scratch_dx:	.quad 0

/* Private to the process, key K. */
	.data
	.balign 64
	.globl my_vcpu, my_slot, in_user, chain
my_vcpu:	.quad no_vcpu
my_slot:	.long -1
in_user:	.byte 0
	.balign 64
chain:	.fill MAX_NESTING, 8, 0

	.bss
	.balign 0x1000
	.globl altstack
altstack:	.skip ALTSTACK_SIZE
	.skip STACK_SIZE
park_stack_top:
	.skip STACK_SIZE
	.globl boot_stack_top
boot_stack_top:
	.skip STACK_SIZE
warden_stack_top:

	.section .note.GNU-stack, "", @progbits
