/* SPDX-License-Identifier: GPL-2.0 */
/* ELF programs as x86-64 has them; what is told to them in the aux vector. */
#ifndef __UM_ELF_X86_H
#define __UM_ELF_X86_H

#include <linux/thread_info.h>
#include <asm/auxvec.h>
#include <asm/ptrace.h>
#include <asm/user.h>

/* Relocations, for the module loader. */
#define R_X86_64_NONE		0
#define R_X86_64_64		1
#define R_X86_64_PC32		2
#define R_X86_64_GOT32		3
#define R_X86_64_PLT32		4
#define R_X86_64_COPY		5
#define R_X86_64_GLOB_DAT	6
#define R_X86_64_JUMP_SLOT	7
#define R_X86_64_RELATIVE	8
#define R_X86_64_GOTPCREL	9
#define R_X86_64_32		10
#define R_X86_64_32S		11
#define R_X86_64_16		12
#define R_X86_64_PC16		13
#define R_X86_64_8		14
#define R_X86_64_PC8		15
#define R_X86_64_PC64		24

#define ELF_CLASS	ELFCLASS64
#define ELF_DATA	ELFDATA2LSB
#define ELF_ARCH	EM_X86_64
#define ELF_PLATFORM	"x86_64"
#define ELF_EXEC_PAGESIZE	4096

#define elf_check_arch(x)	((x)->e_machine == EM_X86_64)

typedef unsigned long elf_greg_t;

#define ELF_NGREG	(sizeof(struct user_regs_struct) / sizeof(elf_greg_t))
typedef elf_greg_t elf_gregset_t[ELF_NGREG];
typedef struct user_i387_struct elf_fpregset_t;

/* start_thread() clears all registers. */
#define ELF_PLAT_INIT(regs, load_addr)	do { } while (0)

#define CORE_DUMP_USE_REGSET
#define ELF_CORE_COPY_REGS(pr_reg, _regs)	\
	memcpy(pr_reg, (_regs)->regs.gp, sizeof(elf_gregset_t));

/*
 * Where x86-64 puts position-independent programs. Not derived from TASK_SIZE,
 * which is a little lower here: memory sanitizers know the place.
 */
#define ELF_ET_DYN_BASE		0x555555554000UL

/* Pages by which the stack is moved at random: 16 GiB. */
#define __STACK_RND_MASK	0x3fffff
#define STACK_RND_MASK		__STACK_RND_MASK

/* READ_IMPLIES_EXEC is not inherited by 64-bit programs. */
#define SET_PERSONALITY(ex)	(current->personality &= ~READ_IMPLIES_EXEC)

/* CPUID leaf 1, EDX. */
extern unsigned long um_elf_hwcap;
#define ELF_HWCAP		(um_elf_hwcap)

/* HWCAP2_FSGSBASE where the processor has it; no ring-3 MONITOR. */
extern unsigned long um_elf_hwcap2;
#define ELF_HWCAP2		(um_elf_hwcap2)

/* No vsyscall page. */
#define FIXADDR_USER_START	0
#define FIXADDR_USER_END	0

#define ARCH_HAS_SETUP_ADDITIONAL_PAGES 1
struct linux_binprm;
extern int arch_setup_additional_pages(struct linux_binprm *bprm,
				       int uses_interp);

#define ARCH_DLINFO							\
do {									\
	if (current->mm->context.vdso)					\
		NEW_AUX_ENT(AT_SYSINFO_EHDR, current->mm->context.vdso); \
	NEW_AUX_ENT(AT_MINSIGSTKSZ, get_sigframe_size());		\
	NEW_AUX_ENT(AT_PARACELL_GATE, PARACELL_GATE);			\
} while (0)

#endif
