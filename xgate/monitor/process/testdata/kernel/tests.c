/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel.h"

static struct task a, b;

/* word reads hexadecimal NAME=... from the command line. */
static u64 word(const char *name)
{
	const char *p = (const char *)control->boot.cmdline, *n;
	u64 v = 0;

	for (;;) {
		for (n = name; *n && *n == *p; n++)
			p++;
		if (!*n && *p == '=')
			break;
		while (*p && *p != ' ')
			p++;
		if (!*p++)
			return 0;
	}
	for (p++; *p && *p != ' '; p++)
		v = v * 16 + (u64)(*p <= '9' ? *p - '0' : *p - 'a' + 10);
	return v;
}

/* rounds is n, or less where every event is slow. */
static u64 rounds(u64 n)
{
	u64 slow = word("slow");

	return slow ? n / slow : n;
}

static u64 us(u64 tsc)
{
	return tsc * 1000 / control->boot.tsc_khz;
}

static void test_gate(void)
{
	task_init(&a, user_gate);
	EXPECT(task_finish(&a), 0);
	EXPECT(task_call(&a, user_raw, 0, 0), 0);
	EXPECT(vcpu->gate_calls != 0, 1);
	EXPECT(vcpu->raw_calls, 1);
	task_destroy(&a);
}

/* What is measured is done in parts, of which the quickest counts: the others met
 * an interrupt of the host. */
enum { PARTS = 8 };

static u64 ns(u64 ticks)
{
	return ticks * 1000000 / control->boot.tsc_khz;
}

static u64 least(u64 a, u64 b)
{
	return a < b ? a : b;
}

static void test_speed(void)
{
	const u64 n = rounds(20000) / PARTS;
	u64 gate = NEVER, raw = NEVER, fault = NEVER, t0, t1, t2, i, part;

	task_init(&a, user_gate);
	task_finish(&a);
	for (part = 0; part < PARTS; part++) {
		t0 = rdtsc();
		task_call(&a, user_gate_loop, n, 0);
		t1 = rdtsc();
		task_call(&a, user_raw_loop, n, 0);
		t2 = rdtsc();
		for (i = 0; i < n; i++) {
			task_entry(&a, user_read);
			a.regs.gp[R(DI)] = 0xa00000;
			task_run(&a);
		}
		fault = least(fault, rdtsc() - t2);
		gate = least(gate, t1 - t0);
		raw = least(raw, t2 - t1);
	}
	print("  gate %d ns, raw %d ns, fault %d ns\n", ns(gate) / n, ns(raw) / n, ns(fault) / n);
	task_destroy(&a);
}

/* expect_fault runs a program that must end in this exception. */
static void expect_fault(void *entry, u64 a0, u64 trapno)
{
	task_entry(&a, entry);
	a.regs.gp[R(DI)] = a0;
	EXPECT(task_run(&a), PARACELL_EXIT_FAULT);
	EXPECT(a.regs.trap_no, trapno);
}

static void test_faults(void)
{
	u64 ro;

	task_init(&a, user_gate);
	EXPECT(task_finish(&a), 0);
	ro = page_alloc();
	*(u64 *)page_ptr(ro) = 0x4711;
	task_map(&a, 0x900000, PARACELL_PAGE_SIZE, ro, PARACELL_PROT_READ);
	EXPECT(task_call(&a, user_read, 0x900000, 0), 0x4711);
	expect_fault(user_write, 0x900008, 14);
	EXPECT(a.regs.cr2, 0x900008);
	EXPECT(a.regs.error_code & 7, 7);
	expect_fault(user_read, 0xa00000, 14);
	EXPECT(a.regs.cr2, 0xa00000);
	EXPECT(a.regs.error_code & 7, 4);
	expect_fault(user_jump, 0x900000, 14);
	EXPECT(a.regs.gp[R(IP)], 0x900000);
	EXPECT(a.regs.error_code & 0x15, 0x15);
	queue_op(PARACELL_OP_PROTECT, 0x900000, PARACELL_PAGE_SIZE, 0, PARACELL_PROT_READ | PARACELL_PROT_WRITE);
	EXPECT(task_call(&a, user_write, 0x900000, 0x4712), 0);
	EXPECT(*(u64 *)page_ptr(ro), 0x4712);
	queue_op(PARACELL_OP_UNMAP, 0x900000, PARACELL_PAGE_SIZE, 0, 0);
	expect_fault(user_read, 0x900000, 14);
	expect_fault(user_int3, 0, 3);
	expect_fault(user_ud2, 0, 6);
	expect_fault(user_divide, 0, 0);
	expect_fault(user_hlt, 0, 13);
	expect_fault(user_read, 0x800000000000, 13);
	expect_fault(user_jump, 0x800000000000, 13);
	expect_fault(user_jump, 0xffffffff81000000, 14);
	EXPECT(a.regs.gp[R(IP)], 0xffffffff81000000);
	expect_fault(user_read, 0xffffffff81000000, 14);
	/* The kernel gives it an impossible instruction or stack pointer. */
	task_entry(&a, user_read);
	a.regs.gp[R(IP)] = 0x1234800000000000;
	EXPECT(task_run(&a), PARACELL_EXIT_FAULT);
	EXPECT(a.regs.trap_no, 13);
	EXPECT(a.regs.gp[R(IP)], 0x1234800000000000);
	a.regs.gp[R(IP)] = 0xffffffff81000000;
	EXPECT(task_run(&a), PARACELL_EXIT_FAULT);
	EXPECT(a.regs.gp[R(IP)], 0xffffffff81000000);
	a.regs.gp[R(IP)] = 0x1234800000000000;
	a.regs.gp[R(FLAGS)] |= 0x100;
	EXPECT(task_run(&a), PARACELL_EXIT_FAULT);
	EXPECT(a.regs.gp[R(IP)], 0x1234800000000000);
	task_entry(&a, user_ud2);
	a.regs.gp[R(SP)] = 0x1234800000000000;
	EXPECT(task_run(&a), PARACELL_EXIT_FAULT);
	EXPECT(a.regs.trap_no, 6);
	EXPECT(a.regs.gp[R(SP)], 0x1234800000000000);
	task_destroy(&a);
}

static void test_foreign_calls(void)
{
	task_init(&a, user_gate);
	EXPECT(task_finish(&a), 0);
	expect_fault(user_int80, 0, 13);
	task_entry(&a, user_sysenter);
	EXPECT(task_run(&a), PARACELL_EXIT_FAULT);
	task_entry(&a, user_compat);
	EXPECT(task_run(&a), PARACELL_EXIT_FAULT);
	EXPECT(a.regs.gp[R(CS)], 0x23);
	task_entry(&a, user_vsyscall);
	EXPECT(task_run(&a), PARACELL_EXIT_FAULT);
	EXPECT(task_call(&a, user_gate, 0, 0), 0);
	task_destroy(&a);
}

static void test_bad_ops(void)
{
	static const struct paracell_mapop bad[] = {
		{ PARACELL_OP_MAP, 3, PARACELL_USER_MIN - 4096, 4096, 0 },
		{ PARACELL_OP_MAP, 3, PARACELL_USER_MAX, 4096, 0 },
		{ PARACELL_OP_MAP, 3, PARACELL_USER_MAX - 4096, 8192, 0 },
		{ PARACELL_OP_MAP, 3, PARACELL_MONITOR_BASE, 4096, 0 },
		{ PARACELL_OP_MAP, 3, 0x900001, 4096, 0 },
		{ PARACELL_OP_MAP, 3, 0x900000, 4095, 0 },
		{ PARACELL_OP_MAP, 3, 0x900000, 0, 0 },
		{ PARACELL_OP_MAP, 3, 0x900000, 4096, 1 },
		{ PARACELL_OP_MAP, 3, 0x900000, 4096, 1ULL << 40 },
		{ PARACELL_OP_MAP, 3, 0x900000, ~0ULL << 12, 0 },
		{ PARACELL_OP_MAP, 8, 0x900000, 4096, 0 },
		{ PARACELL_OP_UNMAP, 0, PARACELL_CONTROL_BASE, 4096, 0 },
		{ PARACELL_OP_PROTECT, 7, PARACELL_PHYS_BASE, 4096, 0 },
		{ 7, 0, 0x900000, 4096, 0 },
	};
	unsigned i;

	task_init(&a, user_gate);
	EXPECT(task_finish(&a), 0);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		vcpu->ops[0] = bad[i];
		vcpu->num_ops = 1;
		EXPECT(task_enter(&a), PARACELL_EXIT_ERROR);
		EXPECT(-vcpu->error, 22);
	}
	vcpu->num_ops = 257;
	EXPECT(task_enter(&a), PARACELL_EXIT_ERROR);
	vcpu->as = 8000;
	EXPECT(((long (*)(struct paracell_regs *))(PARACELL_MONITOR_BASE + PARACELL_ENTRY_ENTER))(&a.regs), PARACELL_EXIT_ERROR);
	EXPECT(-call(PARACELL_CALL_AS_DESTROY, 8000, 0, 0, 0), 22);
	EXPECT(-call(PARACELL_CALL_KMAP, PARACELL_CONTROL_BASE, 0, 4096, 3), 22);
	EXPECT(-call(99, 0, 0, 0, 0), 38);
	EXPECT(-call(PARACELL_CALL_CONSOLE, 0x1000, 10, 0, 0), 14);
	task_destroy(&a);
}

static void test_timer(void)
{
	u64 t0, t1, before;

	task_init(&a, user_gate);
	EXPECT(task_finish(&a), 0);
	/* In user code. */
	task_entry(&a, user_spin);
	a.regs.gp[R(DI)] = USER_DATA;
	t0 = rdtsc();
	arm_us(2000);
	EXPECT(task_enter(&a), PARACELL_EXIT_IRQ);
	t1 = rdtsc();
	EXPECT(vcpu->pending, 1 << PARACELL_IRQ_TIMER);
	EXPECT(us(t1 - t0) >= 2000, 1);
	print("  user timer late by %d us, TSC %d kHz\n", us(t1 - t0) - 2000, control->boot.tsc_khz);
	/* Pending: the user must not run. */
	EXPECT(task_enter(&a), PARACELL_EXIT_IRQ);
	vcpu->pending = 0;
	/* In the kernel, first with interrupts off. */
	before = vector_irqs;
	arm_us(500);
	while (!__atomic_load_n(&vcpu->pending, __ATOMIC_RELAXED))
		;
	EXPECT(vector_irqs, before);
	vcpu->pending = 0;
	vcpu->irq_enabled = 1;
	t0 = rdtsc();
	arm_us(2000);
	while (vector_irqs == before)
		;
	t1 = rdtsc();
	EXPECT(vcpu->irq_enabled, 1);
	vcpu->irq_enabled = 0;
	print("  kernel timer late by %d us\n", us(t1 - t0) - 2000);
	/* A later deadline after an earlier one, then none. */
	arm_us(1000);
	t0 = rdtsc();
	arm_us(3000);
	/* The earlier one may have come already, where all is slow. */
	vcpu->pending = 0;
	EXPECT(task_enter(&a), PARACELL_EXIT_IRQ);
	while (!__atomic_load_n(&vcpu->pending, __ATOMIC_RELAXED))
		EXPECT(task_enter(&a), PARACELL_EXIT_IRQ);
	EXPECT(us(rdtsc() - t0) >= 3000, 1);
	vcpu->pending = 0;
	arm_us(1000);
	call(PARACELL_CALL_TIMER, NEVER, 0, 0, 0);
	/* It may have come before, where all is slow. */
	vcpu->pending = 0;
	t0 = rdtsc();
	while (us(rdtsc() - t0) < 3000)
		EXPECT(vcpu->pending, 0);
	/* Idle. */
	t0 = rdtsc();
	arm_us(3000);
	call(PARACELL_CALL_IDLE, 0, 0, 0, 0);
	t1 = rdtsc();
	EXPECT(vcpu->pending, 1 << PARACELL_IRQ_TIMER);
	EXPECT(us(t1 - t0) >= 3000, 1);
	print("  idle timer late by %d us\n", us(t1 - t0) - 3000);
	vcpu->pending = 0;
	task_destroy(&a);
}

/* An interrupt during a monitor call is taken right after it. */
static void test_deferred(void)
{
	u64 before = vector_irqs, t0 = rdtsc();

	vcpu->irq_enabled = 1;
	rearm_us = 0;
	while (vector_irqs < before + 60 && us(rdtsc() - t0) < 60000000) {
		u64 seen = vector_irqs;

		arm_us(20);
		while (vector_irqs == seen)
			call(PARACELL_CALL_CONSOLE, 0, 0, 0, 0);
	}
	vcpu->irq_enabled = 0;
	EXPECT(vector_irqs >= before + 60, 1);
}

extern char probe_insn[], probe_fixup[];
u64 probe_read(const void *p);

static int fix_probe(struct paracell_kframe *f)
{
	if (f->gp[R(IP)] != (u64)probe_insn)
		return 0;
	f->gp[R(IP)] = (u64)probe_fixup;
	return 1;
}

static u64 lazy_page;

static int map_lazy(struct paracell_kframe *f)
{
	if (f->cr2 - PARACELL_VMALLOC_BASE >= PARACELL_PAGE_SIZE)
		return fix_probe(f);
	return call(PARACELL_CALL_KMAP, PARACELL_VMALLOC_BASE, lazy_page, PARACELL_PAGE_SIZE, 3) == 0;
}

static void test_kernel_faults(void)
{
	u64 *p = (u64 *)PARACELL_VMALLOC_BASE;

	trap_hook = fix_probe;
	EXPECT(probe_read((void *)0x7f7000000000), NEVER);
	EXPECT(last_frame.trap_no, 14);
	EXPECT(last_frame.cr2, 0x7f7000000000);
	EXPECT(probe_read((void *)0x800000000000), NEVER);
	EXPECT(last_frame.trap_no, 13);
	/* vmalloc memory comes on fault, in every slot, and goes everywhere. */
	trap_hook = map_lazy;
	lazy_page = page_alloc();
	*p = 0x55;
	EXPECT(*(u64 *)page_ptr(lazy_page), 0x55);
	task_init(&a, user_gate);
	EXPECT(task_finish(&a), 0);
	EXPECT(*p, 0x55);
	call(PARACELL_CALL_KUNMAP, PARACELL_VMALLOC_BASE, PARACELL_PAGE_SIZE, 0, 0);
	lazy_page = page_alloc();
	EXPECT(*p, 0);
	task_init(&b, user_gate);
	EXPECT(task_finish(&b), 0);
	EXPECT(*p, 0);
	*p = 0x66;
	call(PARACELL_CALL_KUNMAP, PARACELL_VMALLOC_BASE, PARACELL_PAGE_SIZE, 0, 0);
	lazy_page = page_alloc();
	EXPECT(task_call(&a, user_gate, 0, 0), 0);
	EXPECT(*p, 0);
	trap_hook = fix_probe;
	EXPECT(((long (*)(void *))(PARACELL_MONITOR_BASE + PARACELL_ENTRY_FP_RESTORE))((char *)a.fp + 1), -14);
	*(u64 *)(a.fp + 512 + 8) = 1;
	EXPECT(((long (*)(void *))(PARACELL_MONITOR_BASE + PARACELL_ENTRY_FP_RESTORE))(a.fp), -14);
	*(u64 *)(a.fp + 512 + 8) = 0;
	vcpu->live = 0;
	if (control->boot.isolation == PARACELL_ISOLATION_MPK)
		EXPECT(probe_read((void *)USER_TEXT), NEVER);
	trap_hook = 0;
	task_destroy(&a);
	task_destroy(&b);
}

static void test_handover(void)
{
	u64 i, n = rounds(2000) / PARTS, part, best = NEVER, t0, page;

	task_init(&a, user_gate);
	EXPECT(task_finish(&a), 0);
	page = page_alloc();
	*(u64 *)page_ptr(page) = 0xa;
	task_map(&a, 0x900000, PARACELL_PAGE_SIZE, page, 3);
	EXPECT(task_call(&a, user_read, 0x900000, 0), 0xa);
	task_init(&b, user_gate);
	EXPECT(task_finish(&b), 0);
	page = page_alloc();
	*(u64 *)page_ptr(page) = 0xb;
	task_map(&b, 0x900000, PARACELL_PAGE_SIZE, page, 3);
	EXPECT(task_call(&b, user_read, 0x900000, 0), 0xb);
	for (part = 0; part < PARTS; part++) {
		t0 = rdtsc();
		for (i = 0; i < n; i++) {
			EXPECT(task_call(&a, user_read, 0x900000, 0), 0xa);
			EXPECT(task_call(&b, user_read, 0x900000, 0), 0xb);
		}
		best = least(best, rdtsc() - t0);
	}
	print("  switch %d ns\n", ns(best) / n / 2);
	EXPECT(vcpu->handovers >= 2 * n, 1);
	/* Flush of an address space that does not run. */
	EXPECT(call(PARACELL_CALL_AS_FLUSH, a.as, 0, 0, 0), 0);
	task_entry(&a, user_read);
	EXPECT(task_run(&a), PARACELL_EXIT_FAULT);
	EXPECT(a.regs.trap_no, 14);
	task_destroy(&a);
	task_destroy(&b);
}

/* FP state and bases stay with the context, also when it moves while live. */
static void test_state(void)
{
	static struct task c;

	task_init(&a, user_bases);
	a.regs.gp[R(FS_BASE)] = a.regs.gp[R(DI)] = 0x123400;
	a.regs.gp[R(GS_BASE)] = a.regs.gp[R(SI)] = 0x567800;
	EXPECT(task_finish(&a), 0);
	/* The same context in another address space, without a save. */
	task_init(&c, user_gate);
	EXPECT(vcpu->live, 1);
	c.as ^= a.as;
	a.as ^= c.as;
	c.as ^= a.as;
	task_entry(&a, user_bases);
	a.regs.gp[R(DI)] = 0x123408;
	a.regs.gp[R(SI)] = 0x567808;
	EXPECT(task_finish(&a), 0);
	/* Bases that the processor refuses become 0. */
	vcpu->live = 0;
	task_entry(&a, user_bases);
	a.regs.gp[R(FS_BASE)] = 1ULL << 63;
	a.regs.gp[R(GS_BASE)] = 0xffff7fffffffffff;
	a.regs.gp[R(DI)] = a.regs.gp[R(SI)] = 0;
	EXPECT(task_finish(&a), 0);
	task_destroy(&a);
	task_destroy(&c);
}

static void test_flags(void)
{
	static const u64 bits[] = { 0x400, 0x4000, 0x40000, 0x44400, 0xcd5 };
	unsigned i;

	task_init(&a, user_gate);
	EXPECT(task_finish(&a), 0);
	for (i = 0; i < sizeof(bits) / sizeof(bits[0]); i++)
		EXPECT(task_call(&a, user_flags, bits[i], 0) & bits[i], bits[i]);
	task_destroy(&a);
}

static void test_step(void)
{
	u64 steps = 0, gates = 0, raws = 0;

	task_init(&a, user_step);
	for (;;) {
		long exit = task_run(&a);

		if (exit == PARACELL_EXIT_FAULT && a.regs.trap_no == 1) {
			steps++;
			continue;
		}
		if (exit == PARACELL_EXIT_SYSCALL && a.regs.gp[R(AX)] == 1) {
			raws++;
			continue;
		}
		if (exit == PARACELL_EXIT_GATE && a.regs.gp[R(AX)] == 1) {
			gates++;
			continue;
		}
		EXPECT(exit, PARACELL_EXIT_GATE);
		EXPECT(a.regs.gp[R(ORIG_AX)], 0);
		break;
	}
	EXPECT(gates, 1);
	EXPECT(raws, 1);
	print("  %d steps\n", steps);
	EXPECT(steps >= 10 && steps <= 14, 1);
	task_destroy(&a);
}

static void test_storm(void)
{
	u64 t0, irqs;
	int i;

	task_init(&a, user_gate);
	EXPECT(task_finish(&a), 0);
	task_init(&b, user_gate);
	EXPECT(task_finish(&b), 0);
	/* Two contexts, interrupted all the time, in kernel and user. */
	task_entry(&a, user_storm);
	task_entry(&b, user_storm);
	irqs = irq_count + vector_irqs;
	t0 = rdtsc();
	for (i = 0; i < 40; i++) {
		rearm_us = 20 + i % 20 * 5;
		/* Longer than it takes to arm the timer: the users have to get on. */
		if (word("slow"))
			rearm_us *= 10 * word("slow");
		arm_us(rearm_us);
		vcpu->irq_enabled = i & 1;
		EXPECT(task_call(&a, user_storm, rounds(1000), 0x0123456789abcdef + i), 0);
		EXPECT(task_call(&b, user_storm, rounds(1000), 0xfedcba9876543210 - i), 0);
		vcpu->irq_enabled = 0;
	}
	rearm_us = 0;
	call(PARACELL_CALL_TIMER, NEVER, 0, 0, 0);
	t0 = rdtsc() - t0;
	print("  %d interrupts in %d us\n", irq_count + vector_irqs - irqs, us(t0));
	t0 = rdtsc();
	while (us(rdtsc() - t0) < 1000)
		vcpu->pending = 0;
	task_destroy(&a);
	task_destroy(&b);
}

/*
 * The host side interrupts the user with signals that meet in the first
 * instructions of their handler, and raises IRQConsole when it is done.
 */
static void test_signals(void)
{
	u64 seen = 0, n = 0;

	task_init(&a, user_spin);
	a.regs.gp[R(DI)] = USER_DATA;
	while (!(seen & 1 << PARACELL_IRQ_CONSOLE) && !failures) {
		EXPECT(task_enter(&a), PARACELL_EXIT_IRQ);
		seen |= __atomic_exchange_n(&vcpu->pending, 0, __ATOMIC_SEQ_CST);
		n++;
	}
	print("  %d interrupts\n", n);
	task_destroy(&a);
}

static void test_many(void)
{
	u64 i, n = rounds(1000), t0 = rdtsc();

	for (i = 0; i < n; i++) {
		task_init(&a, user_gate);
		if (task_finish(&a))
			failures++;
		task_destroy(&a);
	}
	print("  create, run, destroy: %d us\n", us(rdtsc() - t0) / n);
}

static void test_alive_at_once(void)
{
	static struct task many[100];
	int i;

	for (i = 0; i < 100; i++) {
		task_init(&many[i], user_gate);
		EXPECT(task_finish(&many[i]), 0);
	}
	for (i = 0; i < 100; i++)
		EXPECT(task_call(&many[i], user_raw, 0, 0), 0);
	for (i = 0; i < 100; i++)
		task_destroy(&many[i]);
}

/*
 * What is left when nothing runs: the boot slot, the one that the vCPU is in
 * and the stock. The host side looks at them when it reads "inspect".
 */
static void test_leaks(void)
{
	u64 limit = rdtsc() + 60ULL * 1000 * control->boot.tsc_khz;
	u32 want = control->spawn_want + 2;

	while (__atomic_load_n(&control->num_slots, __ATOMIC_RELAXED) > want && rdtsc() < limit) {
		arm_us(100000);
		call(PARACELL_CALL_IDLE, 0, 0, 0, 0);
		vcpu->pending = 0;
	}
	EXPECT(control->num_slots <= want, 1);
	print("inspect %d\n", (u64)control->num_slots);
	call(PARACELL_CALL_IDLE, 0, 0, 0, 0);
	vcpu->pending = 0;
}

static void test_flushed(void)
{
	u64 page = page_alloc(), n = 0;
	long exit;

	task_init(&a, user_gate);
	EXPECT(task_finish(&a), 0);
	/* Alternating pages of two frames never merge. */
	for (;;) {
		while (vcpu->num_ops < PARACELL_MAX_MAP_OPS) {
			task_map(&a, 0x10000000 + n * 8192, PARACELL_PAGE_SIZE, page, PARACELL_PROT_READ);
			n++;
		}
		task_entry(&a, user_gate);
		exit = task_run(&a);
		if (exit != PARACELL_EXIT_GATE)
			break;
		if (n > 200000)
			break;
	}
	EXPECT(exit, PARACELL_EXIT_FLUSHED);
	EXPECT(vcpu->num_ops, 0);
	print("  flushed after %d mappings\n", n);
	task_entry(&a, user_gate);
	EXPECT(task_run(&a), PARACELL_EXIT_FAULT);
	task_destroy(&a);
}

/* The host side raises IRQConsole when it reads "raise". */
static void test_host_irq(void)
{
	task_init(&a, user_gate);
	EXPECT(task_finish(&a), 0);
	print("raise idle\n");
	call(PARACELL_CALL_IDLE, 0, 0, 0, 0);
	EXPECT(__atomic_exchange_n(&vcpu->pending, 0, __ATOMIC_SEQ_CST), 1 << PARACELL_IRQ_CONSOLE);
	print("raise user\n");
	task_entry(&a, user_spin);
	a.regs.gp[R(DI)] = USER_DATA;
	EXPECT(task_enter(&a), PARACELL_EXIT_IRQ);
	EXPECT(__atomic_exchange_n(&vcpu->pending, 0, __ATOMIC_SEQ_CST), 1 << PARACELL_IRQ_CONSOLE);
	task_destroy(&a);
}

/* A stack pointer that leaves the host no room for a signal frame. */
static void test_stack_attack(void)
{
	u64 altstack = word("altstack"), fill;
	int i;

	EXPECT(altstack != 0, 1);
	for (i = 1; i <= 20; i++) {
		task_init(&a, user_ud2);
		fill = (u64)i * 256;
		a.regs.gp[R(SP)] = altstack + 8 + fill;
		EXPECT(task_run(&a), PARACELL_EXIT_ATTACK);
		task_destroy(&a);
	}
	task_init(&a, user_gate);
	EXPECT(task_finish(&a), 0);
	task_destroy(&a);
}

/* What an attacker may put into registers before it jumps. */
static void arm_attack(struct task *t, int set)
{
	u64 *gp = t->regs.gp;
	int i;

	for (i = 0; i < 15; i++)
		gp[i] = USER_DATA + 0x40;
	gp[R(FLAGS)] = 0x202;
	gp[R(SP)] = USER_STACK - 64;
	gp[R(AX)] = gp[R(CX)] = gp[R(DX)] = 0;
	switch (set) {
	case 1:
		gp[R(AX)] = PARACELL_KERNEL_PKRU;
		break;
	case 2:
		gp[R(AX)] = PARACELL_KERNEL_PKRU;
		gp[R(SP)] = *(u64 *)word("chain");
		break;
	case 3:
		gp[R(AX)] = 0x200; /* xrstor of PKRU alone */
		break;
	case 4:
		gp[R(AX)] = 0x200;
		gp[R(SP)] = PARACELL_CONTROL_BASE + 0x1000;
		gp[R(DI)] = PARACELL_CONTROL_BASE;
		break;
	case 5:
		gp[R(AX)] = PARACELL_USER_PKRU;
		break;
	case 6:
		gp[R(AX)] = PARACELL_KERNEL_PKRU;
		gp[R(FLAGS)] = 0x302; /* single step */
		break;
	case 7:
		gp[R(FLAGS)] = 0x302;
		gp[R(SP)] = *(u64 *)word("chain");
		break;
	}
	t->regs.gp[R(CS)] = 0x33;
	t->regs.gp[R(SS)] = 0x2b;
}

/*
 * near_far_return: QEMU's emulation of iretq and lret takes the stack with the
 * rights of ring 0, so that a bad stack pointer there is a fault of the host
 * kernel.
 */
static int near_far_return(u64 off)
{
	const unsigned char *p = (const unsigned char *)PARACELL_MONITOR_BASE + off;
	int i;

	for (i = 0; i < 64; i++)
		if (p[i] == 0xcf || p[i] == 0xcb || p[i] == 0xca)
			return 1;
	return 0;
}

/*
 * Jump to every byte of the monitor. Whatever happens is an event of the user:
 * the kernel gets control back and nothing of its memory has changed.
 */
static void test_attack(void)
{
	u64 text = word("text"), step, emulated = word("emulated"), off, page, counts[8] = { 0 };
	static volatile u64 canary[512];
	int set, i, n;

	if (control->boot.isolation != PARACELL_ISOLATION_MPK)
		return;
	for (i = 0; i < 512; i++)
		canary[i] = 0x5a5a5a5a00000000 + i;
	task_init(&a, user_gate);
	EXPECT(task_finish(&a), 0);
	/* An XSAVE image that sets PKRU to 0. */
	page = page_alloc();
	task_map(&a, USER_DATA, PARACELL_PAGE_SIZE, page, 3);
	*(u64 *)(page_ptr(page) + 0x40 + 512) = 0x200;
	for (set = 0; set < 8; set++) {
		u64 t0 = rdtsc();

		for (off = 0; off < text; off += step) {
			/* All of the assembly; samples of the rest where it is slow. */
			step = emulated && off >= word("start") ? 5 + set : 1;
			if (emulated && near_far_return(off))
				continue;
			arm_attack(&a, set);
			a.regs.gp[R(IP)] = PARACELL_MONITOR_BASE + off;
			/* Interrupts anywhere, or only to end loops. */
			arm_us(set & 1 ? 5 + off % 64 * 4 : 3000);
			for (n = 0; n < (emulated ? 8 : 40); n++) {
				long exit = task_enter(&a);

				counts[exit & 7]++;
				if (exit == PARACELL_EXIT_IRQ)
					__atomic_exchange_n(&vcpu->pending, 0, __ATOMIC_SEQ_CST);
				/* Go on only when single stepping. */
				if (set < 6 || exit != PARACELL_EXIT_FAULT || a.regs.trap_no != 1)
					break;
			}
			if (vcpu->as != a.as)
				fail(__FILE__, __LINE__, "vcpu->as", off, set);
		}
		print("  registers %d: %d ms\n", (u64)set, us(rdtsc() - t0) / 1000);
	}
	call(PARACELL_CALL_TIMER, NEVER, 0, 0, 0);
	vcpu->pending = 0;
	for (i = 0; i < 512; i++)
		EXPECT(canary[i], 0x5a5a5a5a00000000 + i);
	print("  gate %d syscall %d fault %d irq %d attack %d\n", counts[0], counts[1], counts[2], counts[3], counts[5]);
	EXPECT(counts[0] != 0 && counts[5] != 0, 1);
	EXPECT(counts[4] + counts[6] + counts[7], 0);
	/* An attack may have cost the address space. */
	task_destroy(&a);
	task_init(&a, user_gate);
	EXPECT(task_call(&a, user_gate, 0, 0), 0);
	EXPECT(task_call(&a, user_raw, 0, 0), 0);
	task_destroy(&a);
}

/* The last one is run only when it is named. */
static const struct test {
	const char *name;
	void (*run)(void);
} tests[] = {
	{ "gate", test_gate },
	{ "speed", test_speed },
	{ "faults", test_faults },
	{ "foreign_calls", test_foreign_calls },
	{ "bad_ops", test_bad_ops },
	{ "timer", test_timer },
	{ "deferred", test_deferred },
	{ "kernel_faults", test_kernel_faults },
	{ "handover", test_handover },
	{ "state", test_state },
	{ "flags", test_flags },
	{ "step", test_step },
	{ "storm", test_storm },
	{ "many", test_many },
	{ "alive_at_once", test_alive_at_once },
	{ "leaks", test_leaks },
	{ "flushed", test_flushed },
	{ "host_irq", test_host_irq },
	{ "stack_attack", test_stack_attack },
	{ "attack", test_attack },
	{ "signals", test_signals },
};

/* listed tells whether name is one of the words in list. */
static int listed(const char *list, const char *name)
{
	const char *n;

	while (*list) {
		for (n = name; *n && *n == *list; n++)
			list++;
		if (!*n && (!*list || *list == ' '))
			return 1;
		while (*list && *list++ != ' ')
			;
	}
	return 0;
}

/* The command line names tests, or says all; and what "word" reads. */
void run_tests(void);
void run_tests(void)
{
	const char *want = (const char *)control->boot.cmdline;
	int all = listed(want, "all");
	unsigned i;

	for (i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
		int before = failures;

		if (!(all && tests[i].run != test_signals) && !listed(want, tests[i].name))
			continue;
		print("run %s\n", tests[i].name);
		tests[i].run();
		print("%s %s\n", failures == before ? "ok" : "FAIL", tests[i].name);
	}
	print("done\n");
}
