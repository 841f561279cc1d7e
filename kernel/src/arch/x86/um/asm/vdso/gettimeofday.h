/* SPDX-License-Identifier: GPL-2.0 */
/* How the generic vDSO code reads the clock and where it finds its data. */
#ifndef __UM_VDSO_GETTIMEOFDAY_H
#define __UM_VDSO_GETTIMEOFDAY_H

#ifndef __ASSEMBLY__

#include <uapi/linux/time.h>
#include <asm/vdso/gate.h>

#define VDSO_HAS_TIME		1
#define VDSO_HAS_CLOCK_GETRES	1

static __always_inline
long clock_gettime_fallback(clockid_t clk, struct __kernel_timespec *ts)
{
	return vdso_gate_call(__NR_clock_gettime, clk, (long)ts, 0);
}

static __always_inline
long gettimeofday_fallback(struct __kernel_old_timeval *tv, struct timezone *tz)
{
	return vdso_gate_call(__NR_gettimeofday, (long)tv, (long)tz, 0);
}

static __always_inline
long clock_getres_fallback(clockid_t clk, struct __kernel_timespec *ts)
{
	return vdso_gate_call(__NR_clock_getres, clk, (long)ts, 0);
}

static __always_inline u64 __arch_get_hw_counter(s32 clock_mode,
						 const struct vdso_data *vd)
{
	u32 lo, hi;

	/* Not before earlier loads: time must not run backwards. */
	asm volatile("lfence; rdtsc" : "=a" (lo), "=d" (hi) :: "memory");
	return lo | (u64)hi << 32;
}

static __always_inline const struct vdso_data *__arch_get_vdso_data(void)
{
	return _vdso_data;
}

#ifdef CONFIG_TIME_NS
static __always_inline
const struct vdso_data *__arch_get_timens_vdso_data(const struct vdso_data *vd)
{
	return _timens_data;
}
#endif

/*
 * The TSC of another processor may be a little behind the one that was read at
 * the last update. That is no time at all, not almost 2^64 cycles.
 */
static __always_inline u64 vdso_calc_ns(const struct vdso_data *vd, u64 cycles,
					u64 base)
{
	u64 delta = cycles - vd->cycle_last;

	if (unlikely(delta > vd->max_cycles)) {
		if ((s64)delta < 0)
			return base >> vd->shift;
		return mul_u64_u32_add_u64_shr(delta, vd->mult, base, vd->shift);
	}
	return (delta * vd->mult + base) >> vd->shift;
}
#define vdso_calc_ns vdso_calc_ns

#endif /* __ASSEMBLY__ */
#endif
