// SPDX-License-Identifier: Apache-2.0

package memory_test

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/paracell/paracell/internal/testenv"
	"github.com/paracell/paracell/vmm/memory"
)

const hugePage = 2 << 20

// TestNewHuge: whoever advises huge pages gets them, nobody else does, and a hole
// of one page is one.
func TestNewHuge(t *testing.T) {
	testenv.Root(t)
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	m, err := memory.NewHuge("paracell:a/b", 4*hugePage, memory.PageSize)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	testenv.HugePages(t, m.Huge())
	if now, err := os.ReadFile("/proc/self/mountinfo"); err != nil || string(now) != string(mounts) {
		t.Errorf("the mounts have changed: %s", now)
	}
	if maps, err := os.ReadFile("/proc/self/maps"); err != nil || !strings.Contains(string(maps), "/memfd:paracell:a_b (deleted)") {
		t.Error("the memory has not the name of a memfd")
	}
	resident := func(want uint64, when string) {
		t.Helper()
		if n, err := m.Resident(); err != nil || n != want {
			t.Errorf("%d KiB are bound %s, not %d: %v", n>>10, when, want>>10, err)
		}
	}
	if err := m.StoreUint64(0, 1); err != nil {
		t.Fatal(err)
	}
	resident(memory.PageSize, "after a touch")

	all, err := unix.Mmap(int(m.File().Fd()), 0, 4*hugePage, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(all)
	if err := unix.Madvise(all, unix.MADV_HUGEPAGE); err != nil {
		t.Fatal(err)
	}
	all[hugePage+5] = 7
	resident(memory.PageSize+hugePage, "after a touch of a huge page")
	if err := m.Discard(hugePage+5*memory.PageSize, 2*memory.PageSize); err != nil {
		t.Fatal(err)
	}
	resident(hugePage-memory.PageSize, "after two pages have gone")
	if v, err := m.LoadUint64(hugePage); err != nil || v != 7<<40 {
		t.Errorf("beside the hole is %#x, %v", v, err)
	}
	if err := m.Discard(hugePage, hugePage); err != nil {
		t.Fatal(err)
	}
	resident(memory.PageSize, "after all of it has gone")
}

// TestNewHugeWithoutPrivilege: who may not mount gets what New gives.
func TestNewHugeWithoutPrivilege(t *testing.T) {
	m, err := memory.NewHuge("test", hugePage, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	const sealed = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW
	seals, err := unix.FcntlInt(m.File().Fd(), unix.F_GET_SEALS, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := seals&sealed == sealed; got == m.Huge() {
		t.Errorf("huge pages: %t, seals: %#x", m.Huge(), seals)
	}
}
