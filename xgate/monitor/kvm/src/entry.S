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

#include "macros.S"

/* There is no host to be told. */
.macro KERNEL_BEGINS
.endm

.macro USER_BEGINS
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

#include "entry_gate.S"

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

/* long enter(struct paracell_regs *regs) */
FUNC enter
	ENTER_SAVE
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

#include "exit_gate.S"

/* The same with two page tables. */
FUNC exit_gate_pt
	ENTER_USER
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
	USER_CODE_SEGMENT
	mov %rax, go+16(%rip)
	LOAD_USER
	mov GP(CX)(%rdi), %rcx
	mov GP(DX)(%rdi), %rdx
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

#include "kernel.S"

/* long copy_bytes(void *to, const void *from, long n): 0 or -EFAULT. */
FUNC copy_bytes
	mov %rdx, %rcx
MARK copy_insn
	rep movsb
	xor %eax, %eax
	ret
END copy_bytes

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

	.section .rodata, "a"
	.balign 8
exit_gate_at:	.quad exit_gate
trap_entry_at:	.quad trap_entry

#include "pages.S"

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
