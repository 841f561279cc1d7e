// SPDX-License-Identifier: Apache-2.0

#include "textflag.h"

// func cpuid(leaf, sub uint32) (a, b, c, d uint32)
TEXT ·cpuid(SB), NOSPLIT, $0-24
	MOVL	leaf+0(FP), AX
	MOVL	sub+4(FP), CX
	CPUID
	MOVL	AX, a+8(FP)
	MOVL	BX, b+12(FP)
	MOVL	CX, c+16(FP)
	MOVL	DX, d+20(FP)
	RET

// func xgetbv0() uint64
TEXT ·xgetbv0(SB), NOSPLIT, $0-8
	XORL	CX, CX
	XGETBV
	SHLQ	$32, DX
	ORQ	DX, AX
	MOVQ	AX, ret+0(FP)
	RET

// func rdpkru() uint32
TEXT ·rdpkru(SB), NOSPLIT, $0-4
	XORL	CX, CX
	BYTE	$0x0f; BYTE $0x01; BYTE $0xee
	MOVL	AX, ret+0(FP)
	RET

// func wrpkru(v uint32)
TEXT ·wrpkru(SB), NOSPLIT, $0-4
	MOVL	v+0(FP), AX
	XORL	CX, CX
	XORL	DX, DX
	BYTE	$0x0f; BYTE $0x01; BYTE $0xef
	RET
