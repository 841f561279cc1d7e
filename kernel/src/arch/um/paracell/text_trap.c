// SPDX-License-Identifier: GPL-2.0
/*
 * Traps of views. User code has met an int3 that stands in for bytes which the
 * view must not have, or a page that is not mapped at all for that reason. The
 * instruction pointer is at the start of an instruction. If that is a forbidden
 * one it is emulated. Any other is run alone, with its own bytes put back and
 * the trap flag set, in a copy of the page that only this entry into user mode
 * sees: whatever ends that, the view is back before the next.
 *
 * With more than one vCPU the copy must not be seen by other threads, so a step
 * will have to stop those of the same address space.
 */
#include <linux/gfp.h>
#include <linux/init.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>
#include <asm/insn.h>
#include <asm/paracell_fpu.h>
#include <asm/pgtable.h>
#include <sysdep/ptrace.h>
#include "paracell.h"
#include "text.h"
#include "text_scan.h"
#include "text_trap.h"
#include "text_view.h"

#define MAX_INSN 15

struct task_struct *text_step_task;

static struct {
	struct mm_struct *mm;
	unsigned long ip;
	u8 bytes[MAX_INSN];
	int len;
	int opcode;		/* of one byte; -1: longer */
	bool running, had_tf;
	unsigned long opened[2];	/* pages; 0: none */
	struct page *page[2];
} step;

static bool has_ospke __ro_after_init;

static struct text_map *map_at(struct mm_struct *mm, unsigned long addr)
{
	return text_map(text_window(mm, addr), addr);
}

/* What stops a program, and leaves a trace in the log. */
static void refuse(struct uml_pt_regs *r, const u8 *bytes, int len, const char *why)
{
	text_stats.refused++;
	pr_info_ratelimited("%s[%d]: stopped at %lx: %*ph: %s\n", current->comm,
			    task_pid_nr(current), (unsigned long)UPT_IP(r), len, bytes, why);
	force_sig_fault(SIGILL, ILL_ILLOPN, (void __user *)UPT_IP(r));
}

/* Length of the prefixes; bad: one that both forbidden instructions refuse. */
static int prefixes(const u8 *bytes, int len, bool *bad)
{
	int i;

	*bad = false;
	for (i = 0; i < len; i++) {
		switch (bytes[i]) {
		case 0x66: case 0xf0: case 0xf2: case 0xf3:
			*bad = true;
			break;
		case 0x26: case 0x2e: case 0x36: case 0x3e:
		case 0x40 ... 0x4f:
		case 0x64: case 0x65: case 0x67:
			break;
		default:
			return i;
		}
	}
	return len;
}

/* The next instruction is done: as the processor reports it to a debugger. */
static void finish(struct uml_pt_regs *r, int len)
{
	UPT_IP(r) += len;
	text_stats.emulated++;
	if (r->gp[HOST_EFLAGS] & X86_EFLAGS_TF)
		force_sig_fault(SIGTRAP, TRAP_TRACE, (void __user *)UPT_IP(r));
}

/*
 * The guest's user has no keys but that of all its memory. Rights of keys that
 * are not there do not matter; without access to its own it could not go on.
 */
static void emulate_wrpkru(struct uml_pt_regs *r, int len)
{
	if (!has_ospke) {
		force_sig_fault(SIGILL, ILL_ILLOPN, (void __user *)UPT_IP(r));
		return;
	}
	if ((u32)r->gp[HOST_CX] || (u32)r->gp[HOST_DX]) {
		force_sig(SIGSEGV);
		return;
	}
	if (r->gp[HOST_AX] & 3) {
		pr_info_ratelimited("%s[%d]: stopped at %lx: wrpkru takes away the access to all user memory\n",
				    current->comm, task_pid_nr(current),
				    (unsigned long)UPT_IP(r));
		force_sig_pkuerr((void __user *)UPT_IP(r), 0);
		return;
	}
	finish(r, len);
}

static unsigned long reg(struct uml_pt_regs *r, unsigned int nr)
{
	static const u8 index[] = {
		HOST_AX, HOST_CX, HOST_DX, HOST_BX, HOST_SP, HOST_BP, HOST_SI, HOST_DI,
		HOST_R8, HOST_R9, HOST_R10, HOST_R11, HOST_R12, HOST_R13, HOST_R14, HOST_R15,
	};

	return r->gp[index[nr]];
}

/* Address of the memory operand of an instruction at the instruction pointer. */
static unsigned long operand(struct uml_pt_regs *r, struct insn *insn)
{
	u8 rex = insn->rex_prefix.value, modrm = insn->modrm.value;
	u8 mod = X86_MODRM_MOD(modrm), rm = X86_MODRM_RM(modrm);
	unsigned long addr = (long)(s32)insn->displacement.value;
	int i;

	if (!insn->displacement.nbytes)
		addr = 0;
	if (rm == 4) {
		u8 sib = insn->sib.value;
		u8 at = X86_SIB_INDEX(sib) | (X86_REX_X(rex) ? 8 : 0);
		u8 base = X86_SIB_BASE(sib);

		if (at != 4)
			addr += reg(r, at) << X86_SIB_SCALE(sib);
		if (base != 5 || mod)
			addr += reg(r, base | (X86_REX_B(rex) ? 8 : 0));
	} else if (rm == 5 && !mod) {
		addr += UPT_IP(r) + insn->length;
	} else {
		addr += reg(r, rm | (X86_REX_B(rex) ? 8 : 0));
	}
	if (insn->addr_bytes == 4)
		addr = (u32)addr;
	for (i = 0; i < insn->prefixes.nbytes && i < 4; i++) {
		if (insn->prefixes.bytes[i] == 0x64)
			addr += r->gp[HOST_FS_BASE];
		else if (insn->prefixes.bytes[i] == 0x65)
			addr += r->gp[HOST_GS_BASE];
	}
	return addr;
}

static void emulate_xrstor(struct uml_pt_regs *r, const u8 *bytes, int len)
{
	unsigned long addr;
	struct insn insn;
	u64 mask;

	if (insn_decode(&insn, bytes, len, INSN_MODE_64)) {
		refuse(r, bytes, len, "xrstor that cannot be decoded");
		return;
	}
	/* FS and GS bases may be in the processor only. */
	paracell_fpu_sync(current);
	addr = operand(r, &insn);
	mask = (u32)r->gp[HOST_AX] | (u64)r->gp[HOST_DX] << 32;
	switch (paracell_fpu_xrstor((void __user *)addr, mask)) {
	case 0:
		finish(r, insn.length);
		break;
	case -EFAULT:
		force_sig_fault(SIGSEGV, SEGV_MAPERR, (void __user *)addr);
		break;
	case -EILSEQ:
		force_sig_fault(SIGILL, ILL_ILLOPC, (void __user *)UPT_IP(r));
		break;
	default:
		force_sig(SIGSEGV);
	}
}

/*
 * Loads of SS hold the single-step trap back until after the next instruction,
 * which is not the one that has been looked at.
 */
static bool holds_trap_back(const u8 *bytes, int len)
{
	return (len > 1 && bytes[0] == 0x8e && X86_MODRM_REG(bytes[1]) == 2) ||
	       (len > 1 && bytes[0] == 0x0f && bytes[1] == 0xb2) || bytes[0] == 0x17;
}

/* See to the instruction at the instruction pointer. */
static void run_one(struct uml_pt_regs *r)
{
	unsigned long ip = UPT_IP(r);
	u8 bytes[MAX_INSN];
	struct insn insn;
	int len, at;
	bool bad;

	/* The frames have what the program wants to execute. */
	len = MAX_INSN - copy_from_user(bytes, (void __user *)ip, MAX_INSN);
	at = prefixes(bytes, len, &bad);
	if (at + 3 <= len && text_forbidden(bytes + at, 3) == 0) {
		if (bad)
			force_sig_fault(SIGILL, ILL_ILLOPN, (void __user *)ip);
		else if (bytes[at + 1] == 0x01)
			emulate_wrpkru(r, at + 3);
		else
			emulate_xrstor(r, bytes, len);
		return;
	}
	if (insn_decode(&insn, bytes, len, INSN_MODE_64)) {
		refuse(r, bytes, len, "unknown instruction over a forbidden one");
		return;
	}
	if (at < len && holds_trap_back(bytes + at, len - at)) {
		refuse(r, bytes, len, "load of SS over a forbidden instruction");
		return;
	}
	text_stats.steps++;
	step.mm = current->mm;
	step.ip = ip;
	step.len = insn.length;
	memcpy(step.bytes, bytes, insn.length);
	step.opcode = at + 1 == insn.length ? bytes[at] : -1;
	text_step_task = current;
}

bool text_trap(struct uml_pt_regs *r)
{
	unsigned long ip = UPT_IP(r) - 1;
	struct text_map *m;
	struct page *page;
	u32 prot;

	if (r->trap_no != 3 || ip >= TASK_SIZE)
		return false;
	m = map_at(current->mm, ip);
	if (!m || !m->view->orig)
		return false;
	page = text_map_page(m, &prot);
	if (!page || ((u8 *)page_address(page))[offset_in_page(ip)] != INT3 ||
	    m->view->orig[offset_in_page(ip)] == INT3)
		return false;
	UPT_IP(r) = ip;
	run_one(r);
	return true;
}

void text_step_page(struct uml_pt_regs *r, unsigned long address)
{
	struct text_map *m = map_at(current->mm, address);
	u32 prot;

	if (!m || text_map_page(m, &prot))
		return;
	if (m->view->held && !text_held(pfn_to_page(m->view->pfn))) {
		/* Nobody holds it any more: the next fault makes another view. */
		text_written(m->view->pfn);
		return;
	}
	run_one(r);
}

/* Put the instruction's own bytes into a copy of a page; false: not possible now. */
static bool open_page(struct paracell_vcpu *vcpu, int i, unsigned long addr)
{
	struct text_map *m = map_at(step.mm, addr);
	u8 *copy = page_address(step.page[i]);
	struct page *page;
	bool differs = false;
	int at;
	u32 prot;

	/* Comes by fault first. */
	if (!m)
		return i == 1;
	page = text_map_page(m, &prot);
	if (page && (prot & PARACELL_PROT_EXEC))
		copy_page(copy, page_address(page));
	else
		memset(copy, INT3, PAGE_SIZE);
	for (at = 0; at < step.len; at++) {
		if (((step.ip + at) & PAGE_MASK) != addr)
			continue;
		differs |= copy[offset_in_page(step.ip + at)] != step.bytes[at];
		copy[offset_in_page(step.ip + at)] = step.bytes[at];
	}
	if (!differs && page)
		return true;
	if (vcpu->num_ops == PARACELL_MAX_MAP_OPS)
		return false;
	vcpu->ops[vcpu->num_ops++] = (struct paracell_mapop){
		.op = PARACELL_OP_MAP,
		.prot = PARACELL_PROT_READ | PARACELL_PROT_EXEC,
		.va = addr, .len = PAGE_SIZE, .gpa = page_to_phys(step.page[i]),
	};
	step.opened[i] = addr;
	return true;
}

void text_step_begin(struct uml_pt_regs *r)
{
	struct paracell_vcpu *vcpu = paracell_vcpu();
	unsigned long first = step.ip & PAGE_MASK;
	unsigned long last = (step.ip + step.len - 1) & PAGE_MASK;

	text_step_task = NULL;
	if (step.mm != current->mm || UPT_IP(r) != step.ip)
		return;
	step.opened[0] = 0;
	step.opened[1] = 0;
	/* If it cannot be done now the trap comes again. */
	if (!open_page(vcpu, 0, first) ||
	    (last != first && !open_page(vcpu, 1, last)))
		goto close;
	step.had_tf = r->gp[HOST_EFLAGS] & X86_EFLAGS_TF;
	r->gp[HOST_EFLAGS] |= X86_EFLAGS_TF;
	step.running = true;
	return;
close:
	if (step.opened[0]) {
		vcpu->num_ops--;
		step.opened[0] = 0;
	}
}

/* pushf has stored a trap flag that the program does not have. */
static void clear_pushed_flag(unsigned long sp)
{
	pte_t *pte = virt_to_pte(step.mm, sp);

	if (pte && pte_present(*pte) && pte_write(*pte) && offset_in_page(sp) < PAGE_SIZE - 1)
		((u8 *)page_address(pte_page(*pte)))[offset_in_page(sp + 1)] &= ~(X86_EFLAGS_TF >> 8);
}

long text_step_end(struct uml_pt_regs *r, long code)
{
	bool trapped = code == PARACELL_EXIT_FAULT && r->trap_no == 1;
	int i;

	if (!step.running)
		return code;
	step.running = false;
	for (i = 0; i < 2; i++)
		if (step.opened[i])
			text_resync(step.mm, step.opened[i]);
	if (step.had_tf)
		return code;
	/* popf and iret have loaded what the program wants. */
	if (!trapped || (step.opcode != 0x9d && step.opcode != 0xcf))
		r->gp[HOST_EFLAGS] &= ~X86_EFLAGS_TF;
	if (code == PARACELL_EXIT_SYSCALL)
		r->gp[HOST_R11] &= ~X86_EFLAGS_TF;
	if (trapped && step.opcode == 0x9c)
		clear_pushed_flag(UPT_SP(r));
	return trapped ? PARACELL_EXIT_IRQ : code;
}

static int __init text_trap_init(void)
{
	u32 eax = 7, ebx, ecx = 0, edx;
	int i;

	asm volatile("cpuid" : "+a" (eax), "=b" (ebx), "+c" (ecx), "=d" (edx));
	has_ospke = ecx & BIT(4);
	for (i = 0; i < 2; i++) {
		step.page[i] = alloc_page(GFP_KERNEL);
		if (!step.page[i])
			panic("no memory for single steps");
	}
	return 0;
}
early_initcall(text_trap_init);
