/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers that C, assembly and vmm/kvm (layout.go) share. */
#ifndef LAYOUT_H
#define LAYOUT_H

#include "numbers.h"

/* Selectors of ring 0. */
#define RING0_CS 0x10
#define RING0_SS 0x18
#define TSS_SELECTOR 0x40

/* Where vmm/kvm maps, beside the image, from the kernel's side (docs/kvm.md). */
#define R0_ALIAS (PARACELL_MONITOR_BASE + 0x10000000)  /* the page of ring 0 */
#define DOORBELL (PARACELL_MONITOR_BASE + 0x10001000)  /* every write leaves the VM */
#define POOL_BASE (PARACELL_MONITOR_BASE + 0x40000000) /* page tables */

/* Words of the doorbell page. */
#define BELL_NOTIFY 0
#define BELL_TIMER 1
#define BELL_IDLE 2
#define BELL_EXIT 3
#define BELL_CONSOLE 4

/* Isolation modes; the first two as in BootParams. */
#define ISOLATION_NONE 0
#define ISOLATION_MPK 1
#define ISOLATION_PAGETABLE 2

/* Vectors: the processor's, the one of the VMM, and entries that are none. */
#define VEC_DB 1
#define VEC_BP 3
#define VEC_UD 6
#define VEC_GP 13
#define VEC_PF 14
#define VEC_IRQ 32
#define NUM_VECTORS 33
#define VEC_SYSCALL 256
#define VEC_SYSCALL32 257
#define STUB_SIZE 64

/* Trap frame, counted back from its end: pushed by processor and stub. */
#define TF_SS 8
#define TF_SP 16
#define TF_FLAGS 24
#define TF_CS 32
#define TF_IP 40
#define TF_ERR 48
#define TF_VEC 56
#define TF_AX 64
#define TF_CR2 72
#define TF_CX 80
#define TF_DX 88

#define STACK_SIZE 0x4000
#define CONSOLE_SIZE 0x4000

#endif
