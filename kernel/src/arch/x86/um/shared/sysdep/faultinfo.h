/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the processor said about the last exception of a task. It is what
 * signal frames and the page-fault code look at.
 */
#ifndef __SYSDEP_X86_FAULTINFO_H
#define __SYSDEP_X86_FAULTINFO_H

struct faultinfo {
	int error_code;
	unsigned long cr2;
	int trap_no;
};

/* Bits of a page fault's error code. */
#define FAULT_EC_PRESENT	0x01
#define FAULT_EC_WRITE		0x02
#define FAULT_EC_USER		0x04
#define FAULT_EC_EXEC		0x10
#define FAULT_EC_PKEY		0x20

#endif
