/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slots: host processes that run one vCPU in one address space. A slot without
 * a vCPU is parked on its own stack, waiting for a command.
 */
#include "host.h"

u8 parked;
u8 fp_carried; /* FP state of the vCPU that came is in Control.spill */

static noreturn void park(void);

static struct paracell_slot *slot(u32 id)
{
	return &control->slots[id];
}

static void lock(void)
{
	while (atomic_swap(&control->lock, 1))
		__builtin_ia32_pause();
}

static void unlock(void)
{
	atomic_store(&control->lock, 0);
}

static void push_free(u32 id)
{
	u32 count;

	lock();
	atomic_store(&slot(id)->state, PARACELL_SLOT_FREE);
	slot(id)->next = control->free_head;
	control->free_head = id + 1;
	count = ++control->free_count;
	control->free_ops++;
	unlock();
	atomic_add(&control->spawn_seq, 1);
	if (count == 1)
		futex_wake(&control->spawn_seq, PARACELL_MAX_VCPUS);
	/* More than wanted: the warden thins the stock out after a while. */
	if (count > control->spawn_want && atomic_swap(&control->warden_idle, 0))
		warden_poke();
}

/* slot_pop_free takes the slot that got free last; its page tables are warm. */
int slot_pop_free(u32 *id)
{
	u32 head;

	lock();
	head = control->free_head;
	if (head) {
		*id = head - 1;
		control->free_head = slot(*id)->next;
		control->free_count--;
		control->free_ops++;
	}
	unlock();
	return head != 0;
}

/* slot_take is CallASCreate: an id, or -errno when the host gives no process. */
long slot_take(void)
{
	u32 id, seq;
	int err;

	control->spawn_error = 0;
	for (;;) {
		seq = atomic_load(&control->spawn_seq);
		if (slot_pop_free(&id))
			break;
		err = control->spawn_error;
		if (err)
			return -err;
		warden_poke();
		futex_wait(&control->spawn_seq, seq, 0);
	}
	atomic_store(&slot(id)->state, PARACELL_SLOT_TAKEN);
	if (control->free_count < control->spawn_want)
		warden_poke();
	return id;
}

/* taken checks an id that comes from the kernel. */
static int taken(u32 id)
{
	return id < PARACELL_MAX_SLOTS && atomic_load(&slot(id)->state) == PARACELL_SLOT_TAKEN;
}

/* slot_release is CallASDestroy. A parked slot unmaps while the vCPU goes on. */
long slot_release(u32 id)
{
	if (!taken(id) || !id)
		return -HOST_EINVAL;
	if (id == my_slot) {
		space_flush();
		atomic_store(&slot(id)->state, PARACELL_SLOT_VACATED);
		return 0;
	}
	atomic_store(&slot(id)->state, PARACELL_SLOT_VACATED);
	atomic_or(&slot(id)->cmd, CMD_FLUSH | CMD_FREE);
	futex_wake(&slot(id)->cmd, 1);
	return 0;
}

/* slot_flush is CallASFlush. A parked slot unmaps before it runs again. */
long slot_flush(u32 id)
{
	if (!taken(id))
		return -HOST_EINVAL;
	if (id == my_slot)
		space_flush();
	else
		atomic_or(&slot(id)->cmd, CMD_FLUSH);
	return 0;
}

static u64 read_fs_base(void)
{
	u64 v;

	__asm__ volatile("rdfsbase %0" : "=r"(v));
	return v;
}

static u64 read_gs_base(void)
{
	u64 v;

	__asm__ volatile("rdgsbase %0" : "=r"(v));
	return v;
}

/* canonical returns v, or 0 if the processor would refuse it as a base. */
static u64 canonical(u64 v)
{
	return (u64)((s64)(v << 16) >> 16) == v ? v : 0;
}

static void *spill(const struct paracell_vcpu *v)
{
	return control->spill[v - control->vcpus];
}

/* load_state makes the user's FP state and bases live in the registers. */
static long load_state(struct paracell_vcpu *v, struct paracell_regs *regs)
{
	long err = fp_restore(fp_carried ? spill(v) : (void *)v->fp_area);

	fp_carried = 0;
	if (err)
		return err;
	set_bases(canonical(regs->gp[PARACELL_REG_FS_BASE]), canonical(regs->gp[PARACELL_REG_GS_BASE]));
	v->live = 1;
	return 0;
}

/*
 * enter_slow does what is to be done before the vCPU can run the user: on the
 * kernel stack, in the old slot until it says ENTER_HANDOVER, then in the new.
 */
long enter_slow(struct paracell_regs *regs)
{
	struct paracell_vcpu *v = my_vcpu;
	long err;

	if (v->as != my_slot) {
		if (!taken(v->as)) {
			v->error = -HOST_EINVAL;
			return PARACELL_EXIT_ERROR;
		}
		if (v->live) {
			fp_save(spill(v));
			regs->gp[PARACELL_REG_FS_BASE] = read_fs_base();
			regs->gp[PARACELL_REG_GS_BASE] = read_gs_base();
			v->live = 0;
			fp_carried = 1;
		}
		return ENTER_HANDOVER;
	}
	if (v->num_ops) {
		err = space_apply(v);
		if (err != ENTER_GO)
			return err;
	}
	if (!v->live) {
		err = load_state(v, regs);
		if (err) {
			v->error = err;
			return PARACELL_EXIT_ERROR;
		}
	}
	return ENTER_GO;
}

/* hand_over gives the vCPU to the slot that it wants, on the park stack. */
noreturn void hand_over(void)
{
	struct paracell_vcpu *v = my_vcpu;
	struct paracell_slot *target = slot(v->as);
	u32 cmd = CMD_RUN | (u32)(v - control->vcpus) << CMD_VCPU_SHIFT | place_here() << CMD_CPU_SHIFT;
	/* Asked before the kernel goes on elsewhere: it may release this slot then. */
	int vacated = atomic_load(&slot(my_slot)->state) == PARACELL_SLOT_VACATED;

	if (fp_carried)
		cmd |= CMD_CARRY;
	fp_carried = 0;
	v->handovers++;
	/* From here on a signal must not touch the vCPU. */
	parked = 1;
	my_vcpu = &no_vcpu;
	atomic_or(&target->cmd, cmd);
	futex_wake(&target->cmd, 1);
	if (vacated)
		push_free(my_slot);
	park();
}

static noreturn void park(void)
{
	u32 *word = &slot(my_slot)->cmd;
	u32 cmd;

	for (;;) {
		cmd = atomic_swap(word, 0);
		if (!cmd) {
			place_free();
			futex_wait(word, 0, 0);
			continue;
		}
		if (cmd & CMD_EXIT)
			process_exit(0);
		if (cmd & CMD_FLUSH)
			space_flush();
		if (cmd & CMD_FREE)
			push_free(my_slot);
		if (cmd & CMD_RUN)
			break;
	}
	my_vcpu = &control->vcpus[cmd >> CMD_VCPU_SHIFT & (PARACELL_MAX_VCPUS - 1)];
	fp_carried = !!(cmd & CMD_CARRY);
	/*
	 * An exchange: whoever set Pending before it is seen by the exit gate,
	 * whoever sets it later finds the slot to interrupt.
	 */
	atomic_swap(&my_vcpu->active_slot, my_slot);
	parked = 0;
	place_arrive(cmd >> CMD_CPU_SHIFT);
	space_sync_kernel();
	timer_arrive();
	enter_resume();
}

/* prepare does what fork does not inherit. */
static void prepare(u32 id)
{
	long err;

	my_slot = id;
	my_vcpu = &no_vcpu;
	host_syscall(__NR_prctl, (long)PR_SET_PDEATHSIG, (long)SIG_KILL, 0L, 0L, 0L);
	/* The warden may have died before that. */
	if (host_syscall(__NR_getppid) != warden_pid)
		process_exit(1);
	err = host_syscall(__NR_prctl, (long)PR_SET_SYSCALL_USER_DISPATCH, (long)PR_SYS_DISPATCH_ON, 0L, 0L, &selector);
	if (err)
		cell_end(PARACELL_REASON_HOST_CALL, 0, -err, "prctl(PR_SET_SYSCALL_USER_DISPATCH)");
}

void slot_start(u32 id)
{
	parked = 1;
	prepare(id);
	push_free(id);
	park();
}

/*
 * slot_replace takes the place of a slot that the host killed while its user
 * ran: the user had pointed its stack pointer at the low end of the signal
 * stack, where no frame fits. The mappings are gone, and that user must not go
 * on anyway.
 */
noreturn void slot_replace(u32 id, struct paracell_vcpu *v)
{
	parked = 1;
	prepare(id);
	my_vcpu = v;
	parked = 0;
	space_sync_kernel();
	timer_arrive();
	leave(PARACELL_EXIT_ATTACK);
}

/* slot_boot: slot 0 runs vCPU 0 from the kernel's first instruction on. */
noreturn void slot_boot(void)
{
	prepare(0);
	my_vcpu = &control->vcpus[0];
	my_vcpu->deadline = NEVER;
	my_vcpu->active_slot = 0;
	atomic_store(&slot(0)->state, PARACELL_SLOT_TAKEN);
	start_kernel(control->boot.kernel_entry, PARACELL_CONTROL_BASE);
}
