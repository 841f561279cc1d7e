/* SPDX-License-Identifier: GPL-2.0 */
#include "../../entry/vdso/vgetrandom-chacha.S"
	.section .note.GNU-stack, "", @progbits
