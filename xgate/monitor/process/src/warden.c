/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The warden: the first process of a cell. It makes slots and keeps some in
 * stock, interrupts those that the host side points at, and ends the cell when
 * one dies. It never runs code of the guest.
 */
#include "host.h"

enum { STOCK = 4 };

static u32 top_slot = 1; /* all slots in use are below */
static u32 alive;	  /* processes of slots but slot 0; not what the guest can write */

void warden_poke(void)
{
	atomic_add(&control->warden_word, 1);
	futex_wake(&control->warden_word, 1);
}

/* spawn makes one slot. Returns 0 or an errno value. */
static int spawn(void)
{
	struct paracell_slot *s;
	u32 id;
	long pid;

	if (alive >= max_slots)
		return HOST_EAGAIN;
	for (id = 1; id < PARACELL_MAX_SLOTS; id++)
		if (atomic_load(&control->slots[id].state) == PARACELL_SLOT_UNUSED)
			break;
	if (id == PARACELL_MAX_SLOTS)
		return HOST_EAGAIN;
	s = &control->slots[id];
	atomic_store(&s->cmd, 0);
	atomic_store(&s->state, PARACELL_SLOT_STARTING);
	pid = host_syscall(__NR_clone, (long)SIG_CHILD, 0L, 0L, 0L, 0L);
	if (!pid)
		slot_start(id);
	if (pid < 0) {
		atomic_store(&s->state, PARACELL_SLOT_UNUSED);
		return (int)-pid;
	}
	s->pid = (int)pid;
	alive++;
	control->num_slots++;
	if (id >= top_slot)
		top_slot = id + 1;
	return 0;
}

/* starting counts slots that will be in stock soon. */
static u32 starting(void)
{
	u32 id, n = 0;

	for (id = 1; id < top_slot; id++)
		n += atomic_load(&control->slots[id].state) == PARACELL_SLOT_STARTING;
	return n;
}

/* coming is true if a slot that was given up will be in stock soon. */
static int coming(void)
{
	u32 id, n;

	for (id = 1; id < top_slot; id++) {
		if (atomic_load(&control->slots[id].state) != PARACELL_SLOT_VACATED)
			continue;
		/* It waits for the vCPU to leave it, and that may wait for us. */
		for (n = 0; n < PARACELL_MAX_VCPUS; n++)
			if (atomic_load(&control->vcpus[n].active_slot) == id)
				break;
		if (n == PARACELL_MAX_VCPUS)
			return 1;
	}
	return 0;
}

static void refill(void)
{
	u32 here = starting(), have = atomic_load(&control->free_count) + here;
	int err = 0;

	for (; !err && have < control->spawn_want; have++)
		err = spawn();
	/* Whoever waits is woken by what comes. */
	if (err && !here && !coming()) {
		control->spawn_error = err;
		atomic_add(&control->spawn_seq, 1);
		futex_wake(&control->spawn_seq, PARACELL_MAX_VCPUS);
	}
}

/* thin_out ends the slots that have not been needed for a while. */
static void thin_out(void)
{
	u32 id;

	while (atomic_load(&control->free_count) > control->spawn_want && slot_pop_free(&id)) {
		atomic_store(&control->slots[id].state, PARACELL_SLOT_DYING);
		atomic_or(&control->slots[id].cmd, CMD_EXIT);
		futex_wake(&control->slots[id].cmd, 1);
	}
}

static void kick(void)
{
	u64 mask = atomic_swap(&control->kick_mask, 0);
	u32 n, id;
	int pid;

	for (n = 0; mask && n < PARACELL_MAX_VCPUS; n++, mask >>= 1) {
		if (!(mask & 1))
			continue;
		id = atomic_load(&control->vcpus[n].active_slot);
		if (id >= PARACELL_MAX_SLOTS)
			continue;
		pid = control->slots[id].pid;
		if (pid > 1)
			host_syscall(__NR_tgkill, (long)pid, (long)pid, (long)SIG_KICK);
	}
}

/* killed_in_user returns the vCPU that ran user code in a slot, if any. */
static struct paracell_vcpu *killed_in_user(u32 id)
{
	u32 n;

	for (n = 0; n < PARACELL_MAX_VCPUS; n++) {
		struct paracell_vcpu *v = &control->vcpus[n];

		if (atomic_load(&v->active_slot) == id && atomic_load(&v->state) == PARACELL_VCPU_USER)
			return v;
	}
	return 0;
}

/* lost: a slot has died that was not told to. */
static void lost(u32 id, int status)
{
	struct paracell_vcpu *v = killed_in_user(id);
	long pid;

	/* Anything but the host's answer to a bad signal stack came from outside. */
	if (!v || (status & 0x7f) != SIG_SEGV)
		cell_end(PARACELL_REASON_CHILD_DIED, 0, status, 0);
	pid = host_syscall(__NR_clone, (long)SIG_CHILD, 0L, 0L, 0L, 0L);
	if (!pid)
		slot_replace(id, v);
	if (pid < 0)
		cell_end(PARACELL_REASON_HOST_CALL, 0, -pid, "clone");
	control->slots[id].pid = (int)pid;
}

static void reap(void)
{
	int status;
	long pid;
	u32 id;

	for (;;) {
		status = 0;
		pid = host_syscall(__NR_wait4, -1L, &status, (long)(WAIT_NOHANG | WAIT_ALL), 0L);
		if (pid <= 0)
			return;
		for (id = 0; id < top_slot; id++)
			if (control->slots[id].pid == pid)
				break;
		if (id == top_slot)
			continue;
		if (atomic_load(&control->slots[id].state) != PARACELL_SLOT_DYING) {
			lost(id, status);
			continue;
		}
		control->slots[id].pid = 0;
		alive -= id != 0;
		control->num_slots--;
		atomic_store(&control->slots[id].state, PARACELL_SLOT_UNUSED);
	}
}

noreturn void warden_loop(void)
{
	static const struct timespec quiet = { 1, 0 };
	u32 word, ops = 0;
	long pid, err;

	control->spawn_want = STOCK;
	control->num_slots = 1;
	control->vcpus[0].active_slot = 0;
	/* Parts of the kernel image that every slot touches could be mapped here. */
	pid = host_syscall(__NR_clone, (long)SIG_CHILD, 0L, 0L, 0L, 0L);
	if (!pid)
		slot_boot();
	if (pid < 0)
		cell_end(PARACELL_REASON_HOST_CALL, 0, -pid, "clone");
	control->slots[0].pid = (int)pid;

	for (;;) {
		word = atomic_load(&control->warden_word);
		if (atomic_load(&control->exit_reason))
			process_exit(0);
		kick();
		reap();
		refill();
		if (atomic_load(&control->free_count) > control->spawn_want) {
			/* Wait until the stock has not changed for a second. */
			ops = atomic_load(&control->free_ops);
			err = futex_wait(&control->warden_word, word, &quiet);
			if (err == -HOST_ETIMEDOUT && ops == atomic_load(&control->free_ops))
				thin_out();
			continue;
		}
		atomic_store(&control->warden_idle, 1);
		if (atomic_load(&control->free_count) <= control->spawn_want)
			futex_wait(&control->warden_word, word, 0);
		atomic_store(&control->warden_idle, 0);
	}
}
