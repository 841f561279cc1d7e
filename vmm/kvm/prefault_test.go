// SPDX-License-Identifier: Apache-2.0

package kvm

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/paracell/paracell/vmm/platform"
	"github.com/paracell/paracell/vmm/platform/platformtest"
)

// TestPrefaultCall: the call says how far it has come, and is repeated.
func TestPrefaultCall(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		name  string
		steps []error // of the calls; nil: one page is done
		calls int
		want  error
	}{
		{"at once", []error{nil, nil, nil}, 3, nil},
		{"interrupted", []error{unix.EINTR, nil, unix.EAGAIN, nil, nil}, 5, nil},
		{"not supported", []error{unix.EOPNOTSUPP}, 1, unix.EOPNOTSUPP},
		{"failed", []error{nil, broken}, 2, broken},
	} {
		calls := 0
		err := prefault(func(r *kvmPreFaultMemory) error {
			if want := uint64(0x1000_0000 + 0x3000); r.gpa+r.size != want || r.flags != 0 {
				t.Errorf("%s: range %#x+%#x ends elsewhere", c.name, r.gpa, r.size)
			}
			step := c.steps[calls]
			calls++
			if step == nil {
				r.gpa, r.size = r.gpa+0x1000, r.size-0x1000
			}
			return step
		}, 0x1000_0000, 0x3000)
		if calls != c.calls || !errors.Is(err, c.want) {
			t.Errorf("%s: %d calls, %v", c.name, calls, err)
		}
	}
	if err := prefault(func(*kvmPreFaultMemory) error { return nil }, 0, 0x1000); err == nil {
		t.Error("a call that does nothing goes on for ever")
	}
}

// TestPrefault: where the host has the call, it maps memory for a guest that
// touches none of it; elsewhere nothing happens.
func TestPrefault(t *testing.T) {
	p := New()
	if err := p.Probe().Err(platform.IsolationPageTable); err != nil {
		t.Skip(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	m, err := newMachine(platform.Config{
		Name: "prefault", MemSize: 64 << 20, Vcpus: 1, Kernel: new(platformtest.Guest).Spin().Image(),
	}, isolationPageTable)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	const from, n = 16 << 20, 32 << 20
	if err := m.Prefault(from, n); err != nil || m.prefault.vcpu != nil {
		t.Error("it does something before Start")
	}
	if err := m.Start(ctx); err != nil {
		t.Fatal(err)
	}
	for _, r := range [][2]uint64{{m.Memory().Size(), 0x1000}, {0, m.Memory().Size() + 0x1000}, {^uint64(0) &^ 0xfff, 0x2000}} {
		if err := m.Prefault(r[0], r[1]); err != nil || m.prefault.vcpu != nil {
			t.Errorf("it does something for %#x bytes at %#x, which are not memory", r[1], r[0])
		}
	}
	before, counted := mapped(t)
	if err := m.Prefault(from, n); err != nil {
		t.Fatal(err)
	}
	if err := m.prefault.err; errors.Is(err, errNoPrefault) && os.Getenv("PARACELL_EMULATED") == "" {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	if r, err := m.Memory().Resident(); err != nil || r < n {
		t.Errorf("%d bytes of memory are there, %v", r, err)
	}
	if after, ok := mapped(t); counted && ok {
		t.Logf("%d pages mapped before, %d after", before, after)
		if after-before < n/4096 {
			t.Errorf("%d pages more are mapped; %d are expected", after-before, n/4096)
		}
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	if err := m.Prefault(from, n); err != nil {
		t.Errorf("after Close: %v", err)
	}
}

// mapped is the number of pages in the tables of all virtual machines, where the
// host says it.
func mapped(t *testing.T) (pages int, ok bool) {
	t.Helper()
	if _, err := os.Stat("/sys/kernel/debug/kvm"); err != nil {
		if err := unix.Mount("debugfs", "/sys/kernel/debug", "debugfs", 0, ""); err != nil {
			return 0, false
		}
		t.Cleanup(func() { _ = unix.Unmount("/sys/kernel/debug", 0) })
	}
	for name, size := range map[string]int{"pages_4k": 1, "pages_2m": 512} {
		text, err := os.ReadFile(filepath.Join("/sys/kernel/debug/kvm", name))
		if err != nil {
			return 0, false
		}
		n, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		pages += n * size
	}
	return pages, true
}
