// SPDX-License-Identifier: Apache-2.0
// Code in pages that somebody else holds and writes: buffers of io_uring,
// direct I/O, AIO, splice, process_vm_writev, a ring of the kernel. As soon as the
// write is done the new code is what runs, also while the page stays held.
#include "quirk.h"
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <sys/uio.h>

enum { CODE_SIZE = 6 };

static uint8_t *code_of(int value)
{
	static uint8_t code[CODE_SIZE];

	code[0] = 0xb8; /* mov $value, %eax */
	memcpy(code + 1, &value, 4);
	code[5] = 0xc3; /* ret */
	return code;
}

static int call(const void *code) { return ((int (*)(void))(uintptr_t)code)(); }

#define RUNS(code, value, ...)                                                     \
	do {                                                                       \
		int got_ = call(code);                                             \
		if (got_ != (value)) {                                             \
			printf("ran %d in place of %d: ", got_, value);            \
			FAIL(__VA_ARGS__);                                         \
		}                                                                  \
	} while (0)

static int ring, file;
static struct io_uring_params params;
static uint8_t *rings;
static struct io_uring_sqe *sqes;

/* Have the kernel do one operation; returns its result. */
static int operate(struct io_uring_sqe op)
{
	uint32_t *tail = (uint32_t *)(rings + params.sq_off.tail), *head = (uint32_t *)(rings + params.cq_off.head);
	struct io_uring_cqe *cqes = (struct io_uring_cqe *)(rings + params.cq_off.cqes);
	int result;

	sqes[0] = op;
	((uint32_t *)(rings + params.sq_off.array))[*tail & (params.sq_entries - 1)] = 0;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	MUST(syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0));
	result = cqes[*head & (params.cq_entries - 1)].res;
	__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
	return result;
}

static void open_ring(void)
{
	size_t size;

	ring = syscall(SYS_io_uring_setup, 4, &params);
	if (ring < 0 && !in_cell())
		SKIP("io_uring: %s", strerror(errno));
	MUST(ring);
	size = params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe);
	if (size < params.sq_off.array + params.sq_entries * 4)
		size = params.sq_off.array + params.sq_entries * 4;
	CHECK(params.features & IORING_FEAT_SINGLE_MMAP, "io_uring has two rings");
	rings = MUST(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING));
	sqes = MUST(mmap(NULL, params.sq_entries * sizeof *sqes, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES));
}

static void hold(void *p)
{
	struct iovec buffer = { p, PAGE };

	MUST(syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &buffer, 1));
}

static void let_go(void) { MUST(syscall(SYS_io_uring_register, ring, IORING_UNREGISTER_BUFFERS, NULL, 0)); }

/* The kernel writes code into the buffer that it holds. */
static void write_held(void *p, int value)
{
	MUST(pwrite(file, code_of(value), CODE_SIZE, 0));
	int n = operate((struct io_uring_sqe){ .opcode = IORING_OP_READ_FIXED, .fd = file, .addr = (uintptr_t)p, .len = CODE_SIZE });
	CHECK(n == CODE_SIZE, "fixed read: %s", strerror(-n));
}

static int memory_file(void)
{
	int fd = MUST(memfd_create("code", 0));

	MUST(ftruncate(fd, PAGE));
	return fd;
}

/* Held while it has run already, and while it has not yet. */
static void fixed_buffer(void)
{
	uint8_t *p = map_anon(PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);

	memcpy(p, code_of(1), CODE_SIZE);
	RUNS(p, 1, "plain");
	hold(p);
	for (int i = 2; i < 6; i++) {
		write_held(p, i);
		RUNS(p, i, "fixed buffer, round %d", i);
		RUNS(p, i, "fixed buffer, round %d again", i);
	}
	memcpy(p, code_of(7), CODE_SIZE);
	RUNS(p, 7, "written by the program while held");
	let_go();
	for (int i = 8; i < 12; i++) {
		memcpy(p, code_of(i), CODE_SIZE);
		RUNS(p, i, "let go");
	}

	p = map_anon(PAGE, PROT_READ | PROT_WRITE);
	hold(p);
	write_held(p, 20);
	MUST(mprotect(p, PAGE, PROT_READ | PROT_EXEC));
	RUNS(p, 20, "held, then mprotect");
	write_held(p, 21);
	RUNS(p, 21, "held, then mprotect, and written");
	MUST(mprotect(p, PAGE, PROT_READ));
	MUST(mprotect(p, PAGE, PROT_READ | PROT_EXEC));
	write_held(p, 22);
	RUNS(p, 22, "held, mprotect there and back");
	let_go();
	RUNS(p, 22, "held, then let go");
}

static uint8_t *spinning;
static volatile int seen;

static void *spin(void *unused)
{
	(void)unused;
	while (seen != 99)
		seen = call(spinning);
	return NULL;
}

/* Held through one mapping of a file, run through another and by another thread. */
static void fixed_alias(void)
{
	int fd = memory_file();
	uint8_t *w = MUST(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
	uint8_t *x = MUST(mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0));
	uint8_t *copy = MUST(mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0));
	pthread_t thread;

	memcpy(w, code_of(1), CODE_SIZE);
	RUNS(x, 1, "alias");
	hold(w);
	write_held(w, 2);
	RUNS(x, 2, "held through an alias");
	RUNS(copy, 2, "held below a private mapping");
	MUST(munmap(w, PAGE));
	write_held(w, 3);
	RUNS(x, 3, "held through an alias that is gone");

	spinning = x;
	CHECK(pthread_create(&thread, NULL, spin, NULL) == 0, "pthread_create");
	for (uint64_t end = now_ns() + 10000000000; seen != 3 && now_ns() < end;)
		sched_yield();
	write_held(w, 99);
	for (uint64_t end = now_ns() + 10000000000; seen != 99 && now_ns() < end;)
		sched_yield();
	CHECK(seen == 99, "a thread that runs the page does not see it written");
	pthread_join(thread, NULL);
	let_go();

	pid_t pid = MUST(fork());
	if (!pid)
		_exit(call(x) != 99);
	CHECK(reap(pid) == 0, "in another process");
}

/* A ring of the kernel, in which completions are code. */
static void ring_page(void)
{
	struct io_uring_cqe *cqes;
	uint8_t *x = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, ring, IORING_OFF_SQ_RING);

	if (x == MAP_FAILED)
		return; /* as good */
	cqes = (struct io_uring_cqe *)(x + params.cq_off.cqes);
	for (int i = 1; i < 20; i++) {
		uint32_t at = *(uint32_t *)(rings + params.cq_off.head) & (params.cq_entries - 1);
		uint64_t data = 0;

		memcpy(&data, code_of(i), CODE_SIZE);
		operate((struct io_uring_sqe){ .opcode = IORING_OP_NOP, .user_data = data });
		RUNS(&cqes[at], i, "completion %d of a ring", i);
	}
	MUST(munmap(x, PAGE));
}

/* What writes once: the page is as held before and after as any other. */
static void others(void)
{
	int fd = memory_file(), fds[2];
	uint8_t *w = MUST(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
	uint8_t *x = MUST(mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0));
	char name[] = "/tmp/held_text.XXXXXX";
	int direct = mkstemp(name), flags;
	static uint8_t block[PAGE] __attribute__((aligned(4096)));
	aio_context_t context = 0;
	struct iovec to = { w, CODE_SIZE };

	MUST(pipe(fds));
	MUST(syscall(SYS_io_setup, 1, &context));
	for (int i = 0; i < 40; i += 4) {
		struct iovec from = { code_of(i), CODE_SIZE };
		struct iocb cb = { .aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = file, .aio_buf = (uintptr_t)w, .aio_nbytes = CODE_SIZE }, *list = &cb;
		struct io_event event;

		MUST(process_vm_writev(getpid(), &from, 1, &to, 1, 0));
		RUNS(x, i, "process_vm_writev");

		MUST(pwrite(file, code_of(i + 1), CODE_SIZE, 0));
		MUST(syscall(SYS_io_submit, context, 1, &list));
		MUST(syscall(SYS_io_getevents, context, 1, 1, &event, NULL));
		RUNS(x, i + 1, "AIO");

		MUST(write(fds[1], code_of(i + 2), CODE_SIZE));
		CHECK(vmsplice(fds[0], &to, 1, 0) == CODE_SIZE, "vmsplice: %s", strerror(errno));
		RUNS(x, i + 2, "vmsplice");

		memcpy(block, code_of(i + 3), CODE_SIZE);
		if (direct < 0)
			continue;
		MUST(pwrite(direct, block, PAGE, 0));
		MUST(fsync(direct));
		flags = MUST(fcntl(direct, F_GETFL));
		if (fcntl(direct, F_SETFL, flags | O_DIRECT) == 0) {
			CHECK(pread(direct, w, PAGE, 0) == (ssize_t)PAGE, "direct read: %s", strerror(errno));
			RUNS(x, i + 3, "direct I/O");
			MUST(fcntl(direct, F_SETFL, flags));
		}
	}
	if (direct >= 0)
		unlink(name);
	syscall(SYS_io_destroy, context);
}

int main(void)
{
	file = memory_file();
	open_ring();
	fixed_buffer();
	fixed_alias();
	ring_page();
	others();
	puts("ok");
	return 0;
}
