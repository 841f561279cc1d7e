/* SPDX-License-Identifier: Apache-2.0 */
/* Macros of all assembly of the monitors. */
#ifndef GATE_MACROS_S
#define GATE_MACROS_S

/* A wrpkru that becomes a no-op where there are no keys. */
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

/* A place inside code that others compare instruction pointers with. */
.macro MARK name
	.globl \name
\name:
.endm

#endif
