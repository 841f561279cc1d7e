// SPDX-License-Identifier: Apache-2.0
// System calls respect page protections as instructions do.
#include "quirk.h"

static int fds[2];

static void refuse_write(void *p, const char *what)
{
	errno = 0;
	ssize_t n = write(fds[1], p, 1);
	CHECK(n == -1 && errno == EFAULT, "write() from %s: %zd, %s; want EFAULT", what, n, strerror(errno));
}

static void refuse_read(void *p, const char *what)
{
	CHECK(write(fds[1], "x", 1) == 1, "write: %s", strerror(errno));
	ssize_t n = read(fds[0], p, 1);
	CHECK(n == -1 && errno == EFAULT, "read() into %s: %zd, %s; want EFAULT", what, n, strerror(errno));
	char c;
	/* Whether the byte was consumed is not promised. */
	fcntl(fds[0], F_SETFL, O_NONBLOCK);
	while (read(fds[0], &c, 1) == 1)
		;
	fcntl(fds[0], F_SETFL, 0);
}

int main(void)
{
	MUST(pipe(fds));
	char *p = map_anon(PAGE, PROT_READ | PROT_WRITE);
	*p = 'a';
	MUST(mprotect(p, PAGE, PROT_NONE));
	refuse_write(p, "a PROT_NONE page");
	refuse_read(p, "a PROT_NONE page");
	refuse_write(map_anon(PAGE, PROT_NONE), "an untouched PROT_NONE page");

	MUST(mprotect(p, PAGE, PROT_READ));
	refuse_read(p, "a read-only page");
	CHECK(write(fds[1], p, 1) == 1, "write() from a read-only page: %s", strerror(errno));
	char c = 0;
	CHECK(read(fds[0], &c, 1) == 1 && c == 'a', "the page's data is lost: %d", c);

	MUST(mprotect(p, PAGE, PROT_READ | PROT_EXEC));
	refuse_read(p, "an executable page");
	refuse_read(main, "program text");

	munmap(p, PAGE);
	refuse_write(p, "an unmapped page");
	refuse_write((void *)0x8000000000000000, "a non-canonical address");
	refuse_write((void *)-4096l, "the end of the address space");

	/* A copy that runs into a bad page does the good part. */
	char *two = map_anon(2 * PAGE, PROT_READ | PROT_WRITE);
	MUST(mprotect(two + PAGE, PAGE, PROT_NONE));
	ssize_t n = write(fds[1], two + PAGE - 8, 16);
	CHECK(n == 8 || (n == -1 && errno == EFAULT), "write() across into PROT_NONE: %zd", n);
	puts("ok");
	return 0;
}
