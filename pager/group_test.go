// SPDX-License-Identifier: Apache-2.0

package pager

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/paracell/paracell/pager/ring"
)

// groupTree makes a tree of control groups of version 2, by the path of the group
// of the process.
func groupTree(t *testing.T, group string, files map[string]string) (root string) {
	t.Helper()
	root = t.TempDir()
	write := func(path, text string) {
		path = filepath.Join(root, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text+"\n"), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	write("proc/self/cgroup", "0::"+group)
	for path, text := range files {
		write(filepath.Join("sys/fs/cgroup", path), text)
	}
	return root
}

func TestGroup(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		room  uint64
	}{
		"no files":  {nil, math.MaxUint64},
		"no limit":  {map[string]string{"a/b/memory.max": "max", "a/b/memory.current": "5"}, math.MaxUint64},
		"version 1": {map[string]string{"a/b/memory.max": "9223372036854771712", "a/b/memory.current": "5"}, math.MaxUint64},
		"its own":   {map[string]string{"a/b/memory.max": "100", "a/b/memory.current": "60", "a/memory.max": "max", "a/memory.current": "60"}, 40},
		"above it":  {map[string]string{"a/b/memory.max": "100", "a/b/memory.current": "60", "a/memory.max": "70", "a/memory.current": "65"}, 5},
		"beyond":    {map[string]string{"a/b/memory.max": "100", "a/b/memory.current": "160"}, 0},
	} {
		g, err := OpenGroup(groupTree(t, "/a/b", c.files))
		if err != nil {
			t.Fatal(err)
		}
		if room := g.Room(); room != c.room {
			t.Errorf("%s: room for %d, not %d", name, room, c.room)
		}
		g.bound(30)
		if room, want := g.Room(), c.room-min(c.room, 30); name == "its own" && room > want {
			t.Errorf("%s: room for %d after 30 more", name, room)
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestNothingIsBoundAtTheLimitOfTheGroup: or the host would kill somebody for it.
func TestNothingIsBoundAtTheLimitOfTheGroup(t *testing.T) {
	for usage, bound := range map[string]uint64{"0": 8, "117440512": 0} { // of 128 MiB
		root := groupTree(t, "/a", map[string]string{"a/memory.max": "134217728", "a/memory.current": usage})
		c := newCell(t, Policies[0], func(o *Options) {
			var err error
			if o.Group, err = OpenGroup(root); err != nil {
				t.Fatal(err)
			}
		})
		c.guest.Tell(ring.Intent{Op: ring.OpBind, First: 500, Count: 8})
		eventually(t, "the wish is heard", func() bool { s := c.Pager.Stats(); return s.Bound+s.Refused == 8 })
		if s := c.Pager.Stats(); s.Bound != bound {
			t.Errorf("with %s in use %d frames are bound", usage, s.Bound)
		}
	}
}
