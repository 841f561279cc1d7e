// SPDX-License-Identifier: Apache-2.0
// Address-space layout: mappings grow down from below the stack, and stack,
// mappings, heap and the program itself are somewhere else in every run.
#include "quirk.h"
#include <sys/personality.h>

struct layout { uintptr_t stack, mmap, heap, text, vdso; };

static struct layout here(void)
{
	int local;
	struct layout l = {
		.stack = (uintptr_t)&local,
		.mmap = (uintptr_t)map_anon(PAGE, PROT_READ),
		.heap = (uintptr_t)sbrk(0),
		.text = (uintptr_t)&here,
		.vdso = getauxval(AT_SYSINFO_EHDR),
	};
	return l;
}

static struct layout of_new_process(int fixed)
{
	int fd[2];
	struct layout l;

	MUST(pipe(fd));
	pid_t pid = MUST(fork());
	if (!pid) {
		dup2(fd[1], 1);
		if (fixed)
			MUST(personality(ADDR_NO_RANDOMIZE));
		execl("/proc/self/exe", "aslr_topdown", "print", NULL);
		_exit(99);
	}
	close(fd[1]);
	CHECK(read(fd[0], &l, sizeof l) == sizeof l, "the child printed nothing");
	close(fd[0]);
	CHECK(reap(pid) == 0, "the child failed");
	return l;
}

int main(int argc, char **argv)
{
	enum { RUNS = 16 };
	struct layout l[RUNS];

	(void)argv;
	if (argc > 1) {
		l[0] = here();
		return write(1, l, sizeof *l) != sizeof *l;
	}
	char *a = map_anon(PAGE, PROT_READ), *b = map_anon(PAGE, PROT_READ), *c = map_anon(1 << 20, PROT_READ);
	CHECK(b < a && c < b, "mappings do not grow down: %p %p %p", (void *)a, (void *)b, (void *)c);
	CHECK((uintptr_t)a > 1ul << 46, "mappings start low: %p", (void *)a);
	CHECK((uintptr_t)&l > (uintptr_t)a, "the stack %p is below the mappings %p", (void *)&l, (void *)a);

	int fd = open("/proc/sys/kernel/randomize_va_space", O_RDONLY);
	char level = '2';
	if (fd >= 0 && read(fd, &level, 1) == 1 && level != '2')
		SKIP("kernel.randomize_va_space is %c", level);

	for (int i = 0; i < RUNS; i++)
		l[i] = of_new_process(0);
#define DIFFERS(field)                                                            \
	do {                                                                      \
		int distinct = 1;                                                 \
		for (int i = 1; i < RUNS; i++) {                                  \
			int j = 0;                                                \
			while (j < i && l[j].field != l[i].field)                 \
				j++;                                              \
			distinct += j == i;                                       \
		}                                                                 \
		CHECK(distinct > RUNS / 2, "%s: %d different addresses in %d runs, the first is %#lx", \
		      #field, distinct, RUNS, l[0].field);                        \
	} while (0)
	DIFFERS(stack);
	DIFFERS(mmap);
	DIFFERS(heap);
	DIFFERS(text);
	DIFFERS(vdso);

	struct layout x = of_new_process(1), y = of_new_process(1);
	CHECK(memcmp(&x, &y, sizeof x) == 0, "ADDR_NO_RANDOMIZE still gives different layouts: mmap %#lx and %#lx", x.mmap, y.mmap);
	puts("ok");
	return 0;
}
