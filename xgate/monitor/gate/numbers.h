/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers that C and assembly of both monitors share. */
#ifndef GATE_NUMBERS_H
#define GATE_NUMBERS_H

/* RFLAGS. */
#define FLAG_FIXED 0x2 /* always 1 */
#define FLAG_TF 0x100
#define FLAG_IF 0x200
#define FLAG_DF 0x400
#define FLAG_NT 0x4000
#define FLAG_RF 0x10000
#define FLAG_AC 0x40000
/* What the user may choose: arithmetic flags and CF..OF, TF, DF, NT, RF, AC, ID. */
#define FLAGS_USER 0x254dd5
/* Flags that must not be set while the monitor or the kernel runs. */
#define FLAGS_SPECIAL (FLAG_TF | FLAG_DF | FLAG_NT | FLAG_AC)

/* Selectors of ring 3, as Linux has them: 64-bit and 32-bit code, data. */
#define USER_CS 0x33
#define USER_CS32 0x23
#define USER_SS 0x2b

/* struct kernel_frame: a paracell_kframe with what iretq wants behind it. */
#define KF_IRET PARACELL_KFRAME_SIZEOF
#define KF_RESTORE_IRQ (KF_IRET + 40)
#define KF_SIZEOF (KF_IRET + 48)

/* The result of enter_slow with which the user is entered. */
#define ENTER_GO (-1)

#define GP(reg) (PARACELL_REGS_GP_OFFSET + 8 * PARACELL_REG_##reg)

#endif
