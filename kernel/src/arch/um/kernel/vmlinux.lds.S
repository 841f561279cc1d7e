/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Three segments, page aligned: text (read, execute), read-only data, data.
 * The whole image is in guest physical memory at PARACELL_KERNEL_GPA.
 */
#include <asm/thread_info.h>
#include <asm/paracell_abi.h>
#define RO_EXCEPTION_TABLE_ALIGN 16
#define RUNTIME_DISCARD_EXIT
/* The monitor maps the segments once: what init writes is data for good. */
#define RO_AFTER_INIT_DATA
#include <asm-generic/vmlinux.lds.h>
#include <asm/page.h>

OUTPUT_FORMAT(elf64-x86-64)
OUTPUT_ARCH(i386:x86-64)
ENTRY(_start)
jiffies = jiffies_64;

PHDRS
{
	text PT_LOAD FLAGS(5);
	rodata PT_LOAD FLAGS(4);
	data PT_LOAD FLAGS(6);
}

SECTIONS
{
	. = PARACELL_PHYS_BASE + PARACELL_KERNEL_GPA;

	_text = .;
	.text : {
		_stext = .;
		HEAD_TEXT
		TEXT_TEXT
		SCHED_TEXT
		LOCK_TEXT
		IRQENTRY_TEXT
		SOFTIRQENTRY_TEXT
		*(.text.unlikely.*)
		*(.altinstr_aux)
		*(.fixup)
		/*
		 * Room for what must not stay where it is, because its bytes hold
		 * an instruction that only gates may have (xgate/scrub).
		 */
		. = ALIGN(64);
		__xgate_thunks = .;
		. += 0x2000;
		__xgate_thunks_end = .;
	} :text = 0xcccccccc
	/* Init text stays with the text: pages of it are not worth a segment. */
	.init.text : {
		_sinittext = .;
		INIT_TEXT
		EXIT_TEXT
		_einittext = .;
	} :text
	. = ALIGN(PAGE_SIZE);
	_etext = .;

	_sdata = .;
	/* Opens the segment that the sections of RO_DATA stay in. */
	.rodata_head : { QUAD(0) } :rodata
	RO_DATA(PAGE_SIZE)
	. = ALIGN(PAGE_SIZE);

	.data : {
		_data_start = .;
		INIT_TASK_DATA(THREAD_SIZE)
		NOSAVE_DATA
		PAGE_ALIGNED_DATA(PAGE_SIZE)
		CACHELINE_ALIGNED_DATA(64)
		READ_MOSTLY_DATA(64)
		DATA_DATA
		*(.data.rel .data.rel.*)
		__start_ro_after_init = .;
		*(.data..ro_after_init)
		JUMP_TABLE_DATA
		__end_ro_after_init = .;
		CONSTRUCTORS
		*(.got) *(.got.plt)
	} :data
	BUG_TABLE
	_edata = .;

	. = ALIGN(PAGE_SIZE);
	__init_begin = .;
	INIT_DATA_SECTION(16)
	PERCPU_SECTION(64)
	.exit.data : { EXIT_DATA }
	.altinstructions : {
		__alt_instructions = .;
		*(.altinstructions)
		__alt_instructions_end = .;
	}
	.altinstr_replacement : { *(.altinstr_replacement) }
	. = ALIGN(PAGE_SIZE);
	__init_end = .;

	BSS_SECTION(PAGE_SIZE, PAGE_SIZE, PAGE_SIZE)
	. = ALIGN(PAGE_SIZE);
	_end = .;

	STABS_DEBUG
	DWARF_DEBUG
	ELF_DETAILS

	DISCARDS
	/DISCARD/ : { *(.eh_frame) *(.dynamic) *(.interp) *(.rela*) *(.note.gnu.property) }
}
