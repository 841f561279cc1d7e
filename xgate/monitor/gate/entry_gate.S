/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System-call gate, and the ways back to the kernel. The user can jump to every
 * byte here, with any registers, at user PKRU: memory under key K then faults,
 * and what is behind a wrpkru checks what it has loaded.
 *
 * KERNEL_BEGINS and USER_BEGINS are macros of the monitor that includes this:
 * what its host has to know when kernel code begins to run, and before user
 * code does. OFF_* are test builds of platform process (process/src/off.h).
 */

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
 * but ax, cx, dx and no flag, so that an event in between can undo it: see
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
	KERNEL_BEGINS
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

/* What EntryEnter begins with: rbx = vCPU, the kernel's stack and regs (rdi) noted there. */
.macro ENTER_SAVE
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
.endm
