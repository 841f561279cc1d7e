/* SPDX-License-Identifier: Apache-2.0 */
/* Finds a function of the vDSO by name (the ABI is documented in the kernel's
 * Documentation/ABI/stable/vdso). */
#ifndef VDSO_H
#define VDSO_H

#include "quirk.h"
#include <elf.h>

static inline void *vdso_find(const char *name)
{
	char *base = (char *)getauxval(AT_SYSINFO_EHDR);

	CHECK(base, "AT_SYSINFO_EHDR is missing: no vDSO");
	Elf64_Ehdr *eh = (void *)base;
	CHECK(memcmp(eh->e_ident, ELFMAG, SELFMAG) == 0, "the vDSO is not ELF");
	Elf64_Phdr *ph = (void *)(base + eh->e_phoff);
	Elf64_Dyn *dyn = NULL;
	uintptr_t bias = 0;
	for (int i = 0; i < eh->e_phnum; i++) {
		if (ph[i].p_type == PT_LOAD && ph[i].p_offset == 0)
			bias = (uintptr_t)base - ph[i].p_vaddr;
		if (ph[i].p_type == PT_DYNAMIC)
			dyn = (void *)(base + ph[i].p_offset);
	}
	CHECK(dyn, "the vDSO has no dynamic section");
	Elf64_Sym *sym = NULL;
	const char *str = NULL;
	uint32_t *hash = NULL, *gnu = NULL;
	for (; dyn->d_tag != DT_NULL; dyn++) {
		void *p = (void *)(bias + dyn->d_un.d_ptr);
		if (dyn->d_tag == DT_SYMTAB)
			sym = p;
		else if (dyn->d_tag == DT_STRTAB)
			str = p;
		else if (dyn->d_tag == DT_HASH)
			hash = p;
		else if (dyn->d_tag == DT_GNU_HASH)
			gnu = p;
	}
	CHECK(sym && str && (hash || gnu), "the vDSO has no symbol table");
	uint32_t count = 0;
	if (hash) {
		count = hash[1];
	} else { /* the highest chain ends the table */
		uint32_t *buckets = gnu + 4 + gnu[2] * 2, *chain = buckets + gnu[0];
		for (uint32_t b = 0; b < gnu[0]; b++)
			count = buckets[b] > count ? buckets[b] : count;
		while (count && !(chain[count - gnu[1]] & 1))
			count++;
		count++;
	}
	for (uint32_t i = 0; i < count; i++)
		if (sym[i].st_shndx != SHN_UNDEF && strcmp(str + sym[i].st_name, name) == 0)
			return (void *)(bias + sym[i].st_value);
	FAIL("the vDSO has no %s", name);
}

typedef int (*clock_gettime_t)(clockid_t, struct timespec *);

static inline int64_t to_ns(struct timespec t) { return t.tv_sec * 1000000000ll + t.tv_nsec; }

static inline int64_t call_ns(clockid_t id)
{
	struct timespec t;

	MUST(syscall(SYS_clock_gettime, id, &t));
	return to_ns(t);
}

#endif
