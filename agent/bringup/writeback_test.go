// SPDX-License-Identifier: Apache-2.0

package bringup

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestFreeWriteback(t *testing.T) {
	dir := t.TempDir()
	sysBDI = filepath.Join(dir, "bdi")
	t.Cleanup(func() { sysBDI = "/sys/class/bdi" })
	if err := FreeWriteback(dir); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("without sysfs: %v", err)
	}
	if err := FreeWriteback(filepath.Join(dir, "none")); err == nil {
		t.Error("no error for what does not exist")
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		t.Fatal(err)
	}
	device := filepath.Join(sysBDI, fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)))
	if err := os.MkdirAll(device, 0o755); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"strict_limit": "0", "max_ratio": "100"}
	for name := range want {
		if err := os.WriteFile(filepath.Join(device, name), []byte("1"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := FreeWriteback(dir); err != nil {
		t.Fatal(err)
	}
	for name, value := range want {
		if b, err := os.ReadFile(filepath.Join(device, name)); err != nil || !strings.HasPrefix(string(b), value) {
			t.Errorf("%s is %q, %v; want %s", name, b, err, value)
		}
	}
}
