/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Test builds ("make OFF=NAME") leave out one defence, to show that an attack on
 * it then succeeds (integration/attack). They carry a symbol that no other build
 * has, so that one cannot be mistaken for the monitor.
 *
 * OFF_COMPARE   the exit gate does not look at what it has loaded into PKRU
 * OFF_XRSTOR    who jumps to xrstor may go on
 * OFF_FRAME     every stack at the signal entry is believed
 * OFF_SELECTOR  a user with OFF_TRIGGER in r15 keeps the host's calls; for all
 *               of them no program would run
 * OFF_STACK     the gate stays on the user's stack, if r15 is OFF_TRIGGER
 * OFF_FLAGS     the user's flags are the kernel's
 * OFF_BASES     the gate finds the vCPU by the user's GS base, if there is one
 * OFF_STEP      a single step inside the gate is the user's
 * OFF_RESTART   an interrupt inside the gate does not start it over, if r15 is
 *               OFF_TRIGGER
 * OFF_VECTORS   one exception is left to the host
 * OFF_EXIT      a fault in the exit gate is the monitor's own
 */
#ifndef OFF_H
#define OFF_H

#define OFF_TRIGGER 0x0ff0ff

#if defined(DEFENCE_OFF) && defined(__ASSEMBLER__)
	.globl defence_off
	.set defence_off, 1
#endif

#endif
