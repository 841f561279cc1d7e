/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers that C and assembly of the monitor share. */
#ifndef LAYOUT_H
#define LAYOUT_H

#include "numbers.h"

/* Values of the Syscall User Dispatch selector (linux/syscall_user_dispatch.h). */
#define SELECTOR_ALLOW 0
#define SELECTOR_BLOCK 1

/* Where the host puts things in a signal frame (struct rt_sigframe). */
#define FRAME_RESTORER 0
#define FRAME_MCONTEXT 48
#define FRAME_IP (FRAME_MCONTEXT + 128)
#define FRAME_FLAGS (FRAME_MCONTEXT + 136)

/* Components of the FP state, and what stands at the same place in every processor. */
#define XSTATE_YMM 0x4
#define XSTATE_OPMASK 0x20
#define XSTATE_ZMM_HI256 0x40
#define XSTATE_HI16 0x80
#define XSTATE_FCW_INIT 0x37f /* with the words behind it, which are 0 */
#define XSTATE_FIP 8
#define XSTATE_MXCSR 24
#define XSTATE_MXCSR_INIT 0x1f80
#define XSTATE_ST 32
#define XSTATE_XMM 160
#define XSTATE_BV 512

/* Nesting of signal frames that the entry recognises, see sig_entry. */
#define MAX_NESTING 8

/* A result of enter_slow beside ENTER_GO and those of EntryEnter. */
#define ENTER_HANDOVER (-2)

#define STACK_SIZE 0x4000
#define ALTSTACK_SIZE 0x10000

#endif
