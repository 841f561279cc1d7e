// SPDX-License-Identifier: Apache-2.0
// Not an attack: whether the kernel finds in executable pages what xgate/scan
// finds, at every distance from the edge of a page (rule 6).
#include "code.h"

static const struct {
	const char *name, *code;
	size_t len;
	int hits;
} vectors[] = {
#define VECTOR(name, code, hits) { name, code, sizeof code - 1, hits },
#include "../../../xgate/scan/testdata/user.inc"
};

/* What the kernel has counted so far. */
static long hits(void)
{
	char text[1024], *at;
	int fd = MUST(open("/proc/paracell/text", O_RDONLY));
	ssize_t n = MUST(read(fd, text, sizeof text - 1));

	close(fd);
	text[n] = 0;
	at = strstr(text, "\nhits ");
	if (!at)
		GIVE_UP("no hits in /proc/paracell/text");
	return strtol(at + 6, NULL, 10);
}

static void look(size_t i, size_t at)
{
	uint8_t *p = pages(1, PROT_READ | PROT_WRITE | PROT_EXEC);
	long before = hits(), found;

	p[0] = 0xc3;
	memcpy(p + at, vectors[i].code, vectors[i].len);
	run(p);
	found = hits() - before;
	MUST(munmap(p, PAGE));
	if (found != vectors[i].hits)
		GAINED("%s at %zu: the kernel has found %ld, not %d", vectors[i].name, at, found, vectors[i].hits);
}

int attack(void)
{
	for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++)
		for (size_t shift = 0; shift < 9; shift++) {
			look(i, 100 + shift);
			look(i, PAGE - vectors[i].len - shift);
		}
	return STOPPED;
}
