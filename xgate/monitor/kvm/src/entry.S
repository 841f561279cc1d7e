/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gates, the entry of events in ring 3 and everything else there that must be
 * written instruction by instruction. docs/kvm.md explains the states.
 *
 * With protection keys the user can jump to every byte of this file, at user
 * PKRU. Memory under key K then faults; what needs care is the code behind an
 * instruction that changes PKRU. With two page tables the user has nothing of
 * this file.
 */
#include "paracell_abi.h"
#include "layout.h"

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

/* A place inside code that C or the VMM compares instruction pointers with. */
.macro MARK name
	.globl \name
\name:
.endm

/* Registers that nothing here has changed, to a set at reg. */
.macro SAVE reg
	mov %rbx, GP(BX)(\reg)
	mov %rcx, GP(CX)(\reg)
	mov %rdx, GP(DX)(\reg)
	mov %rsi, GP(SI)(\reg)
	mov %rdi, GP(DI)(\reg)
	mov %rbp, GP(BP)(\reg)
	mov %r8, GP(R8)(\reg)
	mov %r9, GP(R9)(\reg)
	mov %r10, GP(R10)(\reg)
	mov %r11, GP(R11)(\reg)
	mov %r12, GP(R12)(\reg)
	mov %r13, GP(R13)(\reg)
	mov %r14, GP(R14)(\reg)
	mov %r15, GP(R15)(\reg)
.endm

/* What the trap frame holds, to a set at rax; clobbers rcx. */
.macro SAVE_FRAME
	mov tf-TF_AX(%rip), %rcx
	mov %rcx, GP(AX)(%rax)
	mov tf-TF_IP(%rip), %rcx
	mov %rcx, GP(IP)(%rax)
	mov tf-TF_CS(%rip), %rcx
	mov %rcx, GP(CS)(%rax)
	mov tf-TF_FLAGS(%rip), %rcx
	mov %rcx, GP(FLAGS)(%rax)
	mov tf-TF_SP(%rip), %rcx
	mov %rcx, GP(SP)(%rax)
	mov tf-TF_SS(%rip), %rcx
	mov %rcx, GP(SS)(%rax)
	movq $-1, GP(ORIG_AX)(%rax)
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
 * System-call gate with protection keys. Until in_user is 0 it changes no
 * register but ax, cx, dx and no flag, so that an event in between can undo it:
 * see gate_window in trap.c.
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
1:	movb $0, in_user(%rip)
MARK gate_window_end
	mov my_vcpu(%rip), %rcx
	mov PARACELL_VCPU_CUR_REGS_OFFSET(%rcx), %rdx
	mov %rsp, GP(SP)(%rdx)
	mov PARACELL_VCPU_KSP_OFFSET(%rcx), %rsp
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
	test $FLAGS_SPECIAL, %ebx
	jz 2f
	push $FLAG_FIXED
	popfq
2:	movl $PARACELL_VCPU_RUNNING, PARACELL_VCPU_STATE_OFFSET(%rcx)
	mov $PARACELL_EXIT_GATE, %eax
	jmp return_to_kernel
END entry_gate

/*
 * System-call gate with two page tables: mapped for the user at EntryGate.
 * The scratch word carries cx, which the instruction overwrites; it is the
 * user's own value wherever it comes from.
 */
	.section .gatecall, "ax"
FUNC gate_call
	mov %rcx, gate_scratch(%rip)
MARK gate_call_syscall
	syscall
MARK gate_call_after
	ud2
END gate_call

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
	cmp current_as(%rip), %eax
	jne 1f
	cmpl $0, PARACELL_VCPU_NUM_OPS_OFFSET(%rbx)
	jne 1f
	cmpl $0, PARACELL_VCPU_LIVE_OFFSET(%rbx)
	jne 2f
1:	call enter_slow
	mov PARACELL_VCPU_CUR_REGS_OFFSET(%rbx), %rdi
	cmp $ENTER_GO, %rax
	jne return_to_kernel
2:	cmpb $0, pagetable(%rip)
	je exit_gate
	/* iretq in ring 0 must not fault: an address that no code can have. */
	mov GP(IP)(%rdi), %rax
	mov %rax, %rcx
	shl $16, %rcx
	sar $16, %rcx
	cmp %rax, %rcx
	je exit_gate_pt
	call bad_ip
	ud2
END enter

/*
 * Exit gates: rbx = vCPU, rdi = regs. An event that arrives with in_user set
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
	mov $PARACELL_USER_PKRU, %eax
	xor %ecx, %ecx
	xor %edx, %edx
	WRPKRU
	cmp $PARACELL_USER_PKRU, %eax
	jne .Lexit_bad
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

FUNC exit_gate_pt
	movl $PARACELL_VCPU_USER, PARACELL_VCPU_STATE_OFFSET(%rbx)
	movb $1, in_user(%rip)
	cmpq $0, PARACELL_VCPU_PENDING_OFFSET(%rbx)
	jne .Lexit_irq
	mov GP(AX)(%rdi), %rax
	mov GP(IP)(%rdi), %rcx
	mov GP(FLAGS)(%rdi), %edx
	mov %rax, go(%rip)
	mov %rcx, go+8(%rip)
	and $FLAGS_USER, %edx
	or $(FLAG_FIXED | FLAG_IF), %edx
	mov %rdx, go+24(%rip)
	mov GP(SP)(%rdi), %rax
	mov %rax, go+32(%rip)
	mov $USER_CS, %eax
	mov $USER_CS32, %ecx
	cmpw $USER_CS32, GP(CS)(%rdi)
	cmove %ecx, %eax
	mov %rax, go+16(%rip)
	mov GP(BX)(%rdi), %rbx
	mov GP(CX)(%rdi), %rcx
	mov GP(DX)(%rdi), %rdx
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
	mov GP(DI)(%rdi), %rdi
	int3
	ud2
END exit_gate_pt
MARK exit_gate_end

/*
 * Every event comes here from ring 0, with the registers of the interrupted code
 * but for ax and the stack pointer (and cx and dx, with one table), which are
 * in the trap frame with the rest. The VMM injects no interrupt up to
 * trap_window_end, so the frame stays what it is.
 */
	.balign 64
FUNC trap_entry
	cmpb $0, pagetable(%rip)
	jne 1f
	mov tf-TF_CX(%rip), %rcx
	mov tf-TF_DX(%rip), %rdx
1:	cmpb $0, in_user(%rip)
	je .Ltrap_kernel
	mov tf-TF_IP(%rip), %rax
	sub exit_gate_at(%rip), %rax
	cmp $(exit_gate_end - exit_gate), %rax
	jb .Lexit_window
	mov my_vcpu(%rip), %rax
	mov PARACELL_VCPU_CUR_REGS_OFFSET(%rax), %rax
	SAVE %rax
	SAVE_FRAME
	mov %rax, %rdi
	mov my_vcpu(%rip), %rax
	mov PARACELL_VCPU_KSP_OFFSET(%rax), %rsp
	mov tf-TF_VEC(%rip), %rsi
	mov tf-TF_ERR(%rip), %rdx
	mov tf-TF_CR2(%rip), %rcx
	movb $0, in_user(%rip)
	jmp .Luser_saved

/* The registers are not the user's, or the user has jumped there. */
.Lexit_window:
	mov my_vcpu(%rip), %rax
	mov PARACELL_VCPU_KSP_OFFSET(%rax), %rsp
	mov tf-TF_VEC(%rip), %rdi
	mov tf-TF_ERR(%rip), %rsi
	mov tf-TF_CR2(%rip), %rdx
	movb $0, in_user(%rip)
	jmp .Lexit_saved

.Ltrap_kernel:
	/* A fault in this very code: the kernel's stack cannot be used. */
	mov tf-TF_IP(%rip), %rax
	sub trap_entry_at(%rip), %rax
	cmp $(trap_window_end - trap_entry), %rax
	jb .Lbroken
	mov tf-TF_SP(%rip), %rax
	lea -(KF_SIZEOF + 128)(%rax), %rax
	and $-64, %rax
	SAVE %rax
	SAVE_FRAME
	mov tf-TF_VEC(%rip), %rcx
	mov %rcx, PARACELL_KFRAME_TRAP_NO_OFFSET(%rax)
	mov tf-TF_ERR(%rip), %rcx
	mov %rcx, PARACELL_KFRAME_ERROR_CODE_OFFSET(%rax)
	mov tf-TF_CR2(%rip), %rcx
	mov %rcx, PARACELL_KFRAME_CR2_OFFSET(%rax)
	movq $0, KF_RESTORE_IRQ(%rax)
	mov %rax, %rsp
MARK trap_window_end
	mov %rsp, %rbx
	mov %rsp, %rdi
	call trap_kernel
	mov %rbx, %rsp
	jmp resume
.Luser_saved:
	call trap_user
	ud2
.Lexit_saved:
	call exit_window
	ud2
.Lbroken:
	/* Most often the kernel's stack pointer cannot be used. */
	lea emergency_stack_top(%rip), %rsp
	mov tf-TF_VEC(%rip), %rdi
	mov tf-TF_IP(%rip), %rsi
	mov tf-TF_CR2(%rip), %rdx
	mov tf-TF_ERR(%rip), %rcx
	call trap_broken
	ud2
END trap_entry

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
 * FP state. XCR0 has no PKRU, so xrstor cannot load it; in_user, which only
 * the monitor can write, stops a user that jumps here all the same.
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
	cmpb $0, in_user(%rip)
	jne 1f
	xor %eax, %eax
	ret
1:	ud2
END fp_restore

/* long copy_bytes(void *to, const void *from, long n): 0 or -EFAULT. */
FUNC copy_bytes
	mov %rdx, %rcx
MARK copy_insn
	rep movsb
	xor %eax, %eax
	ret
END copy_bytes
MARK access_fault
	mov $-14, %rax
	ret

/* void set_bases(u64 fs, u64 gs), both canonical. */
FUNC set_bases
	wrfsbase %rdi
	wrgsbase %rsi
	ret
END set_bases

/* void load_table(u64 cr3): with one table for user and kernel. */
FUNC load_table_mk
	mov %rdi, go_cr3(%rip)
	int3
	ret
END load_table_mk

/* void load_table_pt(u64 cr3): cr3 is the kernel's own; empties the TLB. */
FUNC load_table_pt
	mov go_cr3(%rip), %rsi
	mov %rdi, go_cr3(%rip)
	lea 1f(%rip), %rax
	mov %rax, go+8(%rip)
	movq $USER_CS, go+16(%rip)
	movq $(FLAG_FIXED | FLAG_IF), go+24(%rip)
	mov %rsp, go+32(%rip)
	int3
1:	mov %rsi, go_cr3(%rip)
	ret
END load_table_pt

/* void probe_syscall(void): where does the instruction go? See trap_kernel. */
FUNC probe_syscall
	syscall
	ret
END probe_syscall

/* The first instruction of the vCPU. */
FUNC monitor_start
	mov $PARACELL_KERNEL_PKRU, %eax
	xor %ecx, %ecx
	xor %edx, %edx
	WRPKRU
	cmp $PARACELL_KERNEL_PKRU, %eax
	jne 1f
	cmpb $0, in_user(%rip)
	jne 1f
	lea boot_stack_top(%rip), %rsp
	xor %ebp, %ebp
	call monitor_main
1:	ud2
END monitor_start

/*
 * long probe_keys(void): read memory under a key that is denied. The fault ends
 * it with access_fault; 0 says that keys are not enforced.
 */
FUNC probe_keys
	mov $(PARACELL_KERNEL_PKRU | 1 << (2 * PARACELL_KEY_SCRATCH)), %eax
	xor %ecx, %ecx
	xor %edx, %edx
	WRPKRU
MARK probe_keys_insn
	mov scratch_ax(%rip), %rcx
	cmp $(PARACELL_KERNEL_PKRU | 1 << (2 * PARACELL_KEY_SCRATCH)), %eax
	jne 1f
	cmpb $0, in_user(%rip)
	jne 1f
	xor %eax, %eax
	ret
1:	ud2
END probe_keys

/* void start_kernel(u64 entry, u64 control) on the boot stack. */
FUNC start_kernel
	mov %rdi, %rax
	mov %rsi, %rdi
	lea boot_stack_top(%rip), %rsp
	xor %ebp, %ebp
	push $0
	jmp *%rax
END start_kernel

	.section .rodata, "a"
	.balign 8
exit_gate_at:	.quad exit_gate
trap_entry_at:	.quad trap_entry

/* Key R: the user can read it. */
	.section .gatepage, "aw"
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

/* Key K. */
	.data
	.balign 64
	.globl my_vcpu, current_as, in_user, pagetable
my_vcpu:	.quad PARACELL_CONTROL_BASE + PARACELL_CONTROL_VCPUS_OFFSET
current_as:	.long 0
in_user:	.byte 0
pagetable:	.byte 0

	.bss
	.balign 0x1000
	.globl emergency_stack
emergency_stack:
	.skip STACK_SIZE
emergency_stack_top:
	.skip STACK_SIZE
boot_stack_top:

	.section .note.GNU-stack, "", @progbits
