/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All that runs in ring 0. Events that the processor delivers there are handed
 * to the monitor in ring 3 (trap_entry in entry.S) with as few instructions as
 * possible: the frame that the processor has pushed is complete but for the
 * registers used here, so the rest can be saved in ring 3. Interrupts are off
 * in ring 0, and nothing here can fault.
 *
 * There are two sets of entries. "pt": user and kernel have page tables of their
 * own, and the kernel's is loaded here. "mk": they share one, and the rights of
 * protection keys are set here.
 */
#include "paracell_abi.h"
#include "layout.h"

#include "macros.S"

	.section .ring0, "ax"
	.globl ring0
	.type ring0, @function
ring0:

/* Exceptions that push an error code: 8, 10 to 14, 17, 21, 29, 30. */
.macro NUMBER vec
	.if (\vec == 8) || (\vec >= 10 && \vec <= 14) || (\vec == 17) || (\vec == 21) || (\vec == 29) || (\vec == 30)
	.else
	push $0
	.endif
	push $\vec
.endm

/* The syscall instruction pushes nothing. */
.macro SYSCALL_FRAME vec
	mov %rsp, trap_frame_end-TF_SP(%rip)
	mov %rax, trap_frame_end-TF_AX(%rip)
	mov %rcx, trap_frame_end-TF_IP(%rip)
	mov %r11, trap_frame_end-TF_FLAGS(%rip)
	movq $\vec, trap_frame_end-TF_VEC(%rip)
.endm

.macro TO_KERNEL_TABLE
	mov kernel_cr3(%rip), %rax
	mov %rax, %cr3
.endm

.macro TO_RING3
	lea entry_frame(%rip), %rsp
	iretq
.endm

	.balign STUB_SIZE
	.globl stubs_pt
stubs_pt:
	vec = 0
	.rept NUM_VECTORS
	.balign STUB_SIZE
	NUMBER vec
	push %rax
	.if vec == VEC_PF
	mov %cr2, %rax
	push %rax
	.endif
	TO_KERNEL_TABLE
	TO_RING3
	vec = vec + 1
	.endr

/*
 * The breakpoint in the kernel's table: the exit gate's way to the user. The
 * frame was prepared through the alias; the processor's own is not needed.
 */
	.balign STUB_SIZE
	.globl stub_go
stub_go:
	mov user_cr3(%rip), %rax
	lea go_frame(%rip), %rsp
	mov %rax, %cr3
	pop %rax
	iretq

	.balign STUB_SIZE
	.globl lstar_pt, cstar_pt
lstar_pt:
	SYSCALL_FRAME VEC_SYSCALL
	TO_KERNEL_TABLE
	TO_RING3

	.balign STUB_SIZE
cstar_pt:
	SYSCALL_FRAME VEC_SYSCALL32
	TO_KERNEL_TABLE
	TO_RING3

/*
 * One table. After wrpkru the kernel's memory can be touched; in_user there says
 * whether it was the user.
 */
.macro TO_KERNEL_KEYS
	xor %ecx, %ecx
	xor %edx, %edx
	mov $PARACELL_KERNEL_PKRU, %eax
	WRPKRU
.endm

	.balign STUB_SIZE
	.globl stubs_mk
stubs_mk:
	vec = 0
	.rept NUM_VECTORS
	.balign STUB_SIZE
	NUMBER vec
	push %rax
	.if vec == VEC_PF
	mov %cr2, %rax
	.endif
	push %rax
	push %rcx
	push %rdx
	TO_KERNEL_KEYS
	.if vec == VEC_BP
	cmpb $0, in_user(%rip)
	je load_table
	.endif
	TO_RING3
	vec = vec + 1
	.endr

/* The monitor wants the table in go_cr3 loaded, which also empties the TLB. */
load_table:
	mov user_cr3(%rip), %rax
	mov %rax, %cr3
	add $(TF_DX - TF_IP), %rsp
	iretq

	.balign STUB_SIZE
	.globl lstar_mk, cstar_mk
lstar_mk:
	mov %rcx, trap_frame_end-TF_CX(%rip)
	mov %rdx, trap_frame_end-TF_DX(%rip)
	SYSCALL_FRAME VEC_SYSCALL
	TO_KERNEL_KEYS
	TO_RING3

	.balign STUB_SIZE
cstar_mk:
	mov %rcx, trap_frame_end-TF_CX(%rip)
	mov %rdx, trap_frame_end-TF_DX(%rip)
	SYSCALL_FRAME VEC_SYSCALL32
	TO_KERNEL_KEYS
	TO_RING3
	.size ring0, . - ring0

	.section .ring0data, "aw"
	.globl ring0_tss, ring0_gdt, ring0_gdt_end, kernel_cr3, user_cr3, go_frame, trap_frame_end
	.balign 64
kernel_cr3:	.quad 0
user_cr3:	.quad 0
	.balign 16
entry_frame:	.quad trap_entry, USER_CS, FLAG_FIXED | FLAG_IF, 0, USER_SS
/* ax, then what iretq wants: ip, cs, flags, sp, ss. */
	.balign 64
go_frame:	.quad 0, 0, USER_CS, FLAG_FIXED | FLAG_IF, 0, USER_SS

	.balign 64
ring0_gdt:
	.quad 0, 0
	.quad 0x00af9b000000ffff /* RING0_CS */
	.quad 0x00cf93000000ffff /* RING0_SS */
	.quad 0x00cffb000000ffff /* USER_CS32 */
	.quad 0x00cff3000000ffff /* USER_SS */
	.quad 0x00affb000000ffff /* USER_CS */
	.quad 0
	.quad 0, 0               /* TSS_SELECTOR: filled in by the VMM, as the register is */
ring0_gdt_end:
	.balign 64
ring0_tss:
	.skip 4
	.quad trap_frame_end     /* RSP0 */
	.skip 0x66 - 12
	.short 0x68              /* no I/O bitmap */

/* Below the frame is room for one more, should ring 0 ever fault. */
	.balign 64
	.skip 512
trap_frame:
	.skip 96
trap_frame_end:

	.section .note.GNU-stack, "", @progbits
