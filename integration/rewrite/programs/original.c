/* SPDX-License-Identifier: Apache-2.0 */
/* Nobody is shown rewritten bytes by a system call, and the instruction that was there still works when jumped to. */
#include "site.h"

static void compare(const char *how, const struct site *s, const uint8_t *got, const uint8_t *want, size_t n)
{
	for (size_t i = 0; i < n; i++)
		CHECK(got[i] == want[i], "%s: %s shows %02x at byte %zu, the file has %02x", s->name, how, got[i], i, want[i]);
}

/* Calls the syscall instruction itself, not what stands before it. */
static long call_instruction(const char *at, long nr)
{
	long ax = nr;

	asm volatile("call *%1" : "+a"(ax) : "r"(at), "D"(0), "S"(0), "d"(0) : "rcx", "r11", "memory");
	return ax;
}

int main(int argc, char **argv)
{
	start(argc, argv);
	int file = MUST(open("/proc/self/exe", O_RDONLY)), mem = MUST(open("/proc/self/mem", O_RDONLY));
	static uint8_t image[4 << 20];
	size_t size = MUST(read(file, image, sizeof image));
	const Elf64_Ehdr *eh = (const void *)image;
	const Elf64_Phdr *ph = (const void *)(image + eh->e_phoff), *text = NULL;

	for (int i = 0; i < eh->e_phnum; i++)
		if (ph[i].p_type == PT_LOAD && (ph[i].p_flags & PF_X))
			text = &ph[i];
	CHECK(text && size < sizeof image, "no text");

	for (size_t i = 0; i < SITES; i++) {
		const struct site *s = &sites[i];
		const uint8_t *want = image + ((uintptr_t)s->code - text->p_vaddr + text->p_offset);
		size_t n = s->end - s->code;
		uint8_t got[256];

		for (int k = 0; k < 100; k++)
			CHECK(ask(s) == getppid(), "%s", s->name);
		MUST(pread(mem, got, n, (uintptr_t)s->code));
		compare("/proc/self/mem", s, got, want, n);
		struct iovec to = { got, n }, from = { (void *)s->code, n };

		memset(got, 0, n);
		CHECK(MUST(process_vm_readv(getpid(), &to, 1, &from, 1, 0)) == (ssize_t)n, "short");
		compare("process_vm_readv", s, got, want, n);
		int p[2];

		MUST(pipe(p));
		MUST(write(p[1], s->code, n));
		memset(got, 0, n);
		MUST(read(p[0], got, n));
		close(p[0]);
		close(p[1]);
		compare("write(2)", s, got, want, n);
		void *copy = MUST(mmap(NULL, 4096, PROT_READ, MAP_SHARED, file, (want - image) & ~4095ul));

		compare("a shared mapping", s, (uint8_t *)copy + (want - image) % 4096, want, n);
		munmap(copy, 4096);
		pid_t child = MUST(fork());

		if (!child) {
			for (;;)
				ask(s);
		}
		MUST(ptrace(PTRACE_ATTACH, child, 0, 0));
		CHECK(waitpid(child, NULL, 0) == child, "no stop");
		for (size_t k = 0; k < n; k++)
			got[k] = ptrace(PTRACE_PEEKTEXT, child, s->code + k, 0);
		compare("PEEKTEXT", s, got, want, n);
		MUST(kill(child, SIGKILL));
		reap(child);

		for (int k = 0; k < 50; k++)
			CHECK(call_instruction(s->syscall, SYS_getppid) == getppid(), "%s: jump to the instruction", s->name);
		CHECK(ask(s) == getppid(), "%s afterwards", s->name);
	}
	for (int k = 0; k < 3000; k++)
		CHECK(enter_middle() == 1062, "jump behind the instruction");
	CHECK(ask(&sites[2]) == getppid(), "after jumps behind the instruction");
	return 0;
}
