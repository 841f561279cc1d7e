/* SPDX-License-Identifier: Apache-2.0 */
/* Monitor calls (EntryCall), the slow way into user code, and endings. */
#include "monitor.h"

static u8 fp_bad(u64 v)
{
	return (u64)((s64)(v << 16) >> 16) != v;
}

/* Console bytes on their way to the VMM. */
u8 console_buffer[CONSOLE_SIZE] __attribute__((aligned(4096)));
/* The deadline that the VMM has armed; it stores NEVER when that has passed. */
u64 timer_armed = NEVER;

void *memcpy(void *to, const void *from, unsigned long n)
{
	void *start = to;

	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
	return start;
}

void *memset(void *to, int byte, unsigned long n)
{
	void *start = to;

	__asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(byte) : "memory");
	return start;
}

static long console_write(u64 ptr, u64 len)
{
	u64 n;

	while (len) {
		n = len < CONSOLE_SIZE ? len : CONSOLE_SIZE;
		if (copy_bytes(console_buffer, (const void *)ptr, n))
			return -ERR_FAULT;
		bell(BELL_CONSOLE, n);
		ptr += n;
		len -= n;
	}
	return 0;
}

static long notify(u64 device)
{
	if (device >= PARACELL_MAX_DEVICES)
		return -ERR_INVAL;
	/* What has work is in the device's registers. */
	bell(BELL_NOTIFY, 1);
	return 0;
}

static void timer_set(u64 deadline)
{
	my_vcpu->deadline = deadline;
	if (deadline >= atomic_load(&timer_armed))
		return;
	atomic_store(&timer_armed, deadline);
	bell(BELL_TIMER, deadline);
}

static long idle(void)
{
	struct paracell_vcpu *v = my_vcpu;

	/* An exchange: the host side sets Pending, then reads State. */
	atomic_swap(&v->state, PARACELL_VCPU_IDLE);
	while (!atomic_load(&v->pending))
		bell(BELL_IDLE, 0);
	atomic_store(&v->state, PARACELL_VCPU_RUNNING);
	return 0;
}

long monitor_call(u64 nr, u64 a0, u64 a1, u64 a2, u64 a3);
long monitor_call(u64 nr, u64 a0, u64 a1, u64 a2, u64 a3)
{
	switch (nr) {
	case PARACELL_CALL_CONSOLE:
		return console_write(a0, a1);
	case PARACELL_CALL_EXIT:
		cell_end(a1 ? (u32)a1 : PARACELL_REASON_POWER_OFF, (int)a0, 0, 0);
	case PARACELL_CALL_VECTORS:
		control->vector = a0;
		return 0;
	case PARACELL_CALL_AS_CREATE:
		return space_create();
	case PARACELL_CALL_AS_DESTROY:
		return space_destroy(a0);
	case PARACELL_CALL_KMAP:
		return space_kmap(a0, a1, a2, (u32)a3);
	case PARACELL_CALL_KUNMAP:
		return space_kunmap(a0, a1);
	case PARACELL_CALL_TIMER:
		timer_set(a0);
		return 0;
	case PARACELL_CALL_IDLE:
		return idle();
	case PARACELL_CALL_NOTIFY:
		return notify(a0);
	case PARACELL_CALL_AS_FLUSH:
		return space_flush(a0);
	}
	return -ERR_NOSYS;
}

/*
 * enter_slow does what is to be done before the vCPU can run the user: another
 * address space, map operations, FP state.
 */
long enter_slow(struct paracell_regs *regs)
{
	struct paracell_vcpu *v = my_vcpu;
	u64 fs, gs;
	long err;

	err = space_switch(v->as);
	if (err) {
		v->error = err;
		return PARACELL_EXIT_ERROR;
	}
	if (v->num_ops) {
		err = space_apply(v);
		if (err != ENTER_GO)
			return err;
	}
	if (!v->live) {
		err = fp_restore((void *)v->fp_area);
		if (err) {
			v->error = err;
			return PARACELL_EXIT_ERROR;
		}
		/* What the processor would refuse becomes 0. */
		fs = regs->gp[PARACELL_REG_FS_BASE];
		gs = regs->gp[PARACELL_REG_GS_BASE];
		set_bases(fp_bad(fs) ? 0 : fs, fp_bad(gs) ? 0 : gs);
		v->live = 1;
	}
	space_sync();
	return ENTER_GO;
}

/* cell_end says why the cell ends, unless somebody has already, and ends it. */
noreturn void cell_end(u32 reason, int code, s64 detail, const char *text)
{
	unsigned long n = 0;

	if (!__atomic_exchange_n(&control->exit_claim, 1, __ATOMIC_SEQ_CST)) {
		control->exit_code = code;
		control->exit_detail = detail;
		/* The kernel may have left a text of its own before CallExit. */
		while (text && text[n] && n < sizeof(control->exit_msg) - 1)
			n++;
		if (n) {
			memcpy(control->exit_msg, text, n);
			control->exit_msg[n] = 0;
		}
		atomic_store(&control->exit_reason, reason);
	}
	for (;;)
		bell(BELL_EXIT, 0);
}

noreturn void broken(int line, const char *text)
{
	cell_end(PARACELL_REASON_MONITOR, 0, line, text);
}
