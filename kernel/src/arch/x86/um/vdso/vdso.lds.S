/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Layout of the vDSO: one readable and executable segment, with the data pages
 * (UM_VVAR_PAGES of them) right in front of it.
 */
#include <asm/page.h>
#include <asm/vdso.h>

#define PT_GNU_EH_FRAME	0x6474e550

SECTIONS
{
	_vdso_data = . - UM_VVAR_PAGES * PAGE_SIZE;
	_timens_data = _vdso_data + UM_VVAR_TIMENS * PAGE_SIZE;
	_vdso_rng_data = _vdso_data + UM_VVAR_RNG_OFFSET;

	. = SIZEOF_HEADERS;

	.hash		: { *(.hash) }			:text
	.gnu.hash	: { *(.gnu.hash) }
	.dynsym		: { *(.dynsym) }
	.dynstr		: { *(.dynstr) }
	.gnu.version	: { *(.gnu.version) }
	.gnu.version_d	: { *(.gnu.version_d) }
	.gnu.version_r	: { *(.gnu.version_r) }

	.dynamic	: { *(.dynamic) }		:text	:dynamic

	.rodata		: {
		*(.rodata*)
		*(.data*)
		*(.got.plt) *(.got)
		*(.bss*)
	}						:text

	.note		: { *(.note.*) }		:text	:note

	.eh_frame_hdr	: { *(.eh_frame_hdr) }		:text	:eh_frame_hdr
	.eh_frame	: { KEEP (*(.eh_frame)) }	:text

	/* Code in cache lines of its own. */
	. = ALIGN(0x100);
	.text		: { *(.text*) }			:text	=0x90909090

	/DISCARD/	: { *(.discard*) *(.llvm_addrsig) }
}

PHDRS
{
	text		PT_LOAD		FLAGS(5) FILEHDR PHDRS;
	dynamic		PT_DYNAMIC	FLAGS(4);
	note		PT_NOTE		FLAGS(4);
	eh_frame_hdr	PT_GNU_EH_FRAME;
}

VERSION {
	LINUX_2.6 {
	global:
		clock_gettime;
		__vdso_clock_gettime;
		gettimeofday;
		__vdso_gettimeofday;
		getcpu;
		__vdso_getcpu;
		time;
		__vdso_time;
		clock_getres;
		__vdso_clock_getres;
#ifdef CONFIG_VDSO_GETRANDOM
		getrandom;
		__vdso_getrandom;
#endif
		__paracell_gate;
	local: *;
	};
}
