/* SPDX-License-Identifier: Apache-2.0 */
/*
 * User code of the tests. It is mapped at USER_TEXT and must not depend on
 * where it is linked. USER_DATA is a page for results.
 */
#include "paracell_abi.h"
#include "user.h"

	.section .user, "aw"

.macro PROGRAM name
	.balign 16
	.globl user_\name
user_\name:
.endm

/* Gate call with number in eax; clobbers rcx, r11. Needs a free register. */
.macro GATE
	mov $(PARACELL_MONITOR_BASE + PARACELL_ENTRY_GATE), %r11
	lea 99f(%rip), %rcx
	jmp *%r11
99:
.endm

/* Ends the program: gate call 0 with the result in rdi. */
.macro DONE result
	mov \result, %rdi
	xor %eax, %eax
	GATE
	ud2
.endm

.macro SET_REGS
	mov $0x1111, %rbx
	mov $0x2222, %rdx
	mov $0x3333, %rsi
	mov $0x4444, %rdi
	mov $0x5555, %rbp
	mov $0x6666, %r8
	mov $0x7777, %r9
	mov $0x8888, %r10
	mov $0x9999, %r12
	mov $0xaaaa, %r13
	mov $0xbbbb, %r14
	mov $0xcccc, %r15
.endm

.macro CHECK reg, value
	cmp $\value, %\reg
	jne bad_regs
.endm

.macro CHECK_REGS
	CHECK rbx, 0x1111
	CHECK rdx, 0x2222
	CHECK rsi, 0x3333
	CHECK rdi, 0x4444
	CHECK rbp, 0x5555
	CHECK r8, 0x6666
	CHECK r9, 0x7777
	CHECK r10, 0x8888
	CHECK r12, 0x9999
	CHECK r13, 0xaaaa
	CHECK r14, 0xbbbb
	CHECK r15, 0xcccc
.endm

bad_regs:
	DONE $666

/* One gate call; every register must survive, rax comes back changed. */
PROGRAM gate
	SET_REGS
	mov $1, %eax
	stc
	GATE
	jnc bad_regs
	cmp $0x1234, %rax
	jne bad_regs
	CHECK_REGS
	DONE $0

PROGRAM raw
	SET_REGS
	mov $1, %eax
	stc
	syscall
	jnc bad_regs
	cmp $0x1234, %rax
	jne bad_regs
	CHECK_REGS
	DONE $0

/* rdi calls through the gate (or raw), for timing. */
PROGRAM gate_loop
	mov %rdi, %rbx
1:	mov $1, %eax
	GATE
	dec %rbx
	jnz 1b
	DONE $0

PROGRAM raw_loop
	mov %rdi, %rbx
1:	mov $1, %eax
	syscall
	dec %rbx
	jnz 1b
	DONE $0

PROGRAM read
	mov (%rdi), %rax
	DONE %rax

PROGRAM write
	mov %rsi, (%rdi)
	DONE $0

PROGRAM jump
	jmp *%rdi

PROGRAM int3
	int3
	DONE $0

PROGRAM ud2
	ud2
	DONE $0

PROGRAM divide
	xor %ecx, %ecx
	mov $1, %eax
	xor %edx, %edx
	div %ecx
	DONE $0

PROGRAM int80
	mov $20, %eax
	int $0x80
	DONE $0

PROGRAM sysenter
	mov $20, %eax
	sysenter
	DONE $0

PROGRAM hlt
	hlt
	DONE $0

PROGRAM vsyscall
	mov $0xffffffffff600000, %rax
	xor %edi, %edi
	call *%rax
	DONE $0

PROGRAM compat
	lea 1f(%rip), %rax
	push $0x23
	push %rax
	lretq
1:	.code32
	mov $20, %eax
	int $0x80
	ud2
	.code64

/* Spin until the word at rdi is not zero. */
PROGRAM spin
1:	pause
	cmpq $0, (%rdi)
	je 1b
	DONE $0

/* Bits of rdi are set in the flags, then gate, raw and fault follow. */
PROGRAM flags
	pushfq
	or %rdi, (%rsp)
	popfq
	mov $1, %eax
	GATE
	mov $1, %eax
	syscall
	int3
	pushfq
	pop %rax
	DONE %rax

/* Single step over a gate call and a raw call. */
PROGRAM step
	pushfq
	orq $0x100, (%rsp)
	popfq
	nop
	nop
	mov $1, %eax
	GATE
	nop
	mov $1, %eax
	syscall
	nop
	pushfq
	andq $~0x100, (%rsp)
	popfq
	DONE $0

/* Bases: rdi and rsi are what they shall be. */
PROGRAM bases
	rdfsbase %rax
	cmp %rax, %rdi
	jne bad_regs
	rdgsbase %rax
	cmp %rax, %rsi
	jne bad_regs
	lea 8(%rdi), %rax
	wrfsbase %rax
	lea 8(%rsi), %rax
	wrgsbase %rax
	mov $1, %eax
	syscall
	rdfsbase %rax
	sub $8, %rax
	cmp %rax, %rdi
	jne bad_regs
	rdgsbase %rax
	sub $8, %rax
	cmp %rax, %rsi
	jne bad_regs
	DONE $0

/*
 * Mixed work with all registers checked, rdi rounds: gate, raw, fault (int3),
 * under whatever interrupts come. xmm0..15 hold a pattern derived from rsi.
 */
PROGRAM storm
	mov %rdi, USER_DATA+16
	mov %rsi, USER_DATA+24
	movq %rsi, %xmm0
	pshufd $0x44, %xmm0, %xmm0
	.irp n, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
	movdqa %xmm0, %xmm\n
	.endr
storm_round:
	SET_REGS
	mov $1, %eax
	GATE
	cmp $0x1234, %rax
	jne bad_regs
	CHECK_REGS
	mov $1, %eax
	syscall
	cmp $0x1234, %rax
	jne bad_regs
	CHECK_REGS
	testq $7, USER_DATA+16
	jnz 1f
	int3
	CHECK_REGS
1:	movq USER_DATA+24, %xmm0
	pshufd $0x44, %xmm0, %xmm0
	.irp n, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
	pcmpeqb %xmm\n, %xmm0
	pmovmskb %xmm0, %eax
	cmp $0xffff, %eax
	jne bad_fp
	movdqa %xmm\n, %xmm0
	.endr
	decq USER_DATA+16
	jnz storm_round
	DONE $0
bad_fp:
	DONE $667

/* Jump to rax with rcx, rdx, rbx, rsp, rdi, rsi as given. */
PROGRAM attack
	jmp *%rax

	.section .note.GNU-stack, "", @progbits
