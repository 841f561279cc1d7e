// SPDX-License-Identifier: Apache-2.0
/* Monitor calls, entries into user mode, and the control area. */
#include "hostile.h"
#include "paracell_ring.h"

enum { MAX_SPACES = 200 };

static u32 spaces[MAX_SPACES], num_spaces;
static struct task user;

static u64 space(void)
{
	return num_spaces && !chance(4) ? spaces[below(num_spaces)] : hostile();
}

void monitor_call(void)
{
	u64 nr = chance(20) ? hostile() : below(12);
	long got;

	counted[CALLS]++;
	switch (nr) {
	case PARACELL_CALL_EXIT:
		if (chance(5000))
			call(nr, hostile(), hostile(), hostile(), hostile());
		return;
	case PARACELL_CALL_CONSOLE: /* at most a little at a time: it is a log of somebody */
		call(nr, hostile(), below(4000), hostile(), hostile());
		if (chance(50))
			call(nr, hostile(), hostile() & 0xffff, hostile(), hostile());
		return;
	case PARACELL_CALL_VECTORS:
		if (chance(20000))
			call(nr, hostile(), 0, 0, 0);
		return;
	case PARACELL_CALL_AS_CREATE:
		/* More than this cell may have (driver). */
		if (num_spaces < MAX_SPACES && chance(8)) {
			got = call(nr, hostile(), hostile(), hostile(), hostile());
			if (got > 0)
				spaces[num_spaces++] = (u32)got;
		}
		return;
	case PARACELL_CALL_AS_DESTROY:
		if (!chance(8))
			return;
		/* Also one that is gone already, or in use. */
		call(nr, space(), hostile(), hostile(), hostile());
		return;
	case PARACELL_CALL_AS_FLUSH:
		call(nr, space(), hostile(), hostile(), hostile());
		return;
	case PARACELL_CALL_KMAP:
		if (chance(2)) {
			call(nr, PARACELL_VMALLOC_BASE + below(1 << 10) * PARACELL_PAGE_SIZE,
			     below(control->boot.mem_size / PARACELL_PAGE_SIZE) * PARACELL_PAGE_SIZE,
			     below(16) * PARACELL_PAGE_SIZE, below(8));
			return;
		}
		break;
	case PARACELL_CALL_IDLE:
		if (chance(20))
			rest(50);
		return;
	}
	call(nr, hostile(), hostile(), hostile(), hostile());
}

void monitor_enter(void)
{
	struct paracell_regs *regs = &user.regs;
	/* Where nothing of this kernel is, so that it lasts a while. */
	u64 half = control->boot.mem_size / 2;
	u32 i, n;

	if (num_spaces == 0) {
		task_init(&user, user_gate);
		spaces[num_spaces++] = user.as;
	}
	counted[ENTERS]++;
	vcpu->as = chance(3) ? (u32)space() : spaces[below(num_spaces)];
	vcpu->live = (u32)below(2);
	vcpu->fp_area = chance(50) ? hostile() : (u64)user.fp;
	if (chance(4))
		((u64 *)user.fp)[below(sizeof user.fp / 8)] = hostile();
	n = chance(30) ? (u32)hostile() : (u32)below(6);
	for (i = 0; i < n && i < PARACELL_MAX_MAP_OPS; i++)
		vcpu->ops[i] = (struct paracell_mapop){
			chance(20) ? (u32)hostile() : 1 + (u32)below(3), chance(20) ? (u32)hostile() : (u32)below(8),
			chance(4) ? hostile() : PARACELL_USER_MIN + below(1 << 12) * PARACELL_PAGE_SIZE,
			chance(4) ? hostile() : (1 + below(64)) * PARACELL_PAGE_SIZE,
			chance(4) ? hostile() : half + below(half / PARACELL_PAGE_SIZE) * PARACELL_PAGE_SIZE,
		};
	vcpu->num_ops = n;
	for (i = 0; i < PARACELL_NUM_REGS; i++)
		if (chance(3))
			regs->gp[i] = hostile();
	if (!chance(20)) {
		regs->gp[R(CS)] = chance(3) ? hostile() : 0x33;
		regs->gp[R(FLAGS)] = chance(3) ? hostile() : 0x202;
		regs->gp[R(IP)] = chance(20) ? hostile() : USER_TEXT + below(0x1000);
	}
	vcpu->irq_enabled = (u32)below(2);
	arm_us(200);
	if (chance(5000))
		regs = (struct paracell_regs *)hostile();
	((long (*)(struct paracell_regs *))(PARACELL_MONITOR_BASE + PARACELL_ENTRY_ENTER))(regs);
	vcpu->irq_enabled = 0;
	__atomic_exchange_n(&vcpu->pending, 0, __ATOMIC_SEQ_CST);
}

static void put(u64 offset, u64 v)
{
	u8 *p = (u8 *)control + offset;

	switch (below(4)) {
	case 0: *(volatile u8 *)p = (u8)v; break;
	case 1: *(volatile u32 *)(p - offset % 4) = (u32)v; break;
	default: *(volatile u64 *)(p - offset % 8) = v;
	}
}

void scribble(void)
{
	static const struct { u64 at, len; u32 often; } parts[] = {
		{ PARACELL_CONTROL_BOOT_OFFSET, PARACELL_BOOT_PARAMS_SIZEOF, 2 },
		{ PARACELL_CONTROL_EXIT_CODE_OFFSET, 252, 2 },
		{ PARACELL_CONTROL_KICK_MASK_OFFSET, 128, 1 },
		{ PARACELL_CONTROL_SLOTS_OFFSET, 64 * PARACELL_SLOT_SIZEOF, 1 },
		{ PARACELL_CONTROL_VCPUS_OFFSET, 256, 1 },
		{ PARACELL_CONTROL_VCPUS_OFFSET + PARACELL_VCPU_SIZEOF, PARACELL_VCPU_SIZEOF, 1 },
		{ PARACELL_CONTROL_DEVICES_OFFSET, 24 * PARACELL_VIRTIO_DEVICE_SIZEOF, 4 },
		{ PARACELL_CONTROL_SPILL_OFFSET, 2688, 1 },
		{ PAGER_OFFSET, PAGER_AREA_SIZEOF, 8 },
	};
	u64 part = below(sizeof parts / sizeof *parts);

	counted[SCRIBBLES]++;
	if (!chance(8) && parts[part].often == 1)
		return; /* ends the run soon */
	put(parts[part].at + below(parts[part].len), hostile());
	if (control->spawn_want > 16 && !chance(4))
		control->spawn_want = (u32)below(16);
	if (chance(500)) {
		control->exit_reason = (u32)hostile();
		call(PARACELL_CALL_NOTIFY, 0, 0, 0, 0);
	}
}
