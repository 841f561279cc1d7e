// SPDX-License-Identifier: GPL-2.0
/*
 * Who has the FP registers.
 *
 * The registers hold the state of the last user task that ran (vcpu->live) and
 * stay there while the kernel runs, also when it runs kernel threads: only
 * another user task needs them. So a task that sleeps and is woken by an
 * interrupt pays nothing. "owner" names that task while it is not current.
 */

#include <linux/cpufeature.h>
#include <linux/kernel.h>
#include <linux/regset.h>
#include <linux/sched.h>
#include <linux/sched/task.h>
#include <linux/uaccess.h>
#include <asm/paracell.h>
#include <asm/paracell_fpu.h>
#include <asm/processor.h>
#include <asm/sigcontext.h>
#include "text_trap.h"

#define XFEATURE_FP	0
#define XFEATURE_SSE	1
#define XFEATURE_YMM	2
#define XFEATURE_FPSSE	(BIT_ULL(XFEATURE_FP) | BIT_ULL(XFEATURE_SSE))

#define FCW_DEFAULT	0x37f
#define MXCSR_DEFAULT	0x1f80
#define MXCSR_MASK_OLD	0xffbf	/* of processors that do not report one */

/* Legacy region and header of the XSAVE format: Intel SDM volume 1, 13.4. */
struct xsave_image {
	u16 fcw;
	u16 fsw;
	u16 ftw;
	u16 fop;
	u64 fip;
	u64 fdp;
	u32 mxcsr;
	u32 mxcsr_mask;
	u8 st[128];
	u8 xmm[256];
	u8 padding[48];
	struct _fpx_sw_bytes sw;
	struct xsave_header {
		u64 xfeatures;
		u64 xcomp_bv;
		u64 reserved[6];
	} header;
};

#define FXSAVE_SIZE	512
#define HEADER_END	576

static_assert(offsetof(struct xsave_image, mxcsr) == 24);
static_assert(offsetof(struct xsave_image, xmm) == 160);
static_assert(offsetof(struct xsave_image, sw) == 464);
static_assert(offsetof(struct xsave_image, header) == FXSAVE_SIZE);
static_assert(sizeof(struct xsave_image) == HEADER_END);
static_assert(PARACELL_FPU_SIZE == PARACELL_XSTATE_SIZE);

u64 paracell_xfeatures __ro_after_init;
unsigned int paracell_xstate_size __ro_after_init;
static u32 mxcsr_mask __ro_after_init;
static u32 component_offset[8] __ro_after_init;
static u32 component_size[8] __ro_after_init;

/* The task whose state is live while a kernel thread runs; NULL: current. */
static struct task_struct *owner;

static struct paracell_fpu *fpu_of(struct task_struct *t)
{
	return &t->thread.arch.fpu;
}

static struct xsave_image *image_of(struct task_struct *t)
{
	return (struct xsave_image *)fpu_of(t)->xsave;
}

static void monitor_fp_save(void *area)
{
	void (*fp_save)(void *) =
		(void *)(PARACELL_MONITOR_BASE + PARACELL_ENTRY_FP_SAVE);

	fp_save(area);
}

static unsigned long read_fs_base(void)
{
	unsigned long base;

	asm volatile("rdfsbase %0" : "=r" (base));
	return base;
}

static unsigned long read_gs_base(void)
{
	unsigned long base;

	asm volatile("rdgsbase %0" : "=r" (base));
	return base;
}

/* Kernel threads and workers of io_uring and vhost never run user code. */
static bool has_user_state(struct task_struct *t)
{
	return !(t->flags & (PF_KTHREAD | PF_USER_WORKER));
}

static bool is_live(struct task_struct *t)
{
	return paracell_vcpu()->live && (owner ?: current) == t;
}

/* The bytes of an image that neither XSAVE nor XRSTOR touches. */
static void mark_image(struct paracell_fpu *fpu)
{
	struct xsave_image *x = (struct xsave_image *)fpu->xsave;

	x->sw = (struct _fpx_sw_bytes) {
		.magic1 = FP_XSTATE_MAGIC1,
		.extended_size = paracell_xstate_size + FP_XSTATE_MAGIC2_SIZE,
		.xfeatures = paracell_xfeatures,
		.xstate_size = paracell_xstate_size,
	};
	memset(x->padding, 0, sizeof(x->padding));
	*(u32 *)((u8 *)fpu + paracell_xstate_size) = FP_XSTATE_MAGIC2;
}

/* All components initial; what the memory says about them does not matter. */
static void init_image(struct paracell_fpu *fpu)
{
	struct xsave_image *x = (struct xsave_image *)fpu->xsave;

	x->header = (struct xsave_header) {};
	x->mxcsr = MXCSR_DEFAULT;
	x->mxcsr_mask = mxcsr_mask;
	mark_image(fpu);
}

/*
 * A component whose header bit is clear has its initial value, whatever the
 * memory says. Write it there, for those who look at the memory only.
 */
static void fill_in(struct xsave_image *x)
{
	u64 missing = paracell_xfeatures & ~x->header.xfeatures;
	int i;

	if (missing & BIT_ULL(XFEATURE_FP)) {
		x->fcw = FCW_DEFAULT;
		x->fsw = 0;
		x->ftw = 0;
		x->fop = 0;
		x->fip = 0;
		x->fdp = 0;
		memset(x->st, 0, sizeof(x->st));
	}
	if (missing & BIT_ULL(XFEATURE_SSE))
		memset(x->xmm, 0, sizeof(x->xmm));
	for (i = XFEATURE_YMM; i < ARRAY_SIZE(component_size); i++)
		if (missing & BIT_ULL(i))
			memset((u8 *)x + component_offset[i], 0, component_size[i]);

	/*
	 * Programs older than XSAVE change FP and SSE registers in a frame
	 * without a look at the header.
	 */
	x->header.xfeatures |= XFEATURE_FPSSE;
}

static void cpuid_0xd(u32 subleaf, u32 *eax, u32 *ebx)
{
	u32 ecx = subleaf, edx;

	asm volatile("cpuid"
		     : "=a" (*eax), "=b" (*ebx), "+c" (ecx), "=d" (edx)
		     : "0" (0xd));
}

/*
 * The layout of the standard format is the processor's. Runs with the first
 * fork, before any initcall.
 */
static void setup(void)
{
	struct xsave_image *x = image_of(&init_task);
	u32 xcr0, xcr0_high, size, offset;
	int i;

	asm volatile("xgetbv" : "=a" (xcr0), "=d" (xcr0_high) : "c" (0));
	paracell_xfeatures = xcr0 & PARACELL_XSTATE_MASK;
	if ((paracell_xfeatures & XFEATURE_FPSSE) != XFEATURE_FPSSE)
		panic("XCR0 is %#x: the host has to enable x87 and SSE state", xcr0);

	paracell_xstate_size = HEADER_END;
	for (i = XFEATURE_YMM; i < ARRAY_SIZE(component_size); i++) {
		if (!(paracell_xfeatures & BIT_ULL(i)))
			continue;
		cpuid_0xd(i, &size, &offset);
		if (offset < HEADER_END || size > PARACELL_FPU_SIZE ||
		    offset > PARACELL_FPU_SIZE - size)
			panic("XSAVE component %d is at %u+%u, beyond the %d bytes that this kernel saves: this processor is not supported",
			      i, offset, size, PARACELL_FPU_SIZE);
		component_offset[i] = offset;
		component_size[i] = size;
		paracell_xstate_size = max(paracell_xstate_size, offset + size);
	}

	/* Whose state it is does not matter: the mask of valid bits is what counts. */
	monitor_fp_save(x);
	mxcsr_mask = x->mxcsr_mask ?: MXCSR_MASK_OLD;
	init_image(fpu_of(&init_task));
}

void paracell_fpu_sync(struct task_struct *t)
{
	if (!is_live(t))
		return;
	monitor_fp_save(fpu_of(t)->xsave);
	task_pt_regs(t)->regs.gp[HOST_FS_BASE] = read_fs_base();
	task_pt_regs(t)->regs.gp[HOST_GS_BASE] = read_gs_base();
}

void paracell_fpu_drop(void)
{
	struct paracell_vcpu *vcpu = paracell_vcpu();

	if (is_live(current)) {
		task_pt_regs(current)->regs.gp[HOST_FS_BASE] = read_fs_base();
		task_pt_regs(current)->regs.gp[HOST_GS_BASE] = read_gs_base();
		vcpu->live = 0;
	}
	vcpu->fp_area = (unsigned long)fpu_of(current)->xsave;
	barrier();
}

void paracell_fpu_init(struct task_struct *t)
{
	if (unlikely(!paracell_xstate_size))
		setup();
	init_image(fpu_of(t));
}

void paracell_fpu_switch(struct task_struct *prev, struct task_struct *next)
{
	struct paracell_vcpu *vcpu = paracell_vcpu();
	struct task_struct *holder = owner ?: prev;

	if (vcpu->live && (holder->flags & PF_EXITING)) {
		/* It will not be back, and nobody may look any more. */
		vcpu->live = 0;
		owner = NULL;
	}
	if (!has_user_state(next)) {
		owner = vcpu->live ? holder : NULL;
		return;
	}
	if (vcpu->live) {
		owner = NULL;
		if (holder == next)
			return;
		monitor_fp_save(fpu_of(holder)->xsave);
		task_pt_regs(holder)->regs.gp[HOST_FS_BASE] = read_fs_base();
		task_pt_regs(holder)->regs.gp[HOST_GS_BASE] = read_gs_base();
		vcpu->live = 0;
	}
	vcpu->fp_area = (unsigned long)fpu_of(next)->xsave;
}

void paracell_fpu_copy(struct task_struct *p)
{
	if (is_live(current)) {
		init_image(fpu_of(p));
		monitor_fp_save(fpu_of(p)->xsave);
		task_pt_regs(p)->regs.gp[HOST_FS_BASE] = read_fs_base();
		task_pt_regs(p)->regs.gp[HOST_GS_BASE] = read_gs_base();
	} else {
		*fpu_of(p) = *fpu_of(current);
	}
}

unsigned int paracell_fpu_frame_size(void)
{
	return paracell_xstate_size + FP_XSTATE_MAGIC2_SIZE;
}

bool paracell_fpu_to_frame(void __user *buf)
{
	paracell_fpu_sync(current);
	/* The copy may sleep: nobody shall save the registers over the image. */
	paracell_fpu_drop();
	fill_in(image_of(current));
	return !copy_to_user(buf, fpu_of(current), paracell_fpu_frame_size());
}

/*
 * Whether XRSTOR takes the image: SDM volume 1, 13.8.1. Of the reserved bytes
 * of the header it looks at the first eight. Our mask is smaller than XCR0,
 * but it is the one that images are handed out with.
 */
static bool image_valid(const struct xsave_image *x)
{
	return !(x->header.xfeatures & ~paracell_xfeatures) &&
	       !x->header.xcomp_bv && !x->header.reserved[0] &&
	       !(x->mxcsr & ~mxcsr_mask);
}

/* Read a frame into current's image, which is not live; see image_valid(). */
static bool read_frame(const void __user *buf)
{
	struct paracell_fpu *fpu = fpu_of(current);
	struct xsave_image *x = image_of(current);
	struct _fpx_sw_bytes sw;
	u64 wanted = XFEATURE_FPSSE;
	u32 magic2 = 0;
	int i;

	if (copy_from_user(x, buf, FXSAVE_SIZE))
		return false;
	sw = x->sw;

	if (sw.magic1 == FP_XSTATE_MAGIC1 &&
	    sw.xstate_size >= HEADER_END &&
	    sw.xstate_size <= paracell_xstate_size &&
	    sw.xstate_size <= sw.extended_size) {
		if (copy_from_user(fpu->xsave + FXSAVE_SIZE, buf + FXSAVE_SIZE,
				   sw.xstate_size - FXSAVE_SIZE + sizeof(magic2)))
			return false;
		memcpy(&magic2, (u8 *)fpu + sw.xstate_size, sizeof(magic2));
	}
	if (magic2 == FP_XSTATE_MAGIC2) {
		if (!image_valid(x))
			return false;
		wanted = sw.xfeatures & x->header.xfeatures;
		for (i = XFEATURE_YMM; i < ARRAY_SIZE(component_size); i++)
			if (component_offset[i] + component_size[i] > sw.xstate_size)
				wanted &= ~BIT_ULL(i);
	} else if (x->mxcsr & ~mxcsr_mask) {
		return false;
	}
	/* Without the second magic number only the FXSAVE part is meant. */
	x->header = (struct xsave_header) { .xfeatures = wanted };
	mark_image(fpu);
	return true;
}

bool paracell_fpu_from_frame(const void __user *buf)
{
	paracell_fpu_drop();
	if (buf && read_frame(buf))
		return true;
	init_image(fpu_of(current));
	return !buf;
}

/*
 * Offsets of components in a compacted image: SDM volume 1, 13.4.3. The
 * processor is asked once, which is slow in a virtual machine.
 */
#define COMPONENTS 63

static int compacted_offset(u64 present, int component)
{
	static u16 size[COMPONENTS];
	static u64 aligned, known;
	int i, offset = HEADER_END;
	u32 r[4];

	for (i = XFEATURE_YMM; i <= component; i++) {
		if (!(present & BIT_ULL(i)))
			continue;
		if (!(known & BIT_ULL(i))) {
			asm volatile("cpuid" : "=a" (r[0]), "=b" (r[1]), "=c" (r[2]), "=d" (r[3])
				     : "0" (0xd), "2" (i));
			size[i] = r[0];
			if (r[2] & BIT(1))
				aligned |= BIT_ULL(i);
			known |= BIT_ULL(i);
		}
		if (aligned & BIT_ULL(i))
			offset = ALIGN(offset, 64);
		if (i < component)
			offset += size[i];
	}
	return offset;
}

#define XFEATURES_AMX	(BIT_ULL(17) | BIT_ULL(18))

int paracell_fpu_xrstor(const void __user *area, u64 mask)
{
	struct xsave_image *x = image_of(current), from;
	u32 xcr0_low, xcr0_high;
	u64 present, layout, xcr0;
	bool compacted;
	int i, offset;

	if ((unsigned long)area % 64)
		return -EINVAL;
	if (copy_from_user(&from, area, HEADER_END))
		return -EFAULT;
	asm volatile("xgetbv" : "=a" (xcr0_low), "=d" (xcr0_high) : "c" (0));
	xcr0 = xcr0_low | (u64)xcr0_high << 32;
	mask &= xcr0;
	present = from.header.xfeatures;
	layout = from.header.xcomp_bv;
	compacted = layout >> 63;
	layout &= ~BIT_ULL(63);
	/* SDM volume 1, 13.8.1 and 13.8.2. */
	if (compacted) {
		if ((layout & ~xcr0) || (present & ~layout) ||
		    memchr_inv(from.header.reserved, 0, sizeof(from.header.reserved)))
			return -EINVAL;
	} else if ((present & ~xcr0) || layout || from.header.reserved[0]) {
		return -EINVAL;
	}
	if (compacted ? (mask & present & BIT_ULL(XFEATURE_SSE)) != 0 :
	    (mask & (BIT_ULL(XFEATURE_SSE) | BIT_ULL(XFEATURE_YMM))) != 0) {
		if (from.mxcsr & ~mxcsr_mask)
			return -EINVAL;
	}
	if (mask & present & XFEATURES_AMX)
		return -EILSEQ;
	/* Not PKRU, and nothing that this kernel does not save. */
	mask &= paracell_xfeatures;

	paracell_fpu_sync(current);
	paracell_fpu_drop();
	if (compacted) {
		if (mask & BIT_ULL(XFEATURE_SSE))
			x->mxcsr = present & BIT_ULL(XFEATURE_SSE) ?
				   from.mxcsr : MXCSR_DEFAULT;
	} else if (mask & (BIT_ULL(XFEATURE_SSE) | BIT_ULL(XFEATURE_YMM))) {
		x->mxcsr = from.mxcsr;
	}
	if (mask & present & BIT_ULL(XFEATURE_FP)) {
		memcpy(x, &from, offsetof(struct xsave_image, mxcsr));
		memcpy(x->st, from.st, sizeof(x->st));
	}
	if (mask & present & BIT_ULL(XFEATURE_SSE))
		memcpy(x->xmm, from.xmm, sizeof(x->xmm));
	for (i = XFEATURE_YMM; i < ARRAY_SIZE(component_size); i++) {
		if (!(mask & present & BIT_ULL(i)))
			continue;
		offset = compacted ? compacted_offset(layout, i) : component_offset[i];
		if (copy_from_user((u8 *)x + component_offset[i], area + offset,
				   component_size[i]))
			return -EFAULT;
	}
	/* What is not present is initial afterwards. */
	x->header.xfeatures = (x->header.xfeatures & ~mask) | (present & mask);
	return 0;
}

void paracell_fpu_get_fxsave(struct task_struct *t, struct membuf *to)
{
	struct xsave_image *x = image_of(t);

	paracell_fpu_sync(t);
	fill_in(x);
	membuf_write(to, x, offsetof(struct xsave_image, padding));
	membuf_zero(to, FXSAVE_SIZE - offsetof(struct xsave_image, padding));
}

int paracell_fpu_set_fxsave(struct task_struct *t, const void *fxsave)
{
	const struct xsave_image *from = fxsave;
	struct xsave_image *x = image_of(t);

	if (from->mxcsr & ~mxcsr_mask)
		return -EINVAL;
	memcpy(x, from, offsetof(struct xsave_image, padding));
	x->header.xfeatures |= XFEATURE_FPSSE;
	return 0;
}

void paracell_fpu_get_xsave(struct task_struct *t, struct membuf *to)
{
	struct xsave_image *x = image_of(t);
	struct _fpx_sw_bytes sw = {};

	paracell_fpu_sync(t);
	fill_in(x);
	/* Debuggers find XCR0 in the first word that is left to software. */
	memcpy(&sw, &paracell_xfeatures, sizeof(paracell_xfeatures));
	membuf_write(to, x, offsetof(struct xsave_image, sw));
	membuf_write(to, &sw, sizeof(sw));
	membuf_write(to, &x->header, paracell_xstate_size - FXSAVE_SIZE);
}

int paracell_fpu_set_xsave(struct task_struct *t, const void *xsave)
{
	const struct xsave_image *from = xsave;

	if (!image_valid(from) ||
	    memchr_inv(from->header.reserved, 0, sizeof(from->header.reserved)))
		return -EINVAL;
	memcpy(fpu_of(t)->xsave, from, paracell_xstate_size);
	mark_image(fpu_of(t));
	return 0;
}
