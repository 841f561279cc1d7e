/* SPDX-License-Identifier: Apache-2.0 */
/* Text that is mapped, moved, cut, protected, written and unmapped thousands of times, with calls from it in between. */
#include "site.h"

static uint64_t off, size;
static int file;

static char *map(void)
{
	return MUST(mmap(NULL, size, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, off));
}

static uint64_t vaddr;

static void check(const char *what, char *text, int n)
{
	for (size_t i = 0; i < SITES; i++) {
		if (!strcmp(sites[i].name, "rip_any"))
			continue; /* its data is not mapped with it */
		long got = ((site_fn)(uintptr_t)(text - vaddr + (uintptr_t)sites[i].code))(SYS_getppid, 0, 0, 0);

		CHECK(got == getppid(), "%s, round %d, %s: %ld", what, n, sites[i].name, got);
	}
}

int main(int argc, char **argv)
{
	int rounds = 400;
	Elf64_Ehdr eh;
	Elf64_Phdr ph;

	start(argc, argv);
	if (getenv("REWRITE_ROUNDS"))
		rounds = atoi(getenv("REWRITE_ROUNDS"));
	file = MUST(open("/proc/self/exe", O_RDONLY));
	MUST(pread(file, &eh, sizeof eh, 0));
	for (int i = 0; i < eh.e_phnum; i++) {
		MUST(pread(file, &ph, sizeof ph, eh.e_phoff + i * sizeof ph));
		if (ph.p_type == PT_LOAD && (ph.p_flags & PF_X)) {
			off = ph.p_offset & ~4095ul;
			vaddr = ph.p_vaddr & ~4095ul;
			size = (ph.p_offset - off + ph.p_filesz + 4095) & ~4095ul;
		}
	}
	uint64_t first = ((uintptr_t)sites[0].code & ~4095ul) - vaddr;
	uint64_t last = (((uintptr_t)sites[SITES - 1].end + 64 + 4095) & ~4095ul) - vaddr;

	for (int n = 0; n < rounds; n++) {
		char *text = map(), *end = text + size - 4096;

		check("mapped", text, n);
		switch (n % 12) {
		case 0: /* moved */
			text = MUST(mremap(text, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, MUST(mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))));
			check("moved", text, n);
			break;
		case 1: /* no access for a while */
			MUST(mprotect(text, size, PROT_NONE));
			MUST(mprotect(text, size, PROT_READ | PROT_EXEC));
			check("protected", text, n);
			break;
		case 2: /* the end is gone: nothing to jump to */
			if (last < size) {
				MUST(munmap(text + size - 4096, 4096));
				check("cut", text, n);
			}
			break;
		case 3: /* the end is something else */
			if (last < size) {
				MUST(mmap(text + size - 4096, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
				check("replaced", text, n);
			}
			break;
		case 4: /* the end cannot be executed */
			if (last < size) {
				MUST(mprotect(text + size - 4096, 4096, PROT_READ));
				check("not executable", text, n);
			}
			break;
		case 10: /* the end is other code */
			if (last < size) {
				MUST(mmap(end, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
				memset(end, 0xc3, 4096);
				check("other code", text, n);
			}
			break;
		case 11: /* the end is written, as by a program that patches itself */
			if (last < size) {
				MUST(mprotect(text, size, PROT_READ | PROT_WRITE));
				end[4000] = 1;
				MUST(mprotect(text, size, PROT_READ | PROT_EXEC));
				check("written end", text, n);
			}
			break;
		case 5: { /* written: getpid instead of getppid, seen at once and nowhere else */
			char *code = text - vaddr + (uintptr_t)mov_getppid;

			MUST(mprotect(text + first, last - first, PROT_READ | PROT_WRITE));
			code[3] = SYS_getpid;
			MUST(mprotect(text + first, last - first, PROT_READ | PROT_EXEC));
			CHECK(((site_fn)(uintptr_t)code)(0, 0, 0, 0) == getpid(), "written, round %d", n);
			MUST(mprotect(text + first, last - first, PROT_READ | PROT_WRITE));
			code[3] = SYS_getppid;
			MUST(mprotect(text + first, last - first, PROT_READ | PROT_EXEC));
			check("written back", text, n);
			break;
		}
		case 6: { /* the middle moved out of reach of the end */
			char *part = MUST(mremap(text + first, last - first, last - first, MREMAP_MAYMOVE | MREMAP_FIXED,
						 MUST(mmap(NULL, last - first, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))));

			check("part", part - first, n);
			munmap(part, last - first);
			break;
		}
		case 7: { /* only the pages with the sites, at a place of their own */
			char *part = MUST(mmap(NULL, last - first, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, off + first));

			check("page", part - first, n);
			munmap(part, last - first);
			break;
		}
		case 8: { /* shared */
			char *shared = MUST(mmap(NULL, size, PROT_READ | PROT_EXEC, MAP_SHARED, file, off));

			check("shared", shared, n);
			munmap(shared, size);
			break;
		}
		case 9: { /* in a child, where the end goes and comes back */
			pid_t child = MUST(fork());

			if (!child) {
				MUST(munmap(text + size - 4096, 4096));
				check("child", text, n);
				_exit(0);
			}
			CHECK(reap(child) == 0, "child");
			break;
		}
		}
		munmap(text, size);
	}
	for (size_t i = 0; i < SITES; i++)
		CHECK(ask(&sites[i]) == getppid(), "%s at the end", sites[i].name);
	return 0;
}
