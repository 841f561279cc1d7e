// SPDX-License-Identifier: Apache-2.0
// Have AIO and io_uring read or write the kernel's memory and the monitor's, or
// memory of one's own that may only be executed (rules 6 and 8).
#include "attack.h"
#include <linux/aio_abi.h>
#include <linux/io_uring.h>

static int ring, file, out[2]; /* out is a pipe */
static uint8_t *sq, *cq;
static struct io_uring_sqe *sqe;
static struct io_uring_params params;

static long aio(int opcode, uint64_t address)
{
	struct iocb cb = { .aio_lio_opcode = opcode, .aio_fildes = opcode == IOCB_CMD_PREAD ? file : out[1], .aio_buf = address, .aio_nbytes = 64 }, *list = &cb;
	aio_context_t context = 0;
	struct io_event event;
	long result = -1;

	MUST(syscall(SYS_io_setup, 1, &context));
	if (syscall(SYS_io_submit, context, 1, &list) == 1 && syscall(SYS_io_getevents, context, 1, 1, &event, NULL) == 1)
		result = event.res;
	syscall(SYS_io_destroy, context);
	return result;
}

static long uring(int opcode, uint64_t address)
{
	uint32_t *tail = (uint32_t *)(sq + params.sq_off.tail), *head = (uint32_t *)(cq + params.cq_off.head);
	struct io_uring_cqe *cqes = (struct io_uring_cqe *)(cq + params.cq_off.cqes);
	long result;

	sqe[0] = (struct io_uring_sqe){ .opcode = opcode, .fd = opcode == IORING_OP_READ ? file : out[1], .addr = address, .len = 64 };
	((uint32_t *)(sq + params.sq_off.array))[*tail & (params.sq_entries - 1)] = 0;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	MUST(syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0));
	result = cqes[*head & (params.cq_entries - 1)].res;
	__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
	return result;
}

int attack(void)
{
	static uint8_t zeros[PAGE];
	uint8_t *code = MUST(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	const uint64_t places[] = {
		value("kernel.linux_banner"), value("kernel.init_task"), value("kernel.panic"), PARACELL_PHYS_BASE + (64 << 20),
		PARACELL_CONTROL_BASE, PARACELL_MONITOR_BASE, GATE, value("monitor.selector"), value("monitor.altstack"),
		PARACELL_VMALLOC_BASE, 0x1234800000000000, (uint64_t)code,
	};

	file = MUST(memfd_create("file", 0));
	MUST(pipe(out));
	MUST(pwrite(file, zeros, sizeof zeros, 0));
	ring = MUST(syscall(SYS_io_uring_setup, 4, &params));
	sq = MUST(mmap(NULL, params.sq_off.array + params.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING));
	cq = MUST(mmap(NULL, params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe), PROT_READ | PROT_WRITE,
		       MAP_SHARED, ring, IORING_OFF_CQ_RING));
	sqe = MUST(mmap(NULL, params.sq_entries * sizeof *sqe, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES));

	/* What they do with memory that may be used. */
	if (aio(IOCB_CMD_PREAD, (uint64_t)code) != 64 || uring(IORING_OP_READ, (uint64_t)code) != 64)
		GIVE_UP("AIO or io_uring does not work");
	*code = 0xc3;
	MUST(mprotect(code, PAGE, PROT_READ | PROT_EXEC));
	((void (*)(void))(uintptr_t)code)();

	for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
		struct iovec buffer = { (void *)places[i], 64 };

		/* One's own text may be read. */
		if (places[i] != (uint64_t)code && (aio(IOCB_CMD_PWRITE, places[i]) > 0 || uring(IORING_OP_WRITE, places[i]) > 0))
			GAINED("what is at %#lx was written to a pipe", places[i]);
		if (aio(IOCB_CMD_PREAD, places[i]) > 0)
			GAINED("AIO has written to %#lx", places[i]);
		if (uring(IORING_OP_READ, places[i]) > 0)
			GAINED("io_uring has written to %#lx", places[i]);
		if (syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &buffer, 1) == 0)
			GAINED("a buffer at %#lx was registered", places[i]);
	}
	return STOPPED;
}
