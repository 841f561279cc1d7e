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

/* A buffer that is registered, and so held by the kernel, before it runs. */
static void uring(void)
{
	uint8_t *p = pages(1, PROT_READ | PROT_WRITE | PROT_EXEC);
	int code = memory_file(1);
	struct io_uring_params params = { 0 };
	struct iovec buffer = { p, PAGE };
	int fd = MUST(syscall(SYS_io_uring_setup, 4, &params));
	uint8_t *sq = MUST(mmap(NULL, params.sq_off.array + params.sq_entries * 4, PROT_READ | PROT_WRITE,
				MAP_SHARED, fd, IORING_OFF_SQ_RING));
	struct io_uring_sqe *sqe = MUST(mmap(NULL, params.sq_entries * sizeof *sqe, PROT_READ | PROT_WRITE,
					     MAP_SHARED, fd, IORING_OFF_SQES));

	MUST(pwrite(code, opener, sizeof opener, 0));
	warm_up(p);
	MUST(syscall(SYS_io_uring_register, fd, IORING_REGISTER_BUFFERS, &buffer, 1));
	warm_up(p);
	for (int fixed = 0; fixed < 2; fixed++) {
		uint32_t *tail = (uint32_t *)(sq + params.sq_off.tail);

		sqe[0] = (struct io_uring_sqe){
			.opcode = fixed ? IORING_OP_READ_FIXED : IORING_OP_READ, .fd = code,
			.addr = (uintptr_t)p, .len = sizeof opener,
		};
		((uint32_t *)(sq + params.sq_off.array))[*tail & (params.sq_entries - 1)] = 0;
		__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
		MUST(syscall(SYS_io_uring_enter, fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0));
		OPEN_WITH(p, "written by io_uring, %s buffer", fixed ? "fixed" : "plain");
		/* Seen at the latest when the page is written by other means. */
		p[PAGE - 1] = 1;
		OPEN_WITH(p, "written by io_uring, %s buffer, and touched", fixed ? "fixed" : "plain");
		warm_up(p);
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
	uring();
	poke();
	return STOPPED;
}
