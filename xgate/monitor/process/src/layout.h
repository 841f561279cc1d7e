/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers that C and assembly of the monitor share. */
#ifndef LAYOUT_H
#define LAYOUT_H

/* Values of the Syscall User Dispatch selector (linux/syscall_user_dispatch.h). */
#define SELECTOR_ALLOW 0
#define SELECTOR_BLOCK 1

/* RFLAGS. */
#define FLAG_FIXED 0x2 /* always 1 */
#define FLAG_TF 0x100
#define FLAG_DF 0x400
#define FLAG_NT 0x4000
#define FLAG_RF 0x10000
#define FLAG_AC 0x40000
/* What the user may choose: arithmetic flags and CF..OF, TF, DF, NT, RF, AC, ID. */
#define FLAGS_USER 0x254dd5
/* Flags that must not be set while the monitor or the kernel runs. */
#define FLAGS_SPECIAL (FLAG_TF | FLAG_DF | FLAG_NT | FLAG_AC)

/* Code segment selectors of the host for 64-bit and 32-bit user code. */
#define USER_CS 0x33
#define USER_CS32 0x23
#define USER_SS 0x2b

/* Where the host puts things in a signal frame (struct rt_sigframe). */
#define FRAME_RESTORER 0
#define FRAME_MCONTEXT 48
#define FRAME_IP (FRAME_MCONTEXT + 128)

/* Nesting of signal frames that the entry recognises, see sig_entry. */
#define MAX_NESTING 8

/* struct kernel_frame: a paracell_kframe with what iretq wants behind it. */
#define KF_IRET PARACELL_KFRAME_SIZEOF
#define KF_RESTORE_IRQ (KF_IRET + 40)
#define KF_SIZEOF (KF_IRET + 48)

/* Results of enter_slow beside those of EntryEnter. */
#define ENTER_GO (-1)
#define ENTER_HANDOVER (-2)

#define STACK_SIZE 0x4000
#define ALTSTACK_SIZE 0x10000

#define GP(reg) (PARACELL_REGS_GP_OFFSET + 8 * PARACELL_REG_##reg)

#endif
