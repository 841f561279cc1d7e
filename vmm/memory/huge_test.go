// SPDX-License-Identifier: Apache-2.0

package memory_test

import (
	"fmt"
	"os"
	"runtime"
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
	m, err := memory.NewHuge("paracell:a/b", 4*hugePage, memory.PageSize)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	testenv.HugePages(t, m.Huge())
	var st unix.Stat_t
	if err := unix.Fstat(int(m.File().Fd()), &st); err != nil {
		t.Fatal(err)
	}
	device := fmt.Sprintf(" %d:%d ", unix.Major(st.Dev), unix.Minor(st.Dev))
	if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(mounts), device) {
		t.Errorf("the file system of the memory is mounted: %v, %s", err, mounts)
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
	type result struct {
		m   *memory.Memory
		err error
	}
	made := make(chan result)
	go func() {
		runtime.LockOSThread() // and not back: the thread ends with its loss
		var none [2]unix.CapUserData
		if err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0]); err != nil {
			made <- result{nil, err}
			return
		}
		m, err := memory.NewHuge("test", hugePage, 0)
		made <- result{m, err}
	}()
	r := <-made
	if r.err != nil {
		t.Fatal(r.err)
	}
	defer r.m.Close()
	const sealed = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW
	seals, err := unix.FcntlInt(r.m.File().Fd(), unix.F_GET_SEALS, 0)
	if err != nil {
		t.Fatal(err)
	}
	if r.m.Huge() || seals&sealed != sealed {
		t.Errorf("huge pages: %t, seals: %#x", r.m.Huge(), seals)
	}
}
