// SPDX-License-Identifier: GPL-2.0
/*
 * Time is the TSC: clock source, scheduler clock and deadlines of the one
 * timer per vCPU. Its frequency and its relation to the host's clocks at
 * boot come with the boot parameters.
 */
#include <linux/clockchips.h>
#include <linux/clocksource.h>
#include <linux/delay.h>
#include <linux/init.h>
#include <linux/interrupt.h>
#include <linux/sched/clock.h>
#include <linux/timex.h>
#include <vdso/clocksource.h>
#include "paracell.h"

static u32 clock_mult, clock_shift;

static u64 tsc_read(struct clocksource *cs)
{
	return get_cycles();
}

static struct clocksource tsc_clocksource = {
	.name	= "tsc",
	.rating	= 400,
	.read	= tsc_read,
	.mask	= CLOCKSOURCE_MASK(64),
	.flags	= CLOCK_SOURCE_IS_CONTINUOUS,
#ifdef CONFIG_GENERIC_GETTIMEOFDAY
	.vdso_clock_mode = VDSO_CLOCKMODE_TSC,
#endif
};

unsigned long long notrace sched_clock(void)
{
	u64 delta = get_cycles() - paracell_control->boot.boot_tsc;

	return mul_u64_u32_shr(delta, clock_mult, clock_shift);
}

static int timer_arm(unsigned long delta, struct clock_event_device *dev)
{
	paracell_call(PARACELL_CALL_TIMER, get_cycles() + delta, 0, 0, 0);
	return 0;
}

static int timer_disarm(struct clock_event_device *dev)
{
	paracell_call(PARACELL_CALL_TIMER, -1, 0, 0, 0);
	return 0;
}

static struct clock_event_device timer_clockevent = {
	.name			= "paracell",
	.rating			= 400,
	.features		= CLOCK_EVT_FEAT_ONESHOT,
	.set_next_event		= timer_arm,
	.set_state_shutdown	= timer_disarm,
	.irq			= PARACELL_IRQ_TIMER,
};

static irqreturn_t timer_interrupt(int irq, void *dev)
{
	timer_clockevent.event_handler(&timer_clockevent);
	return IRQ_HANDLED;
}

void __init time_init(void)
{
	u64 khz = paracell_control->boot.tsc_khz;

	clocks_calc_mult_shift(&clock_mult, &clock_shift, khz, NSEC_PER_MSEC, 0);
	if (request_irq(PARACELL_IRQ_TIMER, timer_interrupt,
			IRQF_TIMER | IRQF_NOBALANCING, "timer", NULL))
		panic("no timer interrupt");
	clocksource_register_khz(&tsc_clocksource, khz);
	timer_clockevent.cpumask = cpumask_of(0);
	/* At least 1 us ahead, at most what a long holds. */
	clockevents_config_and_register(&timer_clockevent, khz * 1000,
					khz / 1000 + 1, LONG_MAX);
}

void read_persistent_clock64(struct timespec64 *ts)
{
	*ts = ns_to_timespec64(paracell_control->boot.boot_real_ns + sched_clock());
}

/* No loop to calibrate: the TSC is the delay clock. */
unsigned long calibrate_delay_is_known(void)
{
	return (unsigned long)paracell_control->boot.tsc_khz * 1000 / HZ;
}

void __delay(unsigned long cycles)
{
	u64 end = get_cycles() + cycles;

	while ((s64)(end - get_cycles()) > 0)
		cpu_relax();
}
EXPORT_SYMBOL(__delay);

void __const_udelay(unsigned long xloops)
{
	/* xloops is microseconds times 2^32/10^6 */
	__delay((u64)xloops * paracell_control->boot.tsc_khz * 1000 >> 32);
}
EXPORT_SYMBOL(__const_udelay);

void __udelay(unsigned long usecs)
{
	__const_udelay(usecs * 0x000010c7);
}
EXPORT_SYMBOL(__udelay);

void __ndelay(unsigned long nsecs)
{
	__const_udelay(nsecs * 0x00005);
}
EXPORT_SYMBOL(__ndelay);
