/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include "kernel.h"

extern char user_start[], user_end[], kernel_end[];

struct paracell_kframe last_frame;
volatile u64 vector_irqs, vector_traps;
int (*trap_hook)(struct paracell_kframe *);
u64 irq_count, rearm_us;
int failures;

static u64 next_page;

void *memset(void *to, int byte, unsigned long n)
{
	unsigned char *p = to;

	while (n--)
		*p++ = (unsigned char)byte;
	return to;
}

void *memcpy(void *to, const void *from, unsigned long n)
{
	unsigned char *p = to;
	const unsigned char *q = from;

	while (n--)
		*p++ = *q++;
	return to;
}

static char *put_number(char *p, u64 v, unsigned base)
{
	char d[24];
	int n = 0;

	do {
		d[n++] = "0123456789abcdef"[v % base];
		v /= base;
	} while (v);
	while (n)
		*p++ = d[--n];
	return p;
}

/* print knows %s, %d and %x (64 bits). */
void print(const char *format, ...)
{
	char line[256], *p = line;
	va_list args;
	const char *s;

	va_start(args, format);
	for (; *format && p < line + 200; format++) {
		if (*format != '%') {
			*p++ = *format;
			continue;
		}
		switch (*++format) {
		case 's':
			for (s = va_arg(args, const char *); *s && p < line + 200;)
				*p++ = *s++;
			break;
		case 'd':
			p = put_number(p, va_arg(args, u64), 10);
			break;
		case 'x':
			p = put_number(p, va_arg(args, u64), 16);
			break;
		}
	}
	va_end(args);
	call(PARACELL_CALL_CONSOLE, (u64)line, (u64)(p - line), 0, 0);
}

void fail(const char *file, int line, const char *what, u64 got, u64 want)
{
	failures++;
	print("  %s:%d: %s = %x, want %x\n", file, (u64)line, what, got, want);
}

void *page_ptr(u64 gpa)
{
	return (void *)(PARACELL_PHYS_BASE + gpa);
}

u64 page_alloc(void)
{
	u64 gpa = next_page;

	next_page += PARACELL_PAGE_SIZE;
	if (next_page > control->boot.mem_size) {
		print("out of memory\n");
		call(PARACELL_CALL_EXIT, 1, 0, 0, 0);
	}
	memset(page_ptr(gpa), 0, PARACELL_PAGE_SIZE);
	return gpa;
}

static void trap(struct paracell_kframe *f)
{
	if (f->trap_no == PARACELL_KFRAME_IRQ) {
		vector_irqs++;
		__atomic_exchange_n(&vcpu->pending, 0, __ATOMIC_SEQ_CST);
		return;
	}
	vector_traps++;
	last_frame = *f;
	if (trap_hook && trap_hook(f))
		return;
	print("kernel trap %d at %x address %x error %x\n", f->trap_no, f->gp[R(IP)], f->cr2, f->error_code);
	call(PARACELL_CALL_EXIT, 1, PARACELL_REASON_PANIC, 0, 0);
}

void queue_op(u32 op, u64 va, u64 len, u64 gpa, u32 prot)
{
	vcpu->ops[vcpu->num_ops++] = (struct paracell_mapop){ op, prot, va, len, gpa };
}

/* task_map takes effect when the task is entered next. */
void task_map(struct task *t, u64 va, u64 len, u64 gpa, u32 prot)
{
	(void)t;
	queue_op(PARACELL_OP_MAP, va, len, gpa, prot);
}

void task_entry(struct task *t, void *entry)
{
	t->regs.gp[R(IP)] = USER_TEXT + (u64)((char *)entry - user_start);
	t->regs.gp[R(SP)] = USER_STACK;
	t->regs.gp[R(FLAGS)] = 0x202;
	t->regs.gp[R(CS)] = 0x33;
	t->regs.gp[R(SS)] = 0x2b;
}

static struct task *live_task;

/* task_init makes an address space with text, one data page and one stack page. */
void task_init(struct task *t, void *entry)
{
	long as = call(PARACELL_CALL_AS_CREATE, 0, 0, 0, 0);

	memset(t, 0, sizeof(*t));
	if (live_task == t)
		live_task = 0;
	*(u32 *)(t->fp + 24) = 0x1f80; /* MXCSR */
	*(unsigned short *)t->fp = 0x37f;
	if (as < 0)
		fail(__FILE__, __LINE__, "as_create", as, 0);
	t->as = as;
	task_map(t, USER_TEXT, user_end - user_start, (u64)user_start - PARACELL_PHYS_BASE, PARACELL_PROT_READ | PARACELL_PROT_EXEC);
	task_map(t, USER_DATA, PARACELL_PAGE_SIZE, page_alloc(), PARACELL_PROT_READ | PARACELL_PROT_WRITE);
	task_map(t, USER_STACK - PARACELL_PAGE_SIZE, PARACELL_PAGE_SIZE, page_alloc(), PARACELL_PROT_READ | PARACELL_PROT_WRITE);
	task_entry(t, entry);
}

void task_destroy(struct task *t)
{
	EXPECT(call(PARACELL_CALL_AS_DESTROY, t->as, 0, 0, 0), 0);
}

long task_enter(struct task *t)
{
	if (live_task != t) {
		if (live_task && vcpu->live) {
			u64 fs, gs;

			((void (*)(void *))(PARACELL_MONITOR_BASE + PARACELL_ENTRY_FP_SAVE))(live_task->fp);
			__asm__ volatile("rdfsbase %0; rdgsbase %1" : "=r"(fs), "=r"(gs));
			live_task->regs.gp[R(FS_BASE)] = fs;
			live_task->regs.gp[R(GS_BASE)] = gs;
		}
		vcpu->live = 0;
		live_task = t;
	}
	vcpu->as = t->as;
	vcpu->fp_area = (u64)t->fp;
	return ((long (*)(struct paracell_regs *))(PARACELL_MONITOR_BASE + PARACELL_ENTRY_ENTER))(&t->regs);
}

/* kernel_clobber uses registers that the user has too. */
long task_run(struct task *t)
{
	long exit;

	while ((exit = task_enter(t)) == PARACELL_EXIT_IRQ) {
		u64 bits = __atomic_exchange_n(&vcpu->pending, 0, __ATOMIC_SEQ_CST);

		irq_count++;
		if (rearm_us && (bits & 1 << PARACELL_IRQ_TIMER))
			arm_us(rearm_us);
	}
	return exit;
}

u64 task_finish(struct task *t)
{
	for (;;) {
		long exit = task_run(t);

		switch (exit) {
		case PARACELL_EXIT_GATE:
		case PARACELL_EXIT_SYSCALL:
			if (t->regs.gp[R(ORIG_AX)] == 0)
				return t->regs.gp[R(DI)];
			t->regs.gp[R(AX)] = 0x1234;
			continue;
		case PARACELL_EXIT_FAULT:
			if (t->regs.trap_no == 3)
				continue;
			print("  fault: trap %d ip %x cr2 %x error %x\n", t->regs.trap_no, t->regs.gp[R(IP)], t->regs.cr2,
			      t->regs.error_code);
			return NEVER;
		case PARACELL_EXIT_ERROR:
			print("  enter failed: errno %d\n", (u64)-vcpu->error);
			return NEVER;
		default:
			print("  exit %d\n", (u64)exit);
			return NEVER;
		}
	}
}

u64 task_call(struct task *t, void *entry, u64 a0, u64 a1)
{
	task_entry(t, entry);
	t->regs.gp[R(DI)] = a0;
	t->regs.gp[R(SI)] = a1;
	return task_finish(t);
}

void arm_us(u64 us)
{
	call(PARACELL_CALL_TIMER, rdtsc() + us * control->boot.tsc_khz / 1000, 0, 0, 0);
}

/* The host looks for it. */
__asm__(PARACELL_NOTE);

void run_tests(void);
void kernel_main(struct paracell_control *c);
void kernel_main(struct paracell_control *c)
{
	if (c != control || c->boot.version != PARACELL_VERSION || c->boot.identity != PARACELL_IDENTITY)
		call(PARACELL_CALL_EXIT, 1, PARACELL_REASON_ABI, 0, 0);
	next_page = c->boot.kernel_end;
	call(PARACELL_CALL_VECTORS, (u64)trap, 0, 0, 0);
	run_tests();
	call(PARACELL_CALL_EXIT, failures != 0, PARACELL_REASON_POWER_OFF, 0, 0);
}
