// SPDX-License-Identifier: Apache-2.0
// No-execute: a page that was not mapped executable does not execute.
#include "quirk.h"

static void call(void *code) { ((void (*)(void))code)(); }

static void must_fault(unsigned char *code, const char *what)
{
	TRY(call(code));
	CHECK(fault.signal == SIGSEGV, "executing %s: signal %d, want SIGSEGV", what, fault.signal);
	CHECK(fault.code == SEGV_ACCERR, "executing %s: code %d, want SEGV_ACCERR", what, fault.code);
	CHECK(fault.addr == code, "executing %s: fault at %p, want %p", what, fault.addr, (void *)code);
}

static unsigned char data[2 * PAGE] = { 0xc3 };

int main(void)
{
	catch_faults();
	unsigned char *p = map_anon(PAGE, PROT_READ | PROT_WRITE);
	*p = 0xc3; /* ret */
	must_fault(p, "a read-write page");

	MUST(mprotect(p, PAGE, PROT_READ));
	must_fault(p, "a read-only page");

	MUST(mprotect(p, PAGE, PROT_READ | PROT_EXEC));
	TRY(call(p));
	CHECK(!fault.signal, "executing an executable page: signal %d", fault.signal);

	MUST(mprotect(p, PAGE, PROT_READ | PROT_WRITE));
	must_fault(p, "a page that once was executable");

	unsigned char stack[16] = { 0xc3 };
	asm volatile("" : : "r"(stack) : "memory");
	must_fault(stack, "the stack");
	must_fault(data, "static data");
	unsigned char *heap = malloc(16);
	*heap = 0xc3;
	must_fault(heap, "the heap");

	/* A page the program never touched: the fault decides, not a stale entry. */
	p = map_anon(PAGE, PROT_READ | PROT_WRITE);
	must_fault(p, "an untouched page");
	puts("ok");
	return 0;
}
