/* SPDX-License-Identifier: Apache-2.0 */
/* What the gates keep where the user can see it. */

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
