// SPDX-License-Identifier: Apache-2.0

package assets

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestExplicitPath(t *testing.T) {
	p := filepath.Join(t.TempDir(), "k")
	if _, err := Find(Kernel, p); err == nil {
		t.Error("an absent file was found")
	}
	if err := os.WriteFile(p, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := Find(Kernel, p); err != nil || got != p {
		t.Errorf("%s, %v", got, err)
	}
	if _, err := Find(Kernel, filepath.Dir(p)); err == nil {
		t.Error("a directory was found")
	}
}

func TestBesideTheProgram(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := filepath.Join(filepath.Dir(exe), Kernel)
	if _, err := Find(Kernel, ""); err == nil || !strings.Contains(err.Error(), "make build") {
		t.Errorf("absent: %v", err)
	}
	if err := os.WriteFile(p, nil, 0o600); err != nil {
		t.Skip(err)
	}
	defer os.Remove(p)
	// Not the one on PATH.
	t.Setenv("PATH", t.TempDir())
	if got, err := Find(Kernel, ""); err != nil || got != p {
		t.Errorf("%s, %v", got, err)
	}
}
