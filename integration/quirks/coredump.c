// SPDX-License-Identifier: Apache-2.0
// A crashing program leaves a core file with its registers, its extended
// state and its memory.
#include "quirk.h"
#include <elf.h>
#include <sys/procfs.h>
#include <sys/resource.h>
#include <sys/stat.h>

static const char secret[] __attribute__((aligned(16))) = "what the core file must contain";
static char *marked; /* memory of our own, to be found in the file */

static void crash(void)
{
	struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };

	if (setrlimit(RLIMIT_CORE, &unlimited)) {
		struct rlimit l;
		getrlimit(RLIMIT_CORE, &l);
		l.rlim_cur = l.rlim_max;
		setrlimit(RLIMIT_CORE, &l);
	}
	asm volatile("movdqu %0, %%xmm9\n"
		     "mov $0x1122334455667788, %%rbx\n"
		     "ud2\n"
		     : : "m"(secret) : "rbx", "xmm9", "memory");
}

static const char *find_note(const char *p, size_t size, uint32_t type, size_t *len)
{
	for (const char *end = p + size; p + sizeof(Elf64_Nhdr) <= end;) {
		const Elf64_Nhdr *n = (const void *)p;
		const char *desc = p + sizeof *n + ((n->n_namesz + 3) & ~3u);
		if (n->n_type == type) {
			*len = n->n_descsz;
			return desc;
		}
		p = desc + ((n->n_descsz + 3) & ~3u);
	}
	FAIL("the core file has no note %#x", type);
}

static void inspect(const char *path, pid_t pid)
{
	struct stat st;
	int fd = MUST(open(path, O_RDONLY));

	MUST(fstat(fd, &st));
	const char *core = MUST(mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0));
	const Elf64_Ehdr *eh = (const void *)core;
	CHECK(!memcmp(eh->e_ident, ELFMAG, SELFMAG) && eh->e_type == ET_CORE && eh->e_machine == EM_X86_64, "not an x86-64 core file");
	const Elf64_Phdr *ph = (const void *)(core + eh->e_phoff);
	int memory = 0, notes = 0;
	for (int i = 0; i < eh->e_phnum; i++) {
		uintptr_t at = (uintptr_t)marked;
		if (ph[i].p_type == PT_LOAD && at >= ph[i].p_vaddr && at < ph[i].p_vaddr + ph[i].p_filesz)
			memory = !memcmp(core + ph[i].p_offset + (at - ph[i].p_vaddr), secret, sizeof secret);
		if (ph[i].p_type != PT_NOTE)
			continue;
		notes = 1;
		const char *data = core + ph[i].p_offset;
		size_t len;
		const struct elf_prstatus *st = (const void *)find_note(data, ph[i].p_filesz, NT_PRSTATUS, &len);
		CHECK(len == sizeof *st, "NT_PRSTATUS has %zu bytes", len);
		CHECK(st->pr_pid == pid && st->pr_cursig == SIGILL, "process %d, signal %d", st->pr_pid, st->pr_cursig);
		CHECK(st->pr_reg[5] == 0x1122334455667788, "rbx is %#llx", (unsigned long long)st->pr_reg[5]);
		const char *fp = find_note(data, ph[i].p_filesz, NT_PRFPREG, &len);
		CHECK(len == 512 && !memcmp(fp + 160 + 9 * 16, secret, 16), "NT_PRFPREG: %zu bytes, xmm9 \"%.16s\"", len, fp + 160 + 9 * 16);
		fp = find_note(data, ph[i].p_filesz, NT_X86_XSTATE, &len);
		CHECK(len >= 576 && !memcmp(fp + 160 + 9 * 16, secret, 16), "NT_X86_XSTATE: %zu bytes, xmm9 \"%.16s\"", len, fp + 160 + 9 * 16);
		find_note(data, ph[i].p_filesz, NT_AUXV, &len);
		const siginfo_t *info = (const void *)find_note(data, ph[i].p_filesz, NT_SIGINFO, &len);
		CHECK(info->si_signo == SIGILL, "NT_SIGINFO: signal %d", info->si_signo);
	}
	CHECK(notes && memory, "the core file lacks %s", notes ? "memory" : "notes");
}

int main(void)
{
	char pattern[128] = "", dir[] = "/tmp/coredump.XXXXXX", path[64];
	int fd = open("/proc/sys/kernel/core_pattern", O_RDONLY), status;

	if (fd < 0 || read(fd, pattern, sizeof pattern - 1) <= 0)
		SKIP("/proc/sys/kernel/core_pattern: %s", strerror(errno));
	if (!in_cell() && strcmp(pattern, "core\n"))
		SKIP("kernel.core_pattern of this host is %s", pattern);
	CHECK(strcmp(pattern, "core\n") == 0, "kernel.core_pattern is %s", pattern);
	struct rlimit l;
	MUST(getrlimit(RLIMIT_CORE, &l));
	if (l.rlim_max == 0 && !in_cell())
		SKIP("core files are forbidden by the hard limit");

	CHECK(mkdtemp(dir), "%s: %s", dir, strerror(errno));
	MUST(chdir(dir));
	marked = map_anon(PAGE, PROT_READ | PROT_WRITE);
	memcpy(marked, secret, sizeof secret);
	pid_t pid = MUST(fork());
	if (!pid)
		crash();
	CHECK(waitpid(pid, &status, 0) == pid, "waitpid: %s", strerror(errno));
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGILL, "ended with status %#x", status);
	CHECK(WCOREDUMP(status), "no core file was written");
	snprintf(path, sizeof path, "core");
	if (access(path, R_OK))
		snprintf(path, sizeof path, "core.%d", pid); /* kernel.core_uses_pid */
	inspect(path, pid);
	unlink(path);
	MUST(chdir("/"));
	rmdir(dir);
	puts("ok");
	return 0;
}
