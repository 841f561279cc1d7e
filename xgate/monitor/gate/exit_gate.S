/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exit gate: rbx = vCPU, rdi = regs. An event that arrives with in_user set and
 * an instruction pointer between exit_gate and exit_gate_end gives up the exit
 * (trap.c).
 */

/* The user is next; gives up for an interrupt that is pending. */
.macro ENTER_USER
	movl $PARACELL_VCPU_USER, PARACELL_VCPU_STATE_OFFSET(%rbx)
	movb $1, in_user(%rip)
	cmpq $0, PARACELL_VCPU_PENDING_OFFSET(%rbx)
	jne .Lexit_irq
.endm

/* All registers but those in which more is to be done. */
.macro LOAD_USER
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
.endm

/* The code segment of regs, 64-bit if it is neither, in rax; clobbers rcx. */
.macro USER_CODE_SEGMENT
	mov $USER_CS, %eax
	cmpw $USER_CS32, GP(CS)(%rdi)
	mov $USER_CS32, %ecx
	cmove %ecx, %eax
.endm

/* The user's rights, checked; its stack pointer is at "stack", and rax to rdx are next. */
.macro CLOSE_KEYS stack
	mov GP(DI)(%rdi), %rdi
	USER_BEGINS
	mov $PARACELL_USER_PKRU, %eax
	xor %ecx, %ecx
	xor %edx, %edx
	WRPKRU
#ifndef OFF_COMPARE
	cmp $PARACELL_USER_PKRU, %eax
	jne .Lexit_bad
#endif
	lea \stack(%rip), %rsp
.endm

FUNC exit_gate
	ENTER_USER
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
	LOAD_USER
	/* Single step, resume flag and 32-bit code need iretq. */
	test $(FLAG_TF | FLAG_RF), %edx
	jnz .Lexit_iret
	cmpw $USER_CS32, GP(CS)(%rdi)
	je .Lexit_iret
	CLOSE_KEYS gate_flags
	popfq
	mov gate_ax(%rip), %rax
	mov gate_cx(%rip), %rcx
	mov gate_dx(%rip), %rdx
	mov gate_sp(%rip), %rsp
	jmp *gate_ip(%rip)

.Lexit_iret:
	USER_CODE_SEGMENT
	mov %rax, gate_cs(%rip)
	CLOSE_KEYS gate_ip
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
