/* SPDX-License-Identifier: GPL-2.0 */
/*
 * FP, SSE, AVX and AVX-512 registers of user code, and its FS and GS bases.
 *
 * The kernel uses none of them, so they stay in the processor while it runs:
 * vcpu->live says that they do. They are written to the task's image when
 * another task needs the registers or when somebody looks.
 */
#ifndef __UM_PARACELL_FPU_H
#define __UM_PARACELL_FPU_H

#include <linux/types.h>

/* XSAVE standard format, components 0xe7; the largest that the monitor moves. */
#define PARACELL_FPU_SIZE	2688

struct paracell_fpu {
	u8 xsave[PARACELL_FPU_SIZE];
} __aligned(64);

struct task_struct;

/*
 * Bring t's image and its gp[FS_BASE], gp[GS_BASE] up to date with the
 * registers, which stay live. Does nothing when they are not in the
 * processor.
 */
void paracell_fpu_sync(struct task_struct *t);

/*
 * current's image or bases have been changed (or all of it has become
 * meaningless): forget the registers, load the image before user code runs.
 */
void paracell_fpu_drop(void);

/* The state that a new program starts with. Does not touch live registers. */
void paracell_fpu_init(struct task_struct *t);

/* From __switch_to, before next runs. */
void paracell_fpu_switch(struct task_struct *prev, struct task_struct *next);

/*
 * From copy_thread, after p->thread has been reset and p's general registers
 * have been copied: give p a copy of current's state.
 */
void paracell_fpu_copy(struct task_struct *p);

#endif
