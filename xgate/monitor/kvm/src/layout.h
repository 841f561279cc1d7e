/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers that C, assembly and vmm/kvm (layout.go) share. */
#ifndef LAYOUT_H
#define LAYOUT_H

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

/* Selectors; those of ring 3 are the ones that programs know from Linux. */
#define RING0_CS 0x10
#define RING0_SS 0x18
#define USER_CS32 0x23
#define USER_SS 0x2b
#define USER_CS 0x33
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

/* struct kernel_frame: a paracell_kframe with what iretq wants behind it. */
#define KF_IRET PARACELL_KFRAME_SIZEOF
#define KF_RESTORE_IRQ (KF_IRET + 40)
#define KF_SIZEOF (KF_IRET + 48)

/* Results of enter_slow beside those of EntryEnter. */
#define ENTER_GO (-1)

#define STACK_SIZE 0x4000
#define CONSOLE_SIZE 0x4000

#define GP(reg) (PARACELL_REGS_GP_OFFSET + 8 * PARACELL_REG_##reg)

#endif
