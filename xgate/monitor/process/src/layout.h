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

/* Nesting of signal frames that the entry recognises, see sig_entry. */
#define MAX_NESTING 8

/* A result of enter_slow beside ENTER_GO and those of EntryEnter. */
#define ENTER_HANDOVER (-2)

#define STACK_SIZE 0x4000
#define ALTSTACK_SIZE 0x10000

#endif
