// SPDX-License-Identifier: GPL-2.0
/* Which processor runs the caller; and where the gate is, for those who look. */
#include <linux/types.h>
#include <asm/vdso/gate.h>

struct getcpu_cache;

long __vdso_getcpu(unsigned int *cpu, unsigned int *node,
		   struct getcpu_cache *unused);

long __vdso_getcpu(unsigned int *cpu, unsigned int *node,
		   struct getcpu_cache *unused)
{
	if (IS_ENABLED(CONFIG_SMP))
		return vdso_gate_call(__NR_getcpu, (long)cpu, (long)node, 0);
	if (cpu)
		*cpu = 0;
	if (node)
		*node = 0;
	return 0;
}

long getcpu(unsigned int *cpu, unsigned int *node, struct getcpu_cache *unused)
	__attribute__((weak, alias("__vdso_getcpu")));

/* The same as AT_PARACELL_GATE. Not const: it has to be an object of its own. */
extern const unsigned long __paracell_gate;
const unsigned long __paracell_gate = PARACELL_MONITOR_BASE + PARACELL_ENTRY_GATE;
