/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's calls of the monitor, and the monitor's of the kernel. */

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
 * void vector(struct kernel_frame *kf, long irq): call the kernel's vector on
 * the kernel stack, go back to what kf says.
 */
FUNC vector
	mov %rdi, %rsp
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
	je resume
	cmpq $0, PARACELL_VCPU_PENDING_OFFSET(%rax)
	jne .Lvector_irq
resume:
	mov GP(IP)(%rsp), %rax
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
	movq $(FLAG_FIXED | FLAG_IF), GP(FLAGS)(%rsp)
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
MARK access_fault
	mov $-14, %rax
	ret

/* void set_bases(u64 fs, u64 gs), both canonical. */
FUNC set_bases
	wrfsbase %rdi
	wrgsbase %rsi
	ret
END set_bases
