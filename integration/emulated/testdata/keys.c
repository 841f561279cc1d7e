// SPDX-License-Identifier: Apache-2.0
// Protection keys: allocation, WRPKRU, and faults that name the key.
#include "check.h"

int main(void)
{
	catch_faults();
	int key = key_alloc();
	volatile unsigned char *p = key_page(key);
	uint32_t all = rdpkru() & ~(DENY_ACCESS(key) | DENY_WRITE(key));

	wrpkru(all);
	CHECK(rdpkru() == all, "PKRU is %#x, want %#x", rdpkru(), all);
	*p = 1;

	wrpkru(all | DENY_WRITE(key));
	CHECK(*p == 1, "read under write-deny gave %d", *p);
	TRY(*p = 2);
	CHECK(fault_signal == SIGSEGV && fault_code == SEGV_PKUERR && fault_key == key,
	      "write under write-deny: signal %d code %d key %d", fault_signal, fault_code, fault_key);

	wrpkru(all | DENY_ACCESS(key));
	TRY((void)*p);
	CHECK(fault_signal == SIGSEGV && fault_code == SEGV_PKUERR && fault_key == key,
	      "read under access-deny: signal %d code %d key %d", fault_signal, fault_code, fault_key);

	/* A fault taken by the kernel on our behalf respects the key too. */
	int fd[2];
	CHECK(pipe(fd) == 0, "pipe: %s", strerror(errno));
	wrpkru(all | DENY_ACCESS(key));
	CHECK(write(fd[1], (void *)p, 1) == -1 && errno == EFAULT, "write from a denied page: %s", strerror(errno));

	wrpkru(all);
	CHECK(*p == 1, "the page changed to %d", *p);

	/* Keys do not stop instruction fetch. */
	int xkey = key_alloc();
	unsigned char *x = key_page(xkey);
	wrpkru(rdpkru() & ~(DENY_ACCESS(xkey) | DENY_WRITE(xkey)));
	x[0] = 0xc3; /* ret */
	CHECK(syscall(SYS_pkey_mprotect, x, PAGE, PROT_READ | PROT_EXEC, xkey) == 0, "pkey_mprotect: %s", strerror(errno));
	wrpkru(rdpkru() | DENY_ACCESS(xkey));
	TRY(((void (*)(void))x)());
	CHECK(fault_signal == 0, "instruction fetch under access-deny: signal %d code %d", fault_signal, fault_code);
	return 0;
}
