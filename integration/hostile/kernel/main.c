// SPDX-License-Identifier: Apache-2.0
#include "hostile.h"

int rude, lawless;
u64 counted[4];

static u64 state;

u64 rnd(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state * 0x2545f4914f6cdd1dULL;
}

u64 below(u64 n) { return (rnd() >> 11) % n; }
int chance(u64 n) { return below(n) == 0; }
int rarely(u64 n) { return rude && chance(n); }

u64 hostile(void)
{
	static const u64 edges[] = {
		0, 1, 7, 8, 0xfff, 0x1000, 0x1001, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000,
		0x7fffffffffffffff, 0x8000000000000000, 0xfffffffffffff000, ~0ULL, 0x1234800000000000,
	};
	static const u64 bases[] = {
		0, PARACELL_USER_MIN, PARACELL_USER_MAX, PARACELL_PHYS_BASE, PARACELL_PHYS_BASE + PARACELL_KERNEL_GPA,
		PARACELL_VMALLOC_BASE, PARACELL_VMALLOC_END, PARACELL_CONTROL_BASE, PARACELL_CONTROL_BASE + PARACELL_CONTROL_SIZE,
		PARACELL_MONITOR_BASE, PARACELL_WINDOW_END, 0xffffffffff600000, 0xffff800000000000,
	};

	switch (below(6)) {
	case 0:
		return rnd();
	case 1:
		return rnd() >> below(64);
	case 2:
		return edges[below(sizeof edges / sizeof *edges)];
	case 3:
		return bases[below(sizeof bases / sizeof *bases)] + (rnd() & (0xffffffULL >> below(24)));
	case 4:
		return bases[below(sizeof bases / sizeof *bases)] - below(2) * PARACELL_PAGE_SIZE + below(1 << 14) * PARACELL_PAGE_SIZE;
	default:
		return control->boot.mem_size + below(5) * PARACELL_PAGE_SIZE - 2 * PARACELL_PAGE_SIZE;
	}
}

void rest(u64 us)
{
	__atomic_exchange_n(&vcpu->pending, 0, __ATOMIC_SEQ_CST);
	arm_us(us);
	call(PARACELL_CALL_IDLE, 0, 0, 0, 0);
	__atomic_exchange_n(&vcpu->pending, 0, __ATOMIC_SEQ_CST);
}

/* A number on the command line: name=N. */
static u64 argument(const char *wanted)
{
	const char *p = (const char *)control->boot.cmdline;
	u64 v = 0;

	for (; *p; p++) {
		const char *q = p, *name = wanted;

		while (*name && *q == *name)
			q++, name++;
		if (*name)
			continue;
		for (; *q >= '0' && *q <= '9'; q++)
			v = v * 10 + (u64)(*q - '0');
	}
	return v;
}

static int mode;
static u64 end = NEVER; /* when it does what no host can overlook */

static void report(void)
{
	print("\nhostile: calls %d enters %d chains %d scribbles %d\n", counted[CALLS], counted[ENTERS], counted[CHAINS],
	      counted[SCRIBBLES]);
}

static void attack(void)
{
	u64 next = 0;

	for (;;) {
		if (rdtsc() > next) {
			report();
			next = rdtsc() + control->boot.tsc_khz * 20; /* 20 ms */
		}
		if (rdtsc() > end) {
			mode = 1;
			rude = 2;
		}
		switch (mode) {
		case 0: /* devices, by their rules */
		case 1: /* devices, without them */
			devices_attack();
			break;
		case 2: /* the monitor */
			monitor_call();
			if (chance(4))
				monitor_enter();
			break;
		default: /* all, and the control area under everybody's feet */
			lawless = 1;
			switch (below(4)) {
			case 0: monitor_call(); break;
			case 1: monitor_enter(); break;
			case 2: devices_attack(); break;
			case 3: scribble(); break;
			}
		}
		if (chance(200))
			rest(100 + below(500));
	}
}

/* Whatever goes wrong in here is no reason to stop. */
static int again(struct paracell_kframe *f)
{
	extern char stack_top[];

	f->gp[R(IP)] = (u64)attack;
	f->gp[R(SP)] = (u64)stack_top - 4096 - 8;
	vcpu->irq_enabled = 0;
	return 1;
}

void run_tests(void);
void run_tests(void)
{
	u64 s = argument("hostile=");

	if (argument("end="))
		end = rdtsc() + argument("end=") * control->boot.tsc_khz;

	mode = (int)(s & 3);
	rude = mode == 1 || mode == 3;
	state = s * 0x9e3779b97f4a7c15ULL + 1;
	rnd();
	if (argument("grab="))
		grab(argument("grab=") > 1);
	trap_hook = again;
	devices_start();
	attack();
}
