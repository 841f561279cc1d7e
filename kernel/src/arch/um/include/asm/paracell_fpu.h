/* SPDX-License-Identifier: GPL-2.0 */
/*
 * FP, SSE, AVX and AVX-512 registers of user code, and its FS and GS bases.
 *
 * The kernel uses none of them, so they stay in the processor while it runs:
 * vcpu->live says that they do. They are written to the task's image when
 * another user task needs the registers or when somebody looks. While they
 * are live the image and gp[FS_BASE], gp[GS_BASE] are stale; while they are
 * not, those are the truth and the way to user mode loads them.
 */
#ifndef __UM_PARACELL_FPU_H
#define __UM_PARACELL_FPU_H

#include <linux/types.h>

/* XSAVE standard format, components 0xe7; the largest that the monitor moves. */
#define PARACELL_FPU_SIZE	2688

/*
 * The image is laid out so that it can be copied to a signal frame as it is:
 * the bytes that XSAVE leaves to software hold the frame's magic numbers.
 */
struct paracell_fpu {
	u8 xsave[PARACELL_FPU_SIZE];
	u32 magic2;		/* used when the image fills xsave[] */
} __aligned(64);

struct task_struct;

/* Components in use (XCR0 and 0xe7) and the bytes of an image. */
extern u64 paracell_xfeatures;
extern unsigned int paracell_xstate_size;

/*
 * Bring t's image and its gp[FS_BASE], gp[GS_BASE] up to date with the
 * registers, which stay live. Does nothing when they are not in the
 * processor.
 */
void paracell_fpu_sync(struct task_struct *t);

/*
 * Forget current's live FP registers: its image will be loaded before user
 * code runs, and the caller may write to it from now on. The FS and GS bases
 * are kept: they go to gp[FS_BASE] and gp[GS_BASE], which the caller may then
 * change too.
 */
void paracell_fpu_drop(void);

/*
 * The state that a new program starts with. t is not running, or
 * paracell_fpu_drop() has been called.
 */
void paracell_fpu_init(struct task_struct *t);

/* From __switch_to, before next runs. */
void paracell_fpu_switch(struct task_struct *prev, struct task_struct *next);

/*
 * From copy_thread, after p->thread has been reset and p's general registers
 * have been copied: give p a copy of current's state and bases.
 */
void paracell_fpu_copy(struct task_struct *p);

/*
 * The signal frame's part; buf is 64-byte aligned for saving. Both leave
 * current's registers dropped.
 */
unsigned int paracell_fpu_frame_size(void);
bool paracell_fpu_to_frame(void __user *buf);
bool paracell_fpu_from_frame(const void __user *buf);

/* Views for regsets; t is stopped, or current in a core dump. */
struct membuf;
void paracell_fpu_get_fxsave(struct task_struct *t, struct membuf *to);
int paracell_fpu_set_fxsave(struct task_struct *t, const void *fxsave);
void paracell_fpu_get_xsave(struct task_struct *t, struct membuf *to);
int paracell_fpu_set_xsave(struct task_struct *t, const void *xsave);

#endif
