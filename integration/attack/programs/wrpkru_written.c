// SPDX-License-Identifier: Apache-2.0
// Write a WRPKRU into memory that has been found harmless and has run, by all
// ways to write it (rule 6).
#include "code.h"
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/shm.h>
#include <sys/uio.h>

static int memory_file(int n)
{
	int fd = MUST(memfd_create("code", 0));

	MUST(ftruncate(fd, n * PAGE));
	return fd;
}

static void *map_file(int fd, int prot, int flags)
{
	return MUST(mmap(NULL, PAGE, prot, flags, fd, 0));
}

static void alias(void)
{
	int fd = memory_file(1);
	uint8_t *w = map_file(fd, PROT_READ | PROT_WRITE, MAP_SHARED);
	uint8_t *x = map_file(fd, PROT_READ | PROT_EXEC, MAP_SHARED);
	uint8_t *private = map_file(fd, PROT_READ | PROT_EXEC, MAP_PRIVATE);

	*w = 0xc3;
	run(x);
	run(private);
	memcpy(w, opener, sizeof opener);
	OPEN_WITH(x, "written through a second mapping");
	OPEN_WITH(private, "written below a private mapping");

	/* By another process, to which the mapping is shared. */
	memset(w, 0xc3, PAGE);
	run(x);
	pid_t pid = MUST(fork());
	if (!pid) {
		memcpy(w, opener, sizeof opener);
		_exit(0);
	}
	MUST(waitpid(pid, NULL, 0));
	OPEN_WITH(x, "written by another process");
}

/* The same with System V shared memory, attached a second time after it has run. */
static void shared_memory(void)
{
	int id = MUST(shmget(IPC_PRIVATE, PAGE, IPC_CREAT | 0700));
	uint8_t *x = MUST(shmat(id, NULL, SHM_EXEC));
	uint8_t *w;

	*x = 0xc3;
	run(x);
	w = MUST(shmat(id, NULL, 0));
	memcpy(w, opener, sizeof opener);
	OPEN_WITH(x, "written through shared memory");
	*x = 0xc3;
	run(x);
	memcpy(w, opener, sizeof opener);
	OPEN_WITH(x, "written through shared memory, again");
	shmdt(w);
	shmdt(x);
	shmctl(id, IPC_RMID, NULL);
}

/* Pages that userfaultfd fills: where there was one that has run, too. */
static void by_userfaultfd(void)
{
	static uint8_t source[PAGE] __attribute__((aligned(4096)));
	uint8_t *p = pages(1, PROT_READ | PROT_WRITE | PROT_EXEC);
	int fd = MUST(syscall(SYS_userfaultfd, O_CLOEXEC));
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = {
		.range = { (uintptr_t)p, PAGE }, .mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	struct uffdio_copy copy = { .dst = (uintptr_t)p, .src = (uintptr_t)source, .len = PAGE };

	memcpy(source, opener, sizeof opener);
	warm_up(p);
	MUST(ioctl(fd, UFFDIO_API, &api));
	MUST(ioctl(fd, UFFDIO_REGISTER, &range));
	MUST(madvise(p, PAGE, MADV_DONTNEED));
	MUST(ioctl(fd, UFFDIO_COPY, &copy));
	OPEN_WITH(p, "filled by userfaultfd");
	close(fd);
}

static void file_write(void)
{
	int fd = memory_file(1);
	uint8_t *x = map_file(fd, PROT_READ | PROT_EXEC, MAP_SHARED);
	uint8_t ret = 0xc3;
	struct iovec v = { (void *)opener, sizeof opener };

	MUST(pwrite(fd, &ret, 1, 0));
	run(x);
	MUST(pwrite(fd, opener, sizeof opener, 0));
	OPEN_WITH(x, "written with pwrite");
	MUST(pwrite(fd, &ret, 1, 0));
	run(x);
	MUST(pwritev(fd, &v, 1, 0));
	OPEN_WITH(x, "written with pwritev");
	MUST(ftruncate(fd, 0));
	MUST(ftruncate(fd, PAGE));
	run(x);
	MUST(pwrite(fd, opener, sizeof opener, 0));
	OPEN_WITH(x, "written after truncation");
}

static void own_memory(void)
{
	uint8_t *p = pages(1, PROT_READ | PROT_WRITE | PROT_EXEC);
	struct iovec from = { (void *)opener, sizeof opener }, to = { p, sizeof opener };
	int mem = MUST(open("/proc/self/mem", O_RDWR));
	int fds[2], fd = memory_file(1);

	warm_up(p);
	memcpy(p, opener, sizeof opener);
	OPEN_WITH(p, "written in place");

	warm_up(p);
	MUST(process_vm_writev(getpid(), &from, 1, &to, 1, 0));
	OPEN_WITH(p, "written with process_vm_writev");

	warm_up(p);
	MUST(mprotect(p, PAGE, PROT_READ | PROT_EXEC));
	MUST(pwrite(mem, opener, sizeof opener, (off_t)p));
	OPEN_WITH(p, "written through /proc/self/mem");
	MUST(mprotect(p, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC));

	warm_up(p);
	MUST(pipe(fds));
	MUST(write(fds[1], opener, sizeof opener));
	MUST(read(fds[0], p, sizeof opener));
	OPEN_WITH(p, "read from a pipe");

	warm_up(p);
	MUST(pwrite(fd, opener, sizeof opener, 0));
	MUST(pread(fd, p, sizeof opener, 0));
	OPEN_WITH(p, "read from a file");

	warm_up(p);
	MUST(mprotect(p, PAGE, PROT_READ | PROT_WRITE));
	memcpy(p, opener, sizeof opener);
	MUST(mprotect(p, PAGE, PROT_READ | PROT_EXEC));
	OPEN_WITH(p, "written between two mprotect");
}

static void moved(void)
{
	uint8_t *p = pages(4, PROT_READ | PROT_WRITE);
	uint8_t *place = pages(4, PROT_READ | PROT_WRITE | PROT_EXEC);

	/* Written while not executable, then moved over what has run. */
	warm_up(place);
	memcpy(p, opener, sizeof opener);
	MUST(mprotect(p, PAGE, PROT_READ | PROT_EXEC));
	MUST(mremap(p, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, place));
	OPEN_WITH(place, "moved by mremap");

	/* Two halves that meet by moving. */
	uint8_t *a = pages(1, PROT_READ | PROT_WRITE | PROT_EXEC);
	uint8_t *b = pages(1, PROT_READ | PROT_WRITE | PROT_EXEC);
	uint8_t *there = pages(2, PROT_NONE);

	memset(a, 0xc3, PAGE);
	memset(b, 0xc3, PAGE);
	memcpy(a + PAGE - WRPKRU_AT - 2, opener, WRPKRU_AT + 2);
	b[0] = 0xef;
	run(a);
	run(b + 1);
	MUST(mremap(a, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, there));
	MUST(mremap(b, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, there + PAGE));
	OPEN_WITH(there + PAGE - WRPKRU_AT - 2, "halves moved together");
	run(there + PAGE + 1);
	OPEN_WITH(there + PAGE - WRPKRU_AT - 2, "halves moved together");

	/* From two files. */
	int first = memory_file(1), second = memory_file(1);
	uint8_t *w = map_file(first, PROT_READ | PROT_WRITE, MAP_SHARED);
	memset(w, 0xc3, PAGE);
	memcpy(w + PAGE - WRPKRU_AT - 1, opener, WRPKRU_AT + 1);
	w = map_file(second, PROT_READ | PROT_WRITE, MAP_SHARED);
	memset(w, 0xc3, PAGE);
	memcpy(w, opener + WRPKRU_AT + 1, 3);
	there = pages(2, PROT_NONE);
	MUST(mmap(there, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, first, 0));
	MUST(mmap(there + PAGE, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, second, 0));
	run(there);
	run(there + PAGE + 3);
	OPEN_WITH(there + PAGE - WRPKRU_AT - 1, "halves from two files");
}

/* A debugger writes into its child. */
static void poke(void)
{
	uint8_t *p = pages(1, PROT_READ | PROT_WRITE | PROT_EXEC);
	int status;

	*p = 0xc3;
	MUST(mprotect(p, PAGE, PROT_READ | PROT_EXEC));
	pid_t pid = MUST(fork());
	if (!pid) {
		run(p);
		MUST(ptrace(PTRACE_TRACEME, 0, 0, 0));
		raise(SIGSTOP);
		run(p);
		_exit(inside() ? SUCCEEDED : STOPPED);
	}
	MUST(waitpid(pid, &status, 0));
	for (size_t i = 0; i < 16; i += 8) {
		uint64_t word = 0;

		memcpy(&word, opener + i, sizeof opener - i < 8 ? sizeof opener - i : 8);
		MUST(ptrace(PTRACE_POKETEXT, pid, p + i, word));
	}
	for (int sig = 0;; sig = WSTOPSIG(status) == SIGSTOP ? 0 : WSTOPSIG(status)) {
		MUST(ptrace(PTRACE_CONT, pid, 0, sig));
		MUST(waitpid(pid, &status, 0));
		if (!WIFSTOPPED(status))
			break;
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == SUCCEEDED)
		GAINED("written by ptrace");
}

static void aio(void)
{
	uint8_t *p = pages(1, PROT_READ | PROT_WRITE | PROT_EXEC);
	int fd = memory_file(1);
	aio_context_t context = 0;
	struct iocb cb = {
		.aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = fd,
		.aio_buf = (uintptr_t)p, .aio_nbytes = sizeof opener,
	}, *list = &cb;
	struct io_event event;

	MUST(pwrite(fd, opener, sizeof opener, 0));
	warm_up(p);
	MUST(syscall(SYS_io_setup, 1, &context));
	MUST(syscall(SYS_io_submit, context, 1, &list));
	MUST(syscall(SYS_io_getevents, context, 1, 1, &event, NULL));
	OPEN_WITH(p, "written by AIO");
}

static struct {
	int fd;
	uint8_t *ring;
	struct io_uring_sqe *sqe;
	struct io_uring_params params;
} uring;

/* One operation of io_uring on memory of ours; it is done when this returns. */
static void operate(int opcode, int fd, void *p, size_t len)
{
	uint32_t *tail = (uint32_t *)(uring.ring + uring.params.sq_off.tail);

	uring.sqe[0] = (struct io_uring_sqe){ .opcode = opcode, .fd = fd, .addr = (uintptr_t)p, .len = len };
	memcpy(&uring.sqe[0].user_data, opener, 8);
	((uint32_t *)(uring.ring + uring.params.sq_off.array))[*tail & (uring.params.sq_entries - 1)] = 0;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	MUST(syscall(SYS_io_uring_enter, uring.fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0));
	uint32_t *head = (uint32_t *)(uring.ring + uring.params.cq_off.head);
	__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
}

static void hold(void *p)
{
	struct iovec buffer = { p, PAGE };

	MUST(syscall(SYS_io_uring_register, uring.fd, IORING_REGISTER_BUFFERS, &buffer, 1));
}

static void let_go(void) { MUST(syscall(SYS_io_uring_register, uring.fd, IORING_UNREGISTER_BUFFERS, NULL, 0)); }

/*
 * Buffers that are registered, and so held by the kernel: after they have run,
 * before they may run, and while they run elsewhere.
 */
static void by_uring(void)
{
	uint8_t *p = pages(1, PROT_READ | PROT_WRITE | PROT_EXEC), *x;
	int code = memory_file(1), file = memory_file(1);

	uring.fd = MUST(syscall(SYS_io_uring_setup, 4, &uring.params));
	uring.ring = MUST(mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, uring.fd, IORING_OFF_SQ_RING));
	uring.sqe = MUST(mmap(NULL, uring.params.sq_entries * sizeof *uring.sqe, PROT_READ | PROT_WRITE, MAP_SHARED,
			      uring.fd, IORING_OFF_SQES));
	MUST(pwrite(code, opener, sizeof opener, 0));
	warm_up(p);
	operate(IORING_OP_READ, code, p, sizeof opener);
	OPEN_WITH(p, "written by io_uring");
	warm_up(p);
	hold(p);
	for (int i = 0; i < 2; i++) {
		warm_up(p);
		operate(IORING_OP_READ_FIXED, code, p, sizeof opener);
		OPEN_WITH(p, "written by io_uring, fixed buffer");
		p[PAGE - 1] = 1;
		OPEN_WITH(p, "written by io_uring, fixed buffer, and touched");
	}
	let_go();
	OPEN_WITH(p, "written by io_uring, fixed buffer that is none any more");

	p = pages(1, PROT_READ | PROT_WRITE);
	hold(p);
	*p = 0xc3;
	MUST(mprotect(p, PAGE, PROT_READ | PROT_EXEC));
	run(p);
	operate(IORING_OP_READ_FIXED, code, p, sizeof opener);
	OPEN_WITH(p, "written by io_uring, fixed buffer made executable");
	let_go();

	p = map_file(file, PROT_READ | PROT_WRITE, MAP_SHARED);
	x = map_file(file, PROT_READ | PROT_EXEC, MAP_SHARED);
	*p = 0xc3;
	run(x);
	hold(p);
	run(x);
	munmap(p, PAGE);
	operate(IORING_OP_READ_FIXED, code, p, sizeof opener);
	OPEN_WITH(x, "written by io_uring, fixed buffer of another mapping");
	let_go();
	OPEN_WITH(x, "written by io_uring, fixed buffer of another mapping, let go");
}

/* A ring of the kernel as code: 8 bytes of a completion are ours, and its result. */
static void kernel_ring(void)
{
	static uint8_t buffer[0x10000];
	uint32_t result;
	int file = memory_file(16);
	uint8_t *x = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, uring.fd, IORING_OFF_SQ_RING);

	if (x == MAP_FAILED)
		return;
	memcpy(&result, opener + 8, 2);
	result &= 0xffff;
	for (int i = 0; i < 8; i++) {
		uint32_t at = *(uint32_t *)(uring.ring + uring.params.cq_off.head) & (uring.params.cq_entries - 1);
		uint8_t *entry = x + uring.params.cq_off.cqes + at * sizeof(struct io_uring_cqe);

		operate(IORING_OP_READ, file, buffer, result);
		if (memcmp(uring.ring + (entry - x), opener, sizeof opener) != 0)
			GIVE_UP("the completion is not what was to be run");
		OPEN_WITH(entry, "written into a ring of the kernel");
	}
}

/* What moves pages and bytes between pipes, files and memory. */
static void spliced(void)
{
	char name[] = "/tmp/wrpkru.XXXXXX";
	uint8_t *p = pages(1, PROT_READ | PROT_WRITE | PROT_EXEC), *x, *w;
	static uint8_t block[PAGE] __attribute__((aligned(4096)));
	struct iovec to = { p, sizeof opener };
	int fds[2], file = memory_file(1), direct;

	MUST(pipe(fds));
	warm_up(p);
	MUST(write(fds[1], opener, sizeof opener));
	MUST(vmsplice(fds[0], &to, 1, 0));
	OPEN_WITH(p, "written by vmsplice");

	/* A page that is lent to a pipe, and from there to a file. */
	memcpy(block, opener, sizeof opener);
	to = (struct iovec){ block, PAGE };
	x = map_file(file, PROT_READ | PROT_EXEC, MAP_SHARED);
	MUST(pwrite(file, "\xc3", 1, 0));
	run(x);
	MUST(vmsplice(fds[1], &to, 1, SPLICE_F_GIFT));
	MUST(splice(fds[0], NULL, file, &(loff_t){ 0 }, PAGE, SPLICE_F_MOVE));
	OPEN_WITH(x, "written by splice");

	/* Direct I/O into memory that runs elsewhere. */
	direct = mkstemp(name);
	if (direct < 0)
		return;
	unlink(name);
	MUST(write(direct, block, PAGE));
	if (fsync(direct) || fcntl(direct, F_SETFL, O_DIRECT) < 0)
		return;
	w = map_file(file, PROT_READ | PROT_WRITE, MAP_SHARED);
	for (int i = 0; i < 4; i++) {
		*w = 0xc3;
		run(x);
		if (pread(direct, w, PAGE, 0) != (ssize_t)PAGE)
			GIVE_UP("direct read: %s", strerror(errno));
		OPEN_WITH(x, "written by direct I/O");
	}
}

int attack(void)
{
	alias();
	shared_memory();
	by_userfaultfd();
	file_write();
	own_memory();
	moved();
	aio();
	by_uring();
	kernel_ring();
	spliced();
	poke();
	return STOPPED;
}
