// SPDX-License-Identifier: Apache-2.0

package service

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	agent "github.com/paracell/paracell/protos/agent/v1"
)

func TestSpare(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "spare")
	if err := os.WriteFile(file, []byte{1, 0, 0, 0, 0, 0, 3, 0, 2, 0, 0, 0, 0, 0, 0, 0, 9}, 0o600); err != nil {
		t.Fatal(err)
	}
	s := New(Config{Spare: file, Cgroups: dir})
	for range 2 {
		r, err := s.Spare(t.Context(), &agent.SpareRequest{Cache: true})
		if err != nil || !slices.Equal(r.Blocks, []uint64{3<<48 | 1, 2}) {
			t.Fatalf("%v, %v", r, err)
		}
		if _, err := s.Spare(t.Context(), &agent.SpareRequest{}); err == nil {
			t.Fatal("memory was set aside twice")
		}
		if _, err := s.Spared(t.Context(), &agent.Empty{}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDropCache(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "memory.stat"), []byte("file 9\ninactive_file 3145728\nactive_file 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	dropCache(dir)
	b, err := os.ReadFile(filepath.Join(dir, "memory.reclaim"))
	if err != nil || string(b) != "2097152" {
		t.Errorf("asked for %q, %v: want what is above %d", b, err, keepCache)
	}
}
