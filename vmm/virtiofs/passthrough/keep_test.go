// SPDX-License-Identifier: Apache-2.0

package passthrough_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/paracell/paracell/vmm/virtiofs/passthrough"
)

// What a program in use has in its place on the host may be exchanged.
func TestKeptFilesMayBeReplaced(t *testing.T) {
	for _, keep := range []bool{true, false} {
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, "program"), []byte("old"), 0o755))
		for n := range 30 {
			must(t, os.WriteFile(filepath.Join(dir, fmt.Sprint(n)), []byte("other"), 0o644))
		}
		fs := passthrough.NewShares(passthrough.Options{Exclusive: true, MaxDescriptors: 8})
		t.Cleanup(func() { fs.Close() })
		must(t, fs.AddShare("a", passthrough.Share{Dir: dir, ReadOnly: true, Keep: keep}))
		must(t, fs.AddShare("b", passthrough.Share{Dir: dir}))
		c := client{t, fs}
		program := c.mustLookup(c.mustLookup(1, "a"), "program")
		if b, st := c.read(program, 0); st != fuse.OK || string(b) != "old" {
			t.Fatalf("read %q, %v", b, st)
		}
		must(t, os.WriteFile(filepath.Join(dir, "new"), []byte("new"), 0o755))
		must(t, os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "program")))
		others := c.mustLookup(1, "b")
		for n := range 30 {
			if _, st := c.read(c.mustLookup(others, fmt.Sprint(n)), 0); st != fuse.OK {
				t.Fatal(st)
			}
		}
		b, st := c.read(program, 0)
		if kept := st == fuse.OK && string(b) == "old"; kept != keep {
			t.Errorf("keep %v: read %q, %v", keep, b, st)
		}
	}
}
