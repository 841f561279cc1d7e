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
#include "macros.S"

/* Calls of the host are let through for the kernel's side, and no others. */
.macro KERNEL_BEGINS
	movb $SELECTOR_ALLOW, selector(%rip)
.endm

.macro USER_BEGINS
#ifdef OFF_SELECTOR
	cmp $OFF_TRIGGER, %r15
	je .Lbegins\@
#endif
	movb $SELECTOR_BLOCK, selector(%rip)
.Lbegins\@:
.endm

#include "entry_gate.S"

/* long enter(struct paracell_regs *regs) */
FUNC enter
	ENTER_SAVE
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

#include "exit_gate.S"
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

	/*
	 * Part of the window: further signals can come while it looks. rdi stays:
	 * the number of the signal, which sig_user wants to know.
	 */
.Lsig_nested:
	xor %ecx, %ecx
	lea chain(%rip), %rsi
1:	inc %ecx
	cmp $MAX_NESTING, %ecx
	je .Lsig_attack
	cmp (%rsi,%rcx,8), %rsp
	jne 1b
	mov %ecx, %r8d
	lea sig_restorer(%rip), %rax
	lea sig_entry(%rip), %r9
	lea sig_window_end(%rip), %r10
2:	mov (%rsi,%rcx,8), %rdx
	cmp %rax, FRAME_RESTORER(%rdx)
	jne .Lsig_attack
	cmp %r9, FRAME_IP(%rdx)
	jb .Lsig_attack
	cmp %r10, FRAME_IP(%rdx)
	jae .Lsig_attack
	dec %ecx
	jnz 2b
	mov (%rsi), %rdx
	cmp %rax, FRAME_RESTORER(%rdx)
	jne .Lsig_attack
	mov %r8d, %ecx
.Lsig_user:
	movb $0, in_user(%rip)
MARK sig_window_end
	movb $SELECTOR_ALLOW, selector(%rip)
	mov %edi, %esi
	mov %ecx, %edi
	/* The flags of now, but for some that the host has cleared. */
	testl $FLAGS_SPECIAL, FRAME_FLAGS(%rsp)
	jz 1f
	push $FLAG_FIXED
	popfq
	/* A jump, see user_call. */
1:	and $-16, %rsp
	push $0
	jmp sig_user

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
	mov %edi, %esi
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

#include "kernel.S"

/*
 * void fp_reload(const void *area): the FP state of a signal frame, right after
 * the host has made the frame and put the registers into their INIT state. What
 * has that state needs nothing then, and loads of the rest take a third of the
 * time of xrstor. The host says of x87 and SSE that they are in use, always.
 */
FUNC fp_reload
	mov XSTATE_BV(%rdi), %eax
	test $XSTATE_ZMM_HI256, %al
	jnz .Lreload_all
	cmpq $XSTATE_FCW_INIT, (%rdi)
	jne .Lreload_all
	movaps XSTATE_ST(%rdi), %xmm0
	.irp n, 1, 2, 3, 4, 5, 6, 7
	por XSTATE_ST + 16 * \n(%rdi), %xmm0
	.endr
	movups XSTATE_FIP(%rdi), %xmm1
	por %xmm1, %xmm0
	pxor %xmm1, %xmm1
	pcmpeqb %xmm1, %xmm0
	pmovmskb %xmm0, %ecx
	cmp $0xffff, %ecx
	jne .Lreload_all
	cmpl $XSTATE_MXCSR_INIT, XSTATE_MXCSR(%rdi)
	je 1f
	ldmxcsr XSTATE_MXCSR(%rdi)
1:	test $XSTATE_YMM, %al
	jnz .Lreload_ymm
	.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	movaps XSTATE_XMM + 16 * \n(%rdi), %xmm\n
	.endr
.Lreload_512:
	test $(XSTATE_OPMASK | XSTATE_HI16), %al
	jnz 1f
	ret
1:	mov xstate_hi16(%rip), %rdx
	test $XSTATE_HI16, %al
	jz 2f
	.irp n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
	vmovups 64 * (\n - 16)(%rdi,%rdx), %zmm\n
	.endr
2:	mov xstate_opmask(%rip), %rdx
	test $XSTATE_OPMASK, %al
	jz 3f
	.irp n, 0, 1, 2, 3, 4, 5, 6, 7
	kmovq 8 * \n(%rdi,%rdx), %k\n
	.endr
3:	ret
.Lreload_all:
	jmp fp_restore

.Lreload_ymm:
	mov xstate_ymm(%rip), %rdx
	.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	vmovaps XSTATE_XMM + 16 * \n(%rdi), %xmm\n
	vinsertf128 $1, 16 * \n(%rdi,%rdx), %ymm\n, %ymm\n
	.endr
	jmp .Lreload_512
END fp_reload

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

#include "pages.S"

	.section .gatepage, "aw"
	.balign 64
	.globl selector
selector:	.byte SELECTOR_ALLOW

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
