/* SPDX-License-Identifier: Apache-2.0 */
#include "paracell_abi.h"

	.text
	.globl _start
_start:
	lea stack_top(%rip), %rsp
	xor %ebp, %ebp
	call kernel_main
	ud2

/* long fault_read(const void *p, int *bad): a read that may fault. */
	.globl probe_read, probe_insn, probe_fixup
probe_read:
probe_insn:
	mov (%rdi), %rax
	ret
probe_fixup:
	mov $-1, %rax
	ret

	.bss
	.balign 64
	.skip 0x8000
	.globl stack_top
stack_top:

	.section .note.GNU-stack, "", @progbits
