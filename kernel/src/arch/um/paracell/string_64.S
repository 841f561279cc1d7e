/* SPDX-License-Identifier: GPL-2.0 */
/*
 * memcpy and memset for processors with fast string instructions, which all
 * that have protection keys are. Nothing is patched at boot, so the choice is
 * made here: short ones by moves, long ones by rep.
 */
#include <linux/export.h>
#include <linux/linkage.h>

	.text

/* void *memcpy(void *dst, const void *src, size_t n) */
SYM_FUNC_START(__memcpy)
	movq	%rdi, %rax
	movq	%rdx, %rcx
	cmpq	$16, %rdx
	jb	.Lcopy_small
	cmpq	$128, %rdx
	ja	.Lcopy_rep
	/* 16 .. 128: pairs of words, the last pair overlapping. */
	movq	-16(%rsi, %rdx), %r8
	movq	-8(%rsi, %rdx), %r9
	leaq	-16(%rdi, %rdx), %rdx
1:	cmpq	%rdx, %rdi
	jae	2f
	movq	(%rsi), %r10
	movq	8(%rsi), %r11
	movq	%r10, (%rdi)
	movq	%r11, 8(%rdi)
	addq	$16, %rsi
	addq	$16, %rdi
	jmp	1b
2:	movq	%r8, (%rdx)
	movq	%r9, 8(%rdx)
	RET
.Lcopy_rep:
	rep movsb
	RET
.Lcopy_small:
	cmpq	$8, %rdx
	jb	3f
	movq	(%rsi), %r8
	movq	-8(%rsi, %rdx), %r9
	movq	%r8, (%rdi)
	movq	%r9, -8(%rdi, %rdx)
	RET
3:	cmpq	$4, %rdx
	jb	4f
	movl	(%rsi), %r8d
	movl	-4(%rsi, %rdx), %r9d
	movl	%r8d, (%rdi)
	movl	%r9d, -4(%rdi, %rdx)
	RET
4:	testq	%rdx, %rdx
	jz	5f
	movzbl	(%rsi), %r8d
	movzbl	-1(%rsi, %rdx), %r9d
	shrq	$1, %rdx
	movzbl	(%rsi, %rdx), %r10d
	movb	%r8b, (%rdi)
	movb	%r10b, (%rdi, %rdx)
	movb	%r9b, -1(%rdi, %rcx)
5:	RET
SYM_FUNC_END(__memcpy)
EXPORT_SYMBOL(__memcpy)
SYM_FUNC_ALIAS(memcpy, __memcpy)
EXPORT_SYMBOL(memcpy)

/* void *memset(void *dst, int c, size_t n) */
SYM_FUNC_START(__memset)
	movq	%rdi, %r9
	movzbl	%sil, %eax
	movabsq	$0x0101010101010101, %rcx
	imulq	%rcx, %rax
	movq	%rdx, %rcx
	cmpq	$128, %rdx
	ja	6f
	cmpq	$8, %rdx
	jb	8f
	/* 8 .. 128: words, the last one overlapping. */
	leaq	-8(%rdi, %rdx), %rdx
7:	movq	%rax, (%rdi)
	addq	$8, %rdi
	cmpq	%rdx, %rdi
	jb	7b
	movq	%rax, (%rdx)
	movq	%r9, %rax
	RET
6:	rep stosb
	movq	%r9, %rax
	RET
8:	testq	%rcx, %rcx
	jz	9f
	movb	%al, -1(%rdi, %rcx)
	decq	%rcx
	jmp	8b
9:	movq	%r9, %rax
	RET
SYM_FUNC_END(__memset)
EXPORT_SYMBOL(__memset)
SYM_FUNC_ALIAS(memset, __memset)
EXPORT_SYMBOL(memset)

	.section .note.GNU-stack, "", @progbits
