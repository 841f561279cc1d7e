// SPDX-License-Identifier: Apache-2.0

package process

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// Bits of a key in PKRU.
const (
	pkruNoAccess = 1
	pkruNoWrite  = 2
)

// tryKey puts a page under a key, takes the rights away and uses the page.
func tryKey(key int) error {
	page, err := unix.Mmap(-1, 0, unix.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return fmt.Errorf("page for the test: %w", err)
	}
	defer func() { _ = unix.Munmap(page) }()
	page[0] = 1
	if err := pkeyMprotect(page, key); err != nil {
		return fmt.Errorf("pkey_mprotect: %w", err)
	}
	// PKRU belongs to the thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	old := rdpkru()
	defer wrpkru(old)
	open := old &^ (3 << (2 * key))
	read := func() { runtime.KeepAlive(page[0]) }
	write := func() { page[0] = 2 }
	for _, c := range []struct {
		rights uint32
		use    func()
		what   string
		faults bool
	}{
		{0, read, "read with all rights", false},
		{0, write, "write with all rights", false},
		{pkruNoWrite, read, "read without the right to write", false},
		{pkruNoWrite, write, "write without the right to write", true},
		{pkruNoAccess, read, "read without rights", true},
		{pkruNoAccess, write, "write without rights", true},
	} {
		wrpkru(open | c.rights<<(2*key))
		faulted := faults(c.use)
		wrpkru(open)
		if faulted != c.faults {
			return fmt.Errorf("they are offered and do not work (%s: fault %v): the hypervisor around this machine does not carry them into its page tables", c.what, faulted)
		}
	}
	return nil
}

// faults runs f and says whether it touched memory that it must not touch.
func faults(f func()) (faulted bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		r := recover()
		if r == nil {
			return
		}
		var fault interface{ Addr() uintptr }
		if err, ok := r.(error); ok && errors.As(err, &fault) {
			faulted = true
			return
		}
		panic(r)
	}()
	f()
	return false
}

// pkeyMprotect puts memory that can be read and written under a key.
func pkeyMprotect(b []byte, key int) error {
	_, _, errno := unix.Syscall6(unix.SYS_PKEY_MPROTECT, addressOf(b), uintptr(len(b)),
		unix.PROT_READ|unix.PROT_WRITE, uintptr(key), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
