/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Set-up of a cell, up to the point where its jail is closed. Nothing of the
 * guest runs before that.
 */
#include "host.h"

/* Flags in argv[4]. */
enum { SETUP_NO_ROOT = 1 /* leave out what needs privilege: for tests */ };

struct paracell_vcpu no_vcpu;
u64 mem_size;
u32 isolation, max_slots;
int warden_pid;

static u64 flags, max_pid;
static char root[4096];

/* Pages of the kernel that are mapped from its file: offset and bytes. */
static struct file_part { u64 offset, len; } text_part, rodata_part;

/* The seccomp filter: struct sock_filter, linux/filter.h. */
static struct { u16 code; u8 jt, jf; u32 k; } filter[4096];

extern const char __image_start[], __text_end[], __rodata_end[], __gate_page[], __scratch_page[], __data_start[],
	__image_end[];
extern const u64 __wrpkru_sites[], __wrpkru_sites_end[];

/* fail reports why there will be no cell. */
static noreturn void fail(const char *what, long err)
{
	char text[256], *p = text;
	unsigned long n = text_len(what);

	if (n > 200)
		n = 200;
	memcpy(p, what, n);
	p += n;
	if (err) {
		memcpy(p, ": errno ", 8);
		p += 8;
		text_number(p, err < 0 ? -err : err, 10);
		p += text_len(p);
	}
	*p++ = '\n';
	host_syscall(__NR_write, (long)FD_STATUS, text, (long)(p - text));
	process_exit(1);
}

#define TRY(what, call) do { long err_ = (call); if (err_ < 0) fail(what, err_); } while (0)

static u64 number(const char *s)
{
	u64 v = 0;

	if (!s || !*s)
		fail("argument missing", HOST_EINVAL);
	for (; *s; s++) {
		if (*s < '0' || *s > '9')
			fail("argument is not a number", HOST_EINVAL);
		v = v * 10 + (u64)(*s - '0');
	}
	return v;
}

/* read_arguments copies what it needs: the initial stack will be unmapped. */
static void read_arguments(const u64 *stack)
{
	const char *const *argv = (const char *const *)(stack + 1);

	if (stack[0] != 10)
		fail("ten arguments are needed", HOST_EINVAL);
	mem_size = number(argv[1]);
	if (!mem_size || mem_size % PARACELL_PAGE_SIZE || mem_size > PARACELL_PHYS_MAX_SIZE)
		fail("memory size", HOST_EINVAL);
	if (text_len(argv[2]) >= sizeof(root))
		fail("path of the root", HOST_EINVAL);
	memcpy(root, argv[2], text_len(argv[2]) + 1);
	isolation = (u32)number(argv[3]);
	if (isolation > PARACELL_ISOLATION_MPK)
		fail("isolation", HOST_EINVAL);
	flags = number(argv[4]);
	text_part = (struct file_part){ number(argv[5]), number(argv[6]) };
	rodata_part = (struct file_part){ number(argv[7]), number(argv[8]) };
	max_pid = number(argv[9]);
}

/*
 * limit_processes bounds the numbers of processes, and so the processes, in the
 * cell's PID namespace, whatever runs in them. Without a writable /proc/sys
 * there is only the limit that the warden keeps to.
 */
static void limit_processes(void)
{
	enum { WRONLY = 1 };
	char text[24];
	long fd;

	if (!max_pid)
		return;
	text_number(text, max_pid, 10);
	fd = host_syscall(__NR_open, "/proc/sys/kernel/pid_max", (long)WRONLY, 0L);
	if (fd < 0)
		return;
	host_syscall(__NR_write, fd, text, (long)text_len(text));
	host_syscall(__NR_close, fd);
}

/* enter_root makes an empty, read-only file system the only one there is. */
static void enter_root(void)
{
	enum { RDONLY = 1, NOSUID = 2, NODEV = 4, NOEXEC = 8, REMOUNT = 32, BIND = 4096, REC = 16384, PRIVATE = 1 << 18 };

	TRY("mount / private", host_syscall(__NR_mount, "none", "/", 0L, (long)(REC | PRIVATE), 0L));
	TRY("mount root", host_syscall(__NR_mount, "paracell", root, "tmpfs", (long)(NOSUID | NODEV | NOEXEC), "size=4k,nr_inodes=2"));
	TRY("chdir to root", host_syscall(__NR_chdir, root));
	TRY("pivot_root", host_syscall(__NR_pivot_root, ".", "."));
	TRY("umount old root", host_syscall(__NR_umount2, ".", 2L /* MNT_DETACH */));
	TRY("chdir /", host_syscall(__NR_chdir, "/"));
	TRY("mount root read-only", host_syscall(__NR_mount, "none", "/", 0L,
						 (long)(REMOUNT | BIND | RDONLY | NOSUID | NODEV | NOEXEC), 0L));
}

static void drop_identity(void)
{
	enum { NOBODY = 65534 };
	struct { u32 version; int pid; } header = { 0x20080522, 0 };
	struct { u32 effective, permitted, inheritable; } none[2] = { { 0, 0, 0 }, { 0, 0, 0 } };
	long cap;

	/* Ends with EINVAL behind the last capability that the host knows. */
	for (cap = 0; cap < 64; cap++)
		if (host_syscall(__NR_prctl, (long)PR_CAPBSET_DROP, cap, 0L, 0L, 0L) < 0)
			break;
	TRY("setgroups", host_syscall(__NR_setgroups, 0L, 0L));
	TRY("setresgid", host_syscall(__NR_setresgid, (long)NOBODY, (long)NOBODY, (long)NOBODY));
	TRY("setresuid", host_syscall(__NR_setresuid, (long)NOBODY, (long)NOBODY, (long)NOBODY));
	TRY("prctl(PR_CAP_AMBIENT)", host_syscall(__NR_prctl, (long)PR_CAP_AMBIENT, (long)PR_CAP_AMBIENT_CLEAR_ALL, 0L, 0L, 0L));
	TRY("capset", host_syscall(__NR_capset, &header, none));
}

static void limit(void)
{
	static const struct { u64 soft, hard; } zero;

	TRY("setrlimit(RLIMIT_CORE)", host_syscall(__NR_setrlimit, 4L, &zero));
	TRY("prctl(PR_SET_NO_NEW_PRIVS)", host_syscall(__NR_prctl, (long)PR_SET_NO_NEW_PRIVS, 1L, 0L, 0L, 0L));
	/* After the change of identity, which clears it. */
	TRY("prctl(PR_SET_PDEATHSIG)", host_syscall(__NR_prctl, (long)PR_SET_PDEATHSIG, (long)SIG_KILL, 0L, 0L, 0L));
	TRY("sched_getaffinity", place_init());
	/* Sleeping ends when the guest asked for it, not up to 50 us later. */
	TRY("prctl(PR_SET_TIMERSLACK)", host_syscall(__NR_prctl, (long)PR_SET_TIMERSLACK, 1L, 0L, 0L, 0L));
	host_syscall(__NR_prctl, (long)PR_SET_NAME, "paracell", 0L, 0L, 0L);
}

static void unmap_foreign(void)
{
	u64 end = (u64)__image_end;

	TRY("munmap", host_syscall(__NR_munmap, 0L, PARACELL_MONITOR_BASE));
	TRY("munmap", host_syscall(__NR_munmap, end, PARACELL_WINDOW_END - end));
}

static void map_one(u64 va, u64 len, long prot, u64 offset)
{
	if (!len)
		return;
	TRY("mmap of guest memory", host_syscall(__NR_mmap, va, len, prot, (long)(MAP_SHARED | MAP_FIXED), (long)FD_MEMORY, offset));
	if (isolation == PARACELL_ISOLATION_MPK)
		TRY("pkey_mprotect of guest memory", host_syscall(__NR_pkey_mprotect, va, len, prot, (long)PARACELL_KEY_KERNEL));
}

/*
 * map_file maps pages of the kernel's file over guest memory, where they are
 * not: all cells share them. Nothing can change them through the mapping.
 */
static void map_file(u64 va, u64 room, const struct file_part *part, long prot)
{
	if (!part->len)
		return;
	if ((part->len | part->offset) % PARACELL_PAGE_SIZE || part->len > room)
		fail("part of the kernel's file", HOST_EINVAL);
	TRY("mmap of the kernel", host_syscall(__NR_mmap, va, part->len, prot, (long)(MAP_PRIVATE | MAP_FIXED), (long)FD_KERNEL, part->offset));
	if (isolation == PARACELL_ISOLATION_MPK)
		TRY("pkey_mprotect of the kernel", host_syscall(__NR_pkey_mprotect, va, part->len, prot, (long)PARACELL_KEY_KERNEL));
}

/* map_guest maps the control area and guest memory, the kernel's text apart. */
static void map_guest(void)
{
	const struct paracell_boot_params *b = &control->boot;
	u64 text, text_end, ro_end;

	map_one(PARACELL_CONTROL_BASE, PARACELL_CONTROL_SIZE, PROT_READ | PROT_WRITE, mem_size);
	if (b->version != PARACELL_VERSION || b->identity != PARACELL_IDENTITY)
		fail("this program carries a monitor of another build: build it anew (make monitor go)", 0);
	/* Copied: later the guest can write it. */
	max_slots = b->max_slots;
	if (!max_slots || max_slots >= PARACELL_MAX_SLOTS)
		fail("number of slots", HOST_EINVAL);
	text = b->kernel_text_start;
	text_end = b->kernel_text_end;
	ro_end = b->kernel_rodata_end;
	if ((text | text_end | ro_end) % PARACELL_PAGE_SIZE || text >= text_end || text_end > ro_end || ro_end > mem_size)
		fail("kernel layout", HOST_EINVAL);
	map_one(PARACELL_PHYS_BASE, text, PROT_READ | PROT_WRITE, 0);
	map_one(PARACELL_PHYS_BASE + text, text_end - text, PROT_READ | PROT_EXEC, text);
	map_one(PARACELL_PHYS_BASE + text_end, ro_end - text_end, PROT_READ, text_end);
	map_one(PARACELL_PHYS_BASE + ro_end, mem_size - ro_end, PROT_READ | PROT_WRITE, ro_end);
	map_file(PARACELL_PHYS_BASE + text, text_end - text, &text_part, PROT_READ | PROT_EXEC);
	map_file(PARACELL_PHYS_BASE + text_end, ro_end - text_end, &rodata_part, PROT_READ);
}

/* without_keys makes a no-op of every wrpkru; no other code has one. */
static void without_keys(void)
{
	u64 len = (u64)(__text_end - __image_start);
	const u64 *site;

	TRY("mprotect of monitor text",
	    host_syscall(__NR_mprotect, __image_start, len, (long)(PROT_READ | PROT_WRITE | PROT_EXEC)));
	for (site = __wrpkru_sites; site < __wrpkru_sites_end; site++)
		memcpy((void *)*site, "\x0f\x1f\x00", 3);
	TRY("mprotect of monitor text", host_syscall(__NR_mprotect, __image_start, len, (long)(PROT_READ | PROT_EXEC)));
}

static void protect(const char *from, const char *end, long prot, long key)
{
	if (from != end)
		TRY("pkey_mprotect of the monitor", host_syscall(__NR_pkey_mprotect, from, (u64)(end - from), prot, key));
}

/* allocate_keys takes the keys K, R and S, accessible until set_kernel_pkru. */
static void allocate_keys(void)
{
	long key, got;

	for (key = PARACELL_KEY_KERNEL; key <= PARACELL_KEY_SCRATCH; key++) {
		got = host_syscall(__NR_pkey_alloc, 0L, 0L);
		if (got < 0)
			fail("no protection keys (pkey_alloc)", got);
		if (got != key)
			fail("pkey_alloc gave an unexpected key", got);
	}
}

static void with_keys(void)
{
	protect(__image_start, __text_end, PROT_READ | PROT_EXEC, PARACELL_KEY_KERNEL);
	protect(__text_end, __rodata_end, PROT_READ, PARACELL_KEY_KERNEL);
	protect(__gate_page, __scratch_page, PROT_READ | PROT_WRITE, PARACELL_KEY_READ);
	protect(__scratch_page, __data_start, PROT_READ | PROT_WRITE, PARACELL_KEY_SCRATCH);
	protect(__data_start, __image_end, PROT_READ | PROT_WRITE, PARACELL_KEY_KERNEL);
	set_kernel_pkru();
}

static long install_filter(u64 bytes)
{
	struct { u16 len; const void *filter; } program = { (u16)(bytes / sizeof(filter[0])), filter };

	return host_syscall(__NR_seccomp, (long)SECCOMP_SET_MODE_FILTER, 0L, &program);
}

static u64 read_filter(void)
{
	u64 have = 0;
	long n;

	while (have < sizeof(filter)) {
		n = host_syscall(__NR_read, (long)FD_FILTER, (char *)filter + have, sizeof(filter) - have);
		if (n < 0)
			fail("read the seccomp filter", n);
		if (!n)
			break;
		have += (u64)n;
	}
	if (!have || have % sizeof(filter[0]) || have == sizeof(filter))
		fail("size of the seccomp filter", HOST_EINVAL);
	return have;
}

/*
 * close_jail ends with the filter, under which nothing can be reported any
 * more: a child tries it first.
 */
static void close_jail(void)
{
	u64 bytes = read_filter();
	int status = 0;
	long pid, err;

	pid = host_syscall(__NR_clone, (long)SIG_CHILD, 0L, 0L, 0L, 0L);
	if (!pid) {
		err = install_filter(bytes);
		process_exit((int)-err);
	}
	TRY("clone", pid);
	TRY("wait4", host_syscall(__NR_wait4, pid, &status, (long)WAIT_ALL, 0L));
	if (status & 0x7f)
		fail("seccomp filter does not allow exit_group", 0);
	if (status)
		fail("seccomp", status >> 8);
	host_syscall(__NR_close_range, 0L, (long)FD_MEMORY - 1, 0L);
	host_syscall(__NR_close_range, (long)FD_STATUS + 1, ~0U, 0L);
	host_syscall(__NR_close, (long)FD_FILTER);
	/* Nobody reads it: the creator died before PR_SET_PDEATHSIG. */
	if (host_syscall(__NR_write, (long)FD_STATUS, "ok\n", 3L) != 3)
		host_syscall(__NR_exit_group, 1L);
	host_syscall(__NR_close, (long)FD_STATUS);
	err = install_filter(bytes);
	if (err)
		cell_end(PARACELL_REASON_HOST_CALL, 0, -err, "seccomp");
}

noreturn void warden_main(const u64 *stack);
noreturn void warden_main(const u64 *stack)
{
	read_arguments(stack);
	host_syscall(__NR_setsid);
	if (!(flags & SETUP_NO_ROOT)) {
		limit_processes();
		enter_root();
		drop_identity();
	}
	limit();
	unmap_foreign();
	warden_pid = (int)host_syscall(__NR_getpid);
	if (isolation == PARACELL_ISOLATION_MPK)
		allocate_keys();
	else
		without_keys();
	map_guest();
	install_handlers();
	if (isolation == PARACELL_ISOLATION_MPK)
		with_keys();
	measure_frames();
	close_jail();
	warden_loop();
}
