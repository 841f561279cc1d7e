/* SPDX-License-Identifier: Apache-2.0 */
/* The monitor of platform kvm; docs/kvm.md is its description. */
#ifndef MONITOR_H
#define MONITOR_H

#include "paracell_abi.h"
#include "layout.h"

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long s64;

#define noreturn __attribute__((noreturn))
#define NEVER (~0ULL)

enum {
	ERR_AGAIN = 11, ERR_NOMEM = 12, ERR_FAULT = 14, ERR_INVAL = 22, ERR_NOSYS = 38,
};

#define control ((struct paracell_control *)PARACELL_CONTROL_BASE)

/*
 * What the VMM fills in before the vCPU runs (vmm/kvm, handoff). Addresses are
 * guest physical. The pool follows the image in the monitor's memory.
 */
struct handoff {
	u64 isolation;
	u64 kernel_table; /* top level of the kernel's page table */
	u64 user_window;  /* entry of user tables for the window, pagetable only */
	u64 pool;         /* first page of the pool */
	u64 pool_pages;
	u64 pool_used;    /* pages that the VMM has used for the tables above */
	u64 syscall_entry; /* virtual address */
	u64 probe;        /* 1: end after the self-test */
};
extern struct handoff handoff;

/* entry.S */
extern struct paracell_vcpu *my_vcpu;
extern u32 current_as;
extern u8 in_user, pagetable;
extern u64 scratch_ax, scratch_cx, scratch_dx;

noreturn void leave(long code);
noreturn void start_kernel(u64 entry, u64 control_area);
long fp_save(void *area);
long fp_restore(const void *area);
long copy_bytes(void *to, const void *from, unsigned long n);
void set_bases(u64 fs, u64 gs);
void load_table_mk(u64 cr3);
void load_table_pt(u64 cr3);
void probe_syscall(void);
long probe_keys(void);

/* What the exit gate loads (isolation pagetable), through the alias. */
extern u64 go_cr3;

/* A kernel context on the kernel stack, see vector in entry.S. */
struct kernel_frame {
	struct paracell_kframe k;
	u64 iret[5];
	u64 restore_irq; /* 1: set Vcpu.IRQEnabled on the way out */
};
_Static_assert(sizeof(struct kernel_frame) == KF_SIZEOF, "kernel_frame");
noreturn void vector(struct kernel_frame *kf, long irq);

/* trap.c */
extern u8 probing, syscall_faults;

/* space.c */
void space_init(void);
long space_create(void);
long space_destroy(u64 as);
long space_flush(u64 as);
long space_apply(struct paracell_vcpu *v);
long space_switch(u32 as);
void space_sync(void);
long space_kmap(u64 va, u64 gpa, u64 len, u32 prot);
long space_kunmap(u64 va, u64 len);

/* call.c */
void *memcpy(void *to, const void *from, unsigned long n);
void *memset(void *to, int byte, unsigned long n);
noreturn void cell_end(u32 reason, int code, s64 detail, const char *text);
noreturn void broken(int line, const char *text);
long enter_slow(struct paracell_regs *regs);

/* bell rings the VMM: the store leaves the VM. */
static inline void bell(u32 nr, u64 value)
{
	__asm__ volatile("mov %0, (%1)" : : "a"(value), "d"(DOORBELL + 8 * (u64)nr) : "memory");
}

#define atomic_load(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
#define atomic_store(p, v) __atomic_store_n(p, v, __ATOMIC_SEQ_CST)
#define atomic_swap(p, v) __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST)

#endif
