/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vCPU's timer. Deadlines are TSC values. Every slot has a POSIX timer of
 * its own and re-arms it only when the deadline comes forward; a timer that
 * fires too early arms itself again.
 */
#include "host.h"

static int timer_id = -1;
static u64 armed = NEVER; /* what this slot's timer is set to */

/* Longest time that is armed at once; also keeps the products below 2^64. */
enum { MAX_SECONDS = 1000 };

/* nanoseconds converts a TSC difference, rounding up, at most MAX_SECONDS. */
static u64 nanoseconds(u64 ticks)
{
	u64 khz = control->boot.tsc_khz;

	if (!khz)
		return 1000000;
	if (ticks / 1000 / khz >= MAX_SECONDS)
		return MAX_SECONDS * 1000000000ULL;
	return ticks / khz * 1000000 + (ticks % khz * 1000000 + khz - 1) / khz;
}

static struct timespec until(u64 deadline)
{
	u64 now = rdtsc(), ns = 1;

	if (deadline > now)
		ns = nanoseconds(deadline - now);
	return (struct timespec){ ns / 1000000000, ns % 1000000000 };
}

static void arm(u64 deadline)
{
	struct { struct timespec interval, value; } spec = { { 0, 0 }, until(deadline) };
	struct { u64 value; int signo, notify; u64 rest[6]; } event = { 0, SIG_TIMER, 0 /* SIGEV_SIGNAL */, { 0 } };
	long err;

	if (timer_id < 0) {
		err = host_call(__NR_timer_create, (long)CLOCK_MONOTONIC, &event, &timer_id);
		if (err)
			cell_end(PARACELL_REASON_HOST_CALL, 0, -err, "timer_create");
	}
	/* Before the call: the timer may fire within it. */
	armed = deadline;
	err = host_call(__NR_timer_settime, (long)timer_id, 0L, &spec, 0L);
	if (err)
		cell_end(PARACELL_REASON_HOST_CALL, 0, -err, "timer_settime");
}

/* timer_set is CallTimer. */
void timer_set(u64 deadline)
{
	my_vcpu->deadline = deadline;
	if (deadline < armed)
		arm(deadline);
}

/* timer_arrive makes this slot's timer right for the vCPU that it got. */
void timer_arrive(void)
{
	if (my_vcpu->deadline < armed)
		arm(my_vcpu->deadline);
}

/* due raises the interrupt if it is time, and says whether it did. */
static int due(void)
{
	struct paracell_vcpu *v = my_vcpu;

	if (v->deadline > rdtsc())
		return 0;
	v->deadline = NEVER;
	atomic_or(&v->pending, 1ULL << PARACELL_IRQ_TIMER);
	return 1;
}

/* timer_fired is called by the signal handler of the slot that runs the vCPU. */
void timer_fired(void)
{
	armed = NEVER;
	place_free();
	if (!due() && my_vcpu->deadline != NEVER)
		arm(my_vcpu->deadline);
}

/* timer_forget: the signal came to a slot that has no vCPU now. */
void timer_forget(void)
{
	armed = NEVER;
}

/* vcpu_idle is CallIdle. */
long vcpu_idle(void)
{
	struct paracell_vcpu *v = my_vcpu;
	struct timespec timeout, *limit;

	place_free();
	/* An exchange: the host side sets Pending, then reads State. */
	atomic_swap(&v->state, PARACELL_VCPU_IDLE);
	while (!atomic_load(&v->pending)) {
		limit = 0;
		if (v->deadline != NEVER) {
			if (due())
				break;
			/* The signal of a timer that is armed ends the wait too. */
			if (v->deadline < armed) {
				timeout = until(v->deadline);
				limit = &timeout;
			}
		}
		futex_wait((u32 *)&v->pending, 0, limit);
	}
	atomic_store(&v->state, PARACELL_VCPU_RUNNING);
	return 0;
}
