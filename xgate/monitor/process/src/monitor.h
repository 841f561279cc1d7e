/* SPDX-License-Identifier: Apache-2.0 */
/* The monitor of platform process; docs/xgate.md is its description. */
#ifndef MONITOR_H
#define MONITOR_H

#include "paracell_abi.h"
#include "layout.h"

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long s64;

#define noreturn __attribute__((noreturn))
#define NEVER (~0ULL)

/* Files that the creator of the cell hands over. */
enum { FD_MEMORY = 3, FD_CONSOLE = 4, FD_NOTIFY = 5, FD_FILTER = 6, FD_STATUS = 7, FD_KERNEL = 8 };

/* Signals. A kick only makes the process look at Vcpu.Pending. */
enum {
	SIG_ILL = 4, SIG_TRAP = 5, SIG_BUS = 7, SIG_FPE = 8, SIG_KILL = 9, SIG_KICK = 10,
	SIG_SEGV = 11, SIG_TIMER = 14, SIG_CHILD = 17, SIG_SYS = 31,
};

/*
 * Bits of Slot.cmd; the number of the vCPU stands above CMD_VCPU_SHIFT, that of
 * the host's processor it comes from above CMD_CPU_SHIFT.
 */
enum {
	CMD_FLUSH = 1, /* unmap the user half */
	CMD_FREE = 2,  /* go back into stock */
	CMD_RUN = 4,   /* take over the vCPU */
	CMD_CARRY = 8, /* with CMD_RUN: live FP state is in Control.spill */
	CMD_EXIT = 16, /* end */
	CMD_VCPU_SHIFT = 8,
	CMD_CPU_SHIFT = 16,
};

#define control ((struct paracell_control *)PARACELL_CONTROL_BASE)

/* entry.S */
extern struct paracell_vcpu *my_vcpu;
extern u32 my_slot;
extern u8 in_user, selector;
extern u64 chain[MAX_NESTING];
extern u64 scratch_ax, scratch_cx, scratch_dx;
extern u8 altstack[ALTSTACK_SIZE];

noreturn void leave(long code);
noreturn void enter_resume(void);
noreturn void start_kernel(u64 entry, u64 control_area);
long fp_save(void *area);
long fp_restore(const void *area);
void fp_reload(const void *area);
void set_bases(u64 fs, u64 gs);
void set_kernel_pkru(void);
long host_syscall(long nr, ...);
long host_syscall_at(u64 sp, long nr, ...);

/* A kernel context on the kernel stack, see vector in entry.S. */
struct kernel_frame {
	struct paracell_kframe k;
	u64 iret[5];
	u64 restore_irq; /* 1: set Vcpu.IRQEnabled on the way out */
};
_Static_assert(sizeof(struct kernel_frame) == KF_SIZEOF, "kernel_frame");
noreturn void vector(struct kernel_frame *kf, long irq);

/* main.c: what the warden was started with. */
extern struct paracell_vcpu no_vcpu;
extern u64 mem_size;
extern u32 isolation, max_slots;
extern int warden_pid; /* in the cell's PID namespace */

/* slot.c */
extern u8 parked;
extern u8 fp_carried;
void slot_start(u32 id);
noreturn void slot_replace(u32 id, struct paracell_vcpu *v);
noreturn void slot_boot(void);
long slot_take(void);
long slot_release(u32 id);
long slot_flush(u32 id);
int slot_pop_free(u32 *id);
noreturn void hand_over(void);
long enter_slow(struct paracell_regs *regs);

/* place.c */
long place_init(void);
u32 place_here(void);
void place_arrive(u32 from);
void place_free(void);

/* space.c */
long space_apply(struct paracell_vcpu *v);
void space_flush(void);
long space_kmap(u64 va, u64 gpa, u64 len, u32 prot);
long space_kunmap(u64 va, u64 len);
void space_sync_kernel(void);

/* timer.c */
void timer_set(u64 deadline);
void timer_arrive(void);
void timer_fired(void);
void timer_forget(void);
long vcpu_idle(void);

/* trap.c */
void measure_frames(void);
void install_handlers(void);

/* warden.c */
noreturn void warden_loop(void);
void warden_poke(void);

/* lib.c */
void *memcpy(void *to, const void *from, unsigned long n);
void *memset(void *to, int byte, unsigned long n);
unsigned long text_len(const char *s);
void text_number(char *to, u64 value, int base);
noreturn void process_exit(int status);
noreturn void cell_end(u32 reason, int code, s64 detail, const char *text);
noreturn void broken(int line, const char *text);

#define atomic_load(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
#define atomic_store(p, v) __atomic_store_n(p, v, __ATOMIC_SEQ_CST)
#define atomic_swap(p, v) __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST)
#define atomic_or(p, v) __atomic_fetch_or(p, v, __ATOMIC_SEQ_CST)
#define atomic_add(p, v) __atomic_add_fetch(p, v, __ATOMIC_SEQ_CST)

static inline u64 rdtsc(void)
{
	u32 lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (u64)hi << 32 | lo;
}

#endif
