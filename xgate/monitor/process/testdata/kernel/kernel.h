/* SPDX-License-Identifier: Apache-2.0 */
/* A kernel in miniature for tests of the monitor. */
#ifndef KERNEL_H
#define KERNEL_H

#include "paracell_abi.h"
#include "user.h"

typedef unsigned int u32;
typedef unsigned long long u64;

#define control ((struct paracell_control *)PARACELL_CONTROL_BASE)
#define vcpu (&control->vcpus[0])
#define NEVER (~0ULL)
#define R(name) PARACELL_REG_##name

static inline long call(long nr, u64 a0, u64 a1, u64 a2, u64 a3)
{
	return ((long (*)(long, u64, u64, u64, u64))(PARACELL_MONITOR_BASE + PARACELL_ENTRY_CALL))(nr, a0, a1, a2, a3);
}

static inline u64 rdtsc(void)
{
	u32 lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (u64)hi << 32 | lo;
}

/* A user context in an address space. */
struct task {
	_Alignas(64) unsigned char fp[PARACELL_XSTATE_SIZE];
	struct paracell_regs regs;
	u32 as;
};

extern struct paracell_kframe last_frame;
extern volatile u64 vector_irqs, vector_traps;
extern int (*trap_hook)(struct paracell_kframe *); /* 1: handled */
extern u64 irq_count; /* ExitIRQ and vector together, by user_run */
extern int failures;

void print(const char *format, ...);
void fail(const char *file, int line, const char *what, u64 got, u64 want);
#define EXPECT(got, want) do { u64 g_ = (u64)(got), w_ = (u64)(want); \
	if (g_ != w_) fail(__FILE__, __LINE__, #got, g_, w_); } while (0)

u64 page_alloc(void); /* GPA of a zeroed page */
void *page_ptr(u64 gpa);

void task_init(struct task *t, void *entry);
void task_entry(struct task *t, void *entry);
void task_destroy(struct task *t);
void task_map(struct task *t, u64 va, u64 len, u64 gpa, u32 prot);
void queue_op(u32 op, u64 va, u64 len, u64 gpa, u32 prot);
long task_enter(struct task *t);  /* one EntryEnter */
long task_run(struct task *t);    /* until it is not an interrupt */
u64 task_finish(struct task *t);  /* until gate call 0: its argument */
u64 task_call(struct task *t, void *entry, u64 a0, u64 a1);
void arm_us(u64 us);

extern u64 rearm_us; /* task_run re-arms the timer with it if not 0 */

#define PROGRAMS(X) X(gate) X(raw) X(gate_loop) X(raw_loop) X(read) X(write) X(jump) X(int3) X(ud2) X(divide) X(int80) \
	X(sysenter) X(hlt) X(vsyscall) X(compat) X(spin) X(flags) X(step) X(bases) X(storm) X(attack)
#define X(name) extern char user_##name[];
PROGRAMS(X)
#undef X

#endif
