// SPDX-License-Identifier: GPL-2.0
/* From the first C function to the generic kernel. */
#include <linux/cpu.h>
#include <linux/delay.h>
#include <linux/initrd.h>
#include <linux/init.h>
#include <linux/kmsg_dump.h>
#include <linux/memblock.h>
#include <linux/module.h>
#include <linux/panic_notifier.h>
#include <linux/random.h>
#include <linux/reboot.h>
#include <linux/sched/task_stack.h>
#include <linux/seq_file.h>
#include <linux/start_kernel.h>
#include <linux/string.h>
#include <linux/sysctl.h>
#include <linux/utsname.h>
#include <asm/archrandom.h>
#include <asm/cpufeature.h>
#include <asm/paracell_grow.h>
#include <asm/paracell.h>
#include <asm/pgtable.h>
#include <asm/sections.h>
#include <asm/setup.h>
#include <asm/text-patching.h>
#include "paracell.h"

struct cpuinfo_um boot_cpu_data = {
	.cache_alignment	= L1_CACHE_BYTES,
};
EXPORT_SYMBOL(boot_cpu_data);

/* Words of x86_capability, in the order of asm/cpufeatures.h. */
enum {
	CAP_1_EDX = 0,
	CAP_8000_0001_EDX = 1,
	CAP_1_ECX = 4,
	CAP_8000_0001_ECX = 6,
	CAP_7_0_EBX = 9,
	CAP_7_1_EAX = 12,
	CAP_7_0_ECX = 16,
	CAP_7_0_EDX = 18,
};

static char model_name[49] = "unknown";
static char vendor_id[13] = "unknown";

static void cpuid(u32 leaf, u32 sub, u32 r[4])
{
	asm volatile("cpuid"
		     : "=a" (r[0]), "=b" (r[1]), "=c" (r[2]), "=d" (r[3])
		     : "0" (leaf), "2" (sub));
}

/* Features that user code may use: what the processor says, less AMX and PKU. */
static void __init identify_cpu(void)
{
	u32 r[4], max, *cap = boot_cpu_data.x86_capability, i;

	cpuid(0, 0, r);
	max = r[0];
	memcpy(vendor_id, &r[1], 4);
	memcpy(vendor_id + 4, &r[3], 4);
	memcpy(vendor_id + 8, &r[2], 4);
	cpuid(1, 0, r);
	cap[CAP_1_EDX] = r[3];
	cap[CAP_1_ECX] = r[2];
	if (max >= 7) {
		cpuid(7, 0, r);
		cap[CAP_7_0_EBX] = r[1];
		cap[CAP_7_0_ECX] = r[2];
		cap[CAP_7_0_EDX] = r[3];
		cpuid(7, 1, r);
		cap[CAP_7_1_EAX] = r[0];
	}
	cpuid(0x80000000, 0, r);
	if (r[0] >= 0x80000001) {
		u32 top = r[0];

		cpuid(0x80000001, 0, r);
		cap[CAP_8000_0001_EDX] = r[3];
		cap[CAP_8000_0001_ECX] = r[2];
		if (top >= 0x80000004)
			for (i = 0; i < 3; i++) {
				cpuid(0x80000002 + i, 0, r);
				memcpy(model_name + 16 * i, r, 16);
			}
	}
	clear_bit(X86_FEATURE_PKU, (unsigned long *)cap);
	clear_bit(X86_FEATURE_OSPKE, (unsigned long *)cap);
	clear_bit(X86_FEATURE_AMX_TILE, (unsigned long *)cap);
	clear_bit(X86_FEATURE_AMX_INT8, (unsigned long *)cap);
	clear_bit(X86_FEATURE_AMX_BF16, (unsigned long *)cap);
}

static int show_cpuinfo(struct seq_file *m, void *v)
{
	unsigned long khz = paracell_control->boot.tsc_khz;
	int i;

	seq_puts(m, "processor\t: 0\n");
	seq_printf(m, "vendor_id\t: %s\n", vendor_id);
	seq_printf(m, "model name\t: %s\n", model_name);
	seq_printf(m, "cpu MHz\t\t: %lu.%03lu\n", khz / 1000, khz % 1000);
	seq_puts(m, "flags\t\t:");
	for (i = 0; i < 32 * NCAPINTS; i++)
		if (cpu_has(&boot_cpu_data, i) && x86_cap_flags[i])
			seq_printf(m, " %s", x86_cap_flags[i]);
	seq_printf(m, "\nbogomips\t: %lu.%02lu\n", loops_per_jiffy / (500000 / HZ),
		   (loops_per_jiffy / (5000 / HZ)) % 100);
	seq_printf(m, "cache_alignment\t: %d\n\n", boot_cpu_data.cache_alignment);
	return 0;
}

static void *c_start(struct seq_file *m, loff_t *pos)
{
	return *pos < nr_cpu_ids ? &boot_cpu_data + *pos : NULL;
}

static void *c_next(struct seq_file *m, void *v, loff_t *pos)
{
	++*pos;
	return c_start(m, pos);
}

static void c_stop(struct seq_file *m, void *v)
{
}

const struct seq_operations cpuinfo_op = {
	.start	= c_start,
	.next	= c_next,
	.stop	= c_stop,
	.show	= show_cpuinfo,
};

/* Exit code of the cell at power-off; PID 1 sets it through a sysctl. */
int paracell_exit_code;

static struct ctl_table paracell_sysctls[] = {
	{
		.procname	= "paracell_exit_code",
		.data		= &paracell_exit_code,
		.maxlen		= sizeof(int),
		.mode		= 0600,
		.proc_handler	= proc_dointvec,
	},
};

static int __init sysctl_init(void)
{
	register_sysctl("kernel", paracell_sysctls);
	return 0;
}
fs_initcall(sysctl_init);

void __noreturn paracell_exit(int code, int reason)
{
	paracell_call(PARACELL_CALL_EXIT, code, reason, 0, 0);
	for (;;)
		cpu_relax();
}

static int panic_exit(struct notifier_block *self, unsigned long unused,
		      void *msg)
{
	kmsg_dump(KMSG_DUMP_PANIC);
	bust_spinlocks(1);
	bust_spinlocks(0);
	/* The host says it where it says that the cell has ended. */
	strscpy((char *)paracell_control->exit_msg, msg, sizeof(paracell_control->exit_msg));
	paracell_exit(1, PARACELL_REASON_PANIC);
}

static struct notifier_block panic_block = {
	.notifier_call	= panic_exit,
	.priority	= INT_MIN,	/* last: it does not return */
};

/* Whose definitions this image has: the host looks before it starts it. */
asm(PARACELL_NOTE);

void __init paracell_start(struct paracell_control *control)
{
	if (control != paracell_control ||
	    control->boot.version != PARACELL_VERSION ||
	    control->boot.identity != PARACELL_IDENTITY)
		paracell_exit(1, PARACELL_REASON_ABI);
	paracell_call(PARACELL_CALL_VECTORS, (long)paracell_vector, 0, 0, 0);
	start_kernel();
	BUG();
}

void __init setup_arch(char **cmdline_p)
{
	struct paracell_boot_params *boot = &paracell_control->boot;

	identify_cpu();
	boot->cmdline[PARACELL_CMDLINE_SIZE - 1] = 0;
	strscpy(boot_command_line, boot->cmdline, COMMAND_LINE_SIZE);
	*cmdline_p = boot_command_line;
	strscpy(init_utsname()->machine, "x86_64");
	atomic_notifier_chain_register(&panic_notifier_list, &panic_block);

	memblock_reserve(0, PAGE_ALIGN(boot->kernel_end));
#ifdef CONFIG_BLK_DEV_INITRD
	if (boot->initrd_size) {
		memblock_reserve(boot->initrd_gpa, boot->initrd_size);
		initrd_start = (unsigned long)__va(boot->initrd_gpa);
		initrd_end = initrd_start + boot->initrd_size;
	}
#endif
	parse_early_param();
	grow_reserve();
	/* Not before "quiet" is known: it prints what has been logged so far. */
	paracell_console_init();
	paging_init();

	add_bootloader_randomness(boot->rng_seed, sizeof(boot->rng_seed));
	memzero_explicit(boot->rng_seed, sizeof(boot->rng_seed));
}

void __init arch_cpu_finalize_init(void)
{
}

/* Randomness of the processor; 10 tries are what its makers advise. */
#define HARDWARE_RANDOM(name, insn, feature)				\
size_t __must_check name(unsigned long *v, size_t max)			\
{									\
	unsigned int tries;						\
	bool ok;							\
									\
	if (!max || !boot_cpu_has(feature))				\
		return 0;						\
	for (tries = 0; tries < 10; tries++) {				\
		asm volatile(insn " %0" : "=r" (*v), "=@ccc" (ok));	\
		if (ok)							\
			return 1;					\
	}								\
	return 0;							\
}									\
EXPORT_SYMBOL(name)

HARDWARE_RANDOM(arch_get_random_longs, "rdrand", X86_FEATURE_RDRAND);
HARDWARE_RANDOM(arch_get_random_seed_longs, "rdseed", X86_FEATURE_RDSEED);

/* Nothing patches kernel text. */
void apply_seal_endbr(s32 *start, s32 *end) {}
void apply_retpolines(s32 *start, s32 *end) {}
void apply_returns(s32 *start, s32 *end) {}
void apply_fineibt(s32 *start_retpoline, s32 *end_retpoline,
		   s32 *start_cfi, s32 *end_cfi) {}
void apply_alternatives(struct alt_instr *start, struct alt_instr *end) {}

void *text_poke(void *addr, const void *opcode, size_t len)
{
	WARN_ON(1);
	return addr;
}

void text_poke_sync(void) {}

/* Endings. */
void (*pm_power_off)(void);
EXPORT_SYMBOL(pm_power_off);

void machine_restart(char *cmd)
{
	paracell_exit(paracell_exit_code, PARACELL_REASON_REBOOT);
}

void machine_power_off(void)
{
	paracell_exit(paracell_exit_code, PARACELL_REASON_POWER_OFF);
}

void machine_halt(void)
{
	machine_power_off();
}

static int power_off_handler(struct sys_off_data *data)
{
	machine_power_off();
	return NOTIFY_DONE;
}

static int __init register_power_off(void)
{
	register_sys_off_handler(SYS_OFF_MODE_POWER_OFF, SYS_OFF_PRIO_DEFAULT,
				 power_off_handler, NULL);
	return 0;
}
core_initcall(register_power_off);
