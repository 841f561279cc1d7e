/* SPDX-License-Identifier: GPL-2.0 */
/* First instructions of the kernel, and the switch between kernel stacks. */
#include <linux/linkage.h>
#include <linux/init.h>
#include <asm/thread_info.h>
#include <asm/page.h>

	__HEAD
	.globl _start
/* From the monitor: rdi = control area. The stack is the monitor's. */
_start:
	leaq	init_stack(%rip), %rsp
	addq	$THREAD_SIZE, %rsp
	xorl	%ebp, %ebp
	call	paracell_start
	ud2

	.text
/* void paracell_switch(unsigned long *prev_ksp, unsigned long next_ksp) */
	.balign 16
	.globl paracell_switch
paracell_switch:
	pushq	%rbp
	pushq	%rbx
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	movq	%rsp, (%rdi)
	movq	%rsi, %rsp
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbx
	popq	%rbp
	ret

/* What a new task returns to from its first paracell_switch. */
	.balign 16
	.globl paracell_new_task
paracell_new_task:
	xorl	%ebp, %ebp
	call	paracell_task_start
	ud2

/* void paracell_call_on(void *stack_top, void (*fn)(void)) */
	.balign 16
	.globl paracell_call_on
paracell_call_on:
	pushq	%rbp
	movq	%rsp, %rbp
	movq	%rdi, %rsp
	call	*%rsi
	movq	%rbp, %rsp
	popq	%rbp
	ret

	.section .note.GNU-stack, "", @progbits
