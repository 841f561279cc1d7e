/* SPDX-License-Identifier: Apache-2.0 */
/* Monitor calls (EntryCall). */
#include "host.h"

static long console_write(u64 ptr, u64 len)
{
	long n;

	while (len) {
		n = host_call(__NR_write, (long)FD_CONSOLE, ptr, len);
		if (n == -HOST_EINTR)
			continue;
		/* A console that nobody reads is no reason to stop. */
		if (n <= 0)
			return n;
		ptr += n;
		len -= n;
	}
	return 0;
}

static long notify(u64 device, u64 queue)
{
	static const u64 one = 1;

	(void)queue; /* what has work is in the device's registers */
	if (device >= PARACELL_MAX_DEVICES)
		return -HOST_EINVAL;
	/* EAGAIN: the counter is full, so the host side has not looked yet. */
	host_call(__NR_write, (long)FD_NOTIFY, &one, sizeof(one));
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
		return slot_take();
	case PARACELL_CALL_AS_DESTROY:
		return slot_release((u32)a0);
	case PARACELL_CALL_KMAP:
		return space_kmap(a0, a1, a2, (u32)a3);
	case PARACELL_CALL_KUNMAP:
		return space_kunmap(a0, a1);
	case PARACELL_CALL_TIMER:
		timer_set(a0);
		return 0;
	case PARACELL_CALL_IDLE:
		return vcpu_idle();
	case PARACELL_CALL_NOTIFY:
		return notify(a0, a1);
	case PARACELL_CALL_AS_FLUSH:
		return slot_flush((u32)a0);
	}
	return -HOST_ENOSYS;
}
