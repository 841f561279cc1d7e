// SPDX-License-Identifier: Apache-2.0

// Package testenv decides whether a test can run on this machine. A test that
// cannot is skipped with the reason; where the machine should be able to (CI),
// it fails instead, so that a broken set-up does not look like success.
package testenv

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/paracell/paracell/vmm/kvm"
	"github.com/paracell/paracell/vmm/platform"
	"github.com/paracell/paracell/vmm/process"
)

// InCI says whether the machine is one that has to have what CI needs: root,
// Linux 6.12 or later, a built tree and Debian's packages. It has no
// protection keys; tests that need them run in an emulated machine there.
func InCI() bool { return os.Getenv("CI") == "true" }

// missing skips, or fails in CI.
func missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if InCI() {
		t.Fatalf("this machine has to have it: "+format, args...)
	}
	t.Skipf(format, args...)
}

// Root needs the test to run as root.
func Root(t testing.TB) {
	t.Helper()
	if unix.Geteuid() != 0 {
		missing(t, "has to run as root")
	}
}

// HugePages needs memory that can be had in huge pages; have is memory.Huge.
func HugePages(t testing.TB, have bool) {
	t.Helper()
	if !have {
		missing(t, "the host has no huge pages for files: CONFIG_TRANSPARENT_HUGEPAGE is missing, or shmem_enabled is deny")
	}
}

// Emulated says whether the test runs in the machine of integration/emulated,
// which has protection keys.
func Emulated() bool { return os.Getenv("PARACELL_EMULATED") == "1" }

// ProcessPlatform returns the platform process, for cells with the given
// isolation.
func ProcessPlatform(t testing.TB, mode platform.Isolation) platform.Platform {
	t.Helper()
	return need(t, process.New(), platform.IsolationNone, mode)
}

// KVMPlatform returns the platform kvm, for cells with the given isolation. The
// machine has to have it in CI; keys in its virtual machines it has to have only
// where they are known to work.
func KVMPlatform(t testing.TB, mode platform.Isolation) platform.Platform {
	t.Helper()
	return need(t, kvm.New(), platform.IsolationPageTable, mode)
}

// need wants the platform to have an isolation mode, and the weakest one of every
// machine in CI.
func need(t testing.TB, p platform.Platform, weakest, mode platform.Isolation) platform.Platform {
	t.Helper()
	if err := p.Probe().Err(weakest); err != nil {
		missing(t, "%v", err)
	}
	if err := p.Probe().Err(mode); err != nil {
		if Emulated() {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	return p
}

// Isolation returns the strongest isolation mode of this machine.
func Isolation() platform.Isolation {
	if process.New().Probe().Err(platform.IsolationMPK) == nil {
		return platform.IsolationMPK
	}
	return platform.IsolationNone
}

// Top is the top directory of the source tree: tests run in the directory of
// their package, in the emulated machine too.
var Top = sync.OnceValue(func() string {
	dir, err := os.Getwd()
	if err != nil {
		return ""
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
	}
	return ""
})

// Built returns the path of a file that make build leaves in bin.
func Built(t testing.TB, name string) string {
	t.Helper()
	p := filepath.Join(Top(), "bin", name)
	if _, err := os.Stat(p); err != nil {
		missing(t, "%s is not built: run make build: %v", name, err)
	}
	return p
}

// Program returns the path of a program of the host, from the Debian package.
func Program(t testing.TB, name, debianPackage string) string {
	t.Helper()
	p, err := exec.LookPath(name)
	if err != nil {
		missing(t, "%s is not installed (Debian package %s)", name, debianPackage)
	}
	return p
}
