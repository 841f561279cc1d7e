// SPDX-License-Identifier: GPL-2.0
/*
 * Exceptions: of user code (from the monitor's enter), and of the kernel
 * itself (from its vector).
 */
#include <linux/extable.h>
#include <linux/hardirq.h>
#include <linux/kdebug.h>
#include <linux/mm.h>
#include <linux/perf_event.h>
#include <linux/ptrace.h>
#include <linux/sched/debug.h>
#include <linux/sched/signal.h>
#include <linux/sched/task_stack.h>
#include <linux/uaccess.h>
#include <linux/unaligned.h>
#include <linux/userfaultfd_k.h>
#include <linux/vmalloc.h>
#include <asm/tlbflush.h>
#include <sysdep/ptrace.h>
#include "paracell.h"
#include "rewrite.h"
#include "text.h"
#include "text_trap.h"

/*
 * Make a page of the current address space accessible. Returns 0, or -EFAULT,
 * -EACCES (SIGBUS), -ENOMEM. With user clear only the current task's own
 * access through uaccess is meant; the same rules hold.
 */
int handle_page_fault(unsigned long address, bool write, bool exec, bool user,
		      int *code_out)
{
	struct mm_struct *mm = current->mm;
	struct vm_area_struct *vma;
	unsigned int flags = FAULT_FLAG_DEFAULT | FAULT_FLAG_USER;
	vm_fault_t fault;

	*code_out = SEGV_MAPERR;
	if (!mm || faulthandler_disabled() || address >= TASK_SIZE)
		return -EFAULT;
	if (write)
		flags |= FAULT_FLAG_WRITE;
	if (exec)
		flags |= FAULT_FLAG_INSTRUCTION;
retry:
	vma = lock_mm_and_find_vma(mm, address, NULL);
	if (!vma)
		return -EFAULT;
	*code_out = SEGV_ACCERR;
	if (write ? !(vma->vm_flags & VM_WRITE) :
	    exec ? !(vma->vm_flags & VM_EXEC) :
	    !(vma->vm_flags & (VM_READ | VM_WRITE | VM_EXEC))) {
		mmap_read_unlock(mm);
		return -EFAULT;
	}

	fault = handle_mm_fault(vma, address, flags, NULL);
	/* As fault_signal_pending(), which would need registers. */
	if ((fault & VM_FAULT_RETRY) &&
	    (fatal_signal_pending(current) || (user && signal_pending(current))))
		return -EINTR;
	if (fault & VM_FAULT_COMPLETED)
		return 0;
	if (unlikely(fault & VM_FAULT_RETRY)) {
		flags |= FAULT_FLAG_TRIED;
		goto retry;
	}
	mmap_read_unlock(mm);
	if (unlikely(fault & VM_FAULT_ERROR)) {
		if (fault & VM_FAULT_OOM) {
			if (!user)
				return -ENOMEM;
			pagefault_out_of_memory();
			return 0;
		}
		if (fault & (VM_FAULT_SIGBUS | VM_FAULT_HWPOISON |
			     VM_FAULT_HWPOISON_LARGE))
			return -EACCES;
		return -EFAULT;
	}
	return 0;
}

int show_unhandled_signals = 1;

static void show_user_fault(struct uml_pt_regs *r, const char *what)
{
	struct task_struct *tsk = current;

	if (!show_unhandled_signals || !unhandled_signal(tsk, SIGSEGV) ||
	    !printk_ratelimit())
		return;
	pr_info("%s[%d]: %s at %lx ip %px sp %px error %lx", tsk->comm,
		task_pid_nr(tsk), what, r->cr2, (void *)UPT_IP(r),
		(void *)UPT_SP(r), r->error_code);
	print_vma_addr(KERN_CONT " in ", UPT_IP(r));
	pr_cont("\n");
}

/*
 * A write right above a page that is there already is taken for a sequential
 * first touch: the next pages come with it, in one host call where they are
 * contiguous. A scattered touch stays one page.
 */
#define ANON_AHEAD 16

/* Zeroed, contiguous pages for the faults ahead; taken from the front. */
static struct page *ahead_page;
static unsigned int ahead_count;

struct folio *arch_take_zeroed_folio(void);

struct folio *arch_take_zeroed_folio(void)
{
	if (likely(!ahead_count))
		return NULL;
	ahead_count--;
	return page_folio(ahead_page++);
}

/*
 * Without them the faults take single pages, wherever those are. None is kept
 * for the next fault: runs that go on where the last one ended make the host
 * join its mappings, which costs more than a mapping of its own (measured: 1.9
 * instead of 1.2 us per page).
 */
static void stock_ahead(unsigned int count)
{
	unsigned int order = order_base_2(count), i;

	if (ahead_count || count < 2)
		return;
	ahead_page = alloc_pages((GFP_HIGHUSER_MOVABLE | __GFP_ZERO |
				  __GFP_NOWARN) & ~__GFP_RECLAIM, order);
	if (!ahead_page)
		return;
	split_page(ahead_page, order);
	ahead_count = count;
	for (i = ahead_count; i < 1 << order; i++)
		__free_page(ahead_page + i);
}

static void drop_ahead(void)
{
	while (ahead_count)
		__free_page(ahead_page + --ahead_count);
}

static void fault_ahead(struct mm_struct *mm, unsigned long address)
{
	unsigned long addr = address & PAGE_MASK, end;
	struct vm_area_struct *vma;
	pte_t *pte;

	if (!(addr & ~PMD_MASK))
		return;
	pte = virt_to_pte(mm, addr - PAGE_SIZE);
	if (!pte || !pte_present(*pte) || !mmap_read_trylock(mm))
		return;
	vma = find_vma(mm, addr);
	if (vma && vma->vm_start <= addr && vma_is_anonymous(vma) &&
	    (vma->vm_flags & (VM_WRITE | VM_GROWSDOWN)) == VM_WRITE &&
	    !userfaultfd_armed(vma)) {
		end = min(vma->vm_end, (addr + ANON_AHEAD * PAGE_SIZE) &
			  ~(ANON_AHEAD * PAGE_SIZE - 1));
		addr += PAGE_SIZE;
		if (addr < end)
			stock_ahead((end - addr) >> PAGE_SHIFT);
		for (pte += 2; addr < end; addr += PAGE_SIZE, pte++) {
			if (!pte_none(*pte))
				break;
			if (handle_mm_fault(vma, addr, FAULT_FLAG_WRITE |
					    FAULT_FLAG_USER, NULL) &
			    (VM_FAULT_ERROR | VM_FAULT_RETRY | VM_FAULT_COMPLETED))
				break;
		}
		drop_ahead();
	}
	mmap_read_unlock(mm);
}

/* What signal frames say about the last exception. */
static void note_fault(struct uml_pt_regs *r)
{
	struct faultinfo *fi = &current->thread.arch.faultinfo;

	fi->error_code = r->error_code;
	fi->trap_no = r->trap_no;
	if (r->trap_no == 14) {
		/* The host may lack a page that the guest's tables have. */
		pte_t *pte = r->cr2 < TASK_SIZE ?
			     virt_to_pte(current->mm, r->cr2) : NULL;

		fi->cr2 = r->cr2;
		fi->error_code &= ~(FAULT_EC_PRESENT | FAULT_EC_PKEY);
		if (r->cr2 >= TASK_SIZE ||
		    (pte && (pte_val(*pte) & _PAGE_PRESENT)))
			fi->error_code |= FAULT_EC_PRESENT;
	}
}

static void user_page_fault(struct uml_pt_regs *r)
{
	bool write = r->error_code & FAULT_EC_WRITE;
	bool exec = r->error_code & FAULT_EC_EXEC;
	struct pt_regs *regs = container_of(r, struct pt_regs, regs);
	unsigned long address = r->cr2, cookie = 0;
	int code, err;

	/*
	 * The fault may take long: meanwhile nobody is seen between two jumps of
	 * a site. After it the thread goes on in the trampoline that it has
	 * asked for. Sent back to the site, whose page may have made room for the
	 * trampoline's, it could ask for the two by turns for ever.
	 */
	if (address == UPT_IP(r))
		cookie = paracell_rewrite_begin(regs);
	/* A denied key: the address is the kernel's, or the monitor's. */
	err = handle_page_fault(address, write, exec, true, &code);
	paracell_rewrite_end(regs, cookie);
	if (!err) {
		if (write)
			fault_ahead(current->mm, address);
		if (!paracell_text_fault(current->mm, address, write, exec))
			paracell_remap(current->mm, address);
		else if (exec)
			text_step_page(r, address);
		paracell_rewrite_settle();
		return;
	}
	if (err == -EINTR)
		return;
	if (exec && paracell_rewrite_trap(regs))
		return;
	note_fault(r);
	show_user_fault(r, "segfault");
	if (err == -EACCES)
		force_sig_fault(SIGBUS, BUS_ADRERR, (void __user *)address);
	else
		force_sig_fault(SIGSEGV, code, (void __user *)address);
}

/* Which of the unmasked conditions a floating-point exception was for. */
static void user_fp_fault(struct uml_pt_regs *r, void __user *ip)
{
	const u8 *x;
	u32 err;

	paracell_fpu_sync(current);
	x = current->thread.arch.fpu.xsave;
	if (r->trap_no == 16) {
		u16 cwd = get_unaligned((u16 *)x), swd = get_unaligned((u16 *)(x + 2));

		err = swd & ~cwd;
	} else {
		u32 mxcsr = get_unaligned((u32 *)(x + 24));

		err = ~(mxcsr >> 7) & mxcsr;
	}
	force_sig_fault(SIGFPE,
			err & 0x001 ? FPE_FLTINV :
			err & 0x004 ? FPE_FLTDIV :
			err & 0x008 ? FPE_FLTOVF :
			err & 0x012 ? FPE_FLTUND :
			err & 0x020 ? FPE_FLTRES : 0, ip);
}

/* Signals of the other exceptions, as arch/x86 hands them out. */
void paracell_user_fault(struct uml_pt_regs *r)
{
	struct pt_regs *regs = container_of(r, struct pt_regs, regs);
	void __user *ip;

	if (text_trap(r))
		return;
	if ((r->trap_no == 1 || r->trap_no == 6) && paracell_rewrite_trap(regs))
		return;
	ip = (void __user *)UPT_IP(r);

	/* Page faults that are put right leave no trace in later frames. */
	if (r->trap_no != 14)
		note_fault(r);

	switch (r->trap_no) {
	case 0:
		force_sig_fault(SIGFPE, FPE_INTDIV, ip);
		break;
	case 1:
		force_sig_fault(SIGTRAP, TRAP_TRACE, ip);
		break;
	case 3:
		force_sig(SIGTRAP);
		break;
	case 4:
	case 5:
		force_sig(SIGSEGV);
		break;
	case 6:
		force_sig_fault(SIGILL, ILL_ILLOPN, ip);
		break;
	case 7:
		/* AMX, which the host has not been asked for. */
		force_sig_fault(SIGILL, ILL_ILLOPC, ip);
		break;
	case 14:
		user_page_fault(r);
		break;
	case 16:
	case 19:
		user_fp_fault(r, ip);
		break;
	case 17:
		force_sig_fault(SIGBUS, BUS_ADRALN, NULL);
		break;
	case 18:
		/* The host cannot give the memory behind a guest page. */
		force_sig_fault(SIGBUS, BUS_OBJERR, (void __user *)r->cr2);
		break;
	case 11:
	case 12:
		force_sig(SIGBUS);
		break;
	default:
		show_user_fault(r, "general protection");
		force_sig(SIGSEGV);
	}
}

/* Context of a kernel exception, for reports. */
static void kframe_to_regs(struct paracell_kframe *f, struct pt_regs *regs)
{
	memset(regs, 0, sizeof(*regs));
	memcpy(regs->regs.gp, f->gp, sizeof(f->gp));
	regs->regs.trap_no = f->trap_no;
	regs->regs.error_code = f->error_code;
	regs->regs.cr2 = f->cr2;
	regs->regs.syscall = -1;
}

/*
 * The monitor's upcall: an interrupt while irq_enabled was set, or an
 * exception in kernel mode. Runs on the monitor's stack and may not sleep.
 */
void paracell_vector(struct paracell_kframe *frame)
{
	const struct exception_table_entry *fixup;
	struct paracell_vcpu *vcpu = paracell_vcpu();
	struct pt_regs regs;

	if (frame->trap_no == PARACELL_KFRAME_IRQ) {
		WRITE_ONCE(vcpu->irq_enabled, 0);
		barrier();
		kframe_to_regs(frame, &regs);
		paracell_run_irqs(&regs);
		return;
	}
	if (frame->trap_no == 14 && paracell_kernel_fault(frame->cr2))
		return;
	fixup = search_exception_tables(frame->gp[HOST_IP]);
	if (fixup) {
		frame->gp[HOST_IP] = fixup->fixup;
		return;
	}
	kframe_to_regs(frame, &regs);
	console_verbose();
	bust_spinlocks(1);
	pr_emerg("kernel exception %llu, error %llx, address %llx\n",
		 frame->trap_no, frame->error_code, frame->cr2);
	show_regs(&regs);
	panic("exception in kernel mode");
}
