// SPDX-License-Identifier: Apache-2.0

package pid1

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/paracell/paracell/protos/boot"
)

func TestLookup(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"a/tool": 0o755, "b/tool": 0o755, "a/data": 0o644, "b/data": 0o755} {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	env := []string{"X=1", "PATH=" + dir + "/none:" + dir + "/a:b"}
	for name, want := range map[string]string{
		"tool": dir + "/a/tool", "data": dir + "/b/data", "./x": "./x", "/bin/x": "/bin/x", "absent": "",
	} {
		got, err := lookup(name, dir, env)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// TestRun runs commands as PID 1 would, without the mounts.
func TestRun(t *testing.T) {
	mounts, bringUp = nil, func(*boot.Spec) error { return nil }
	for _, c := range []struct {
		args   []string
		status int
		err    string
	}{
		{[]string{"sh", "-c", "exit 3"}, 3, ""},
		{[]string{"true"}, 0, ""},
		{[]string{"sh", "-c", "kill -9 $$"}, 137, ""},
		{[]string{"sh", "-c", "(sleep 0.05; exit 9) & exit 4"}, 4, ""},
		{[]string{"sh", "-c", `test "$A" = b && test "$PWD" = /tmp && exit 5`}, 5, ""},
		{[]string{"no-such-command"}, boot.StatusNotFound, "not found in PATH="},
		{[]string{"/no/such/file"}, boot.StatusNotFound, "/no/such/file"},
		{[]string{"/etc"}, boot.StatusCannotExecute, "/etc"},
	} {
		spec := boot.Spec{Args: c.args, Env: []string{"PATH=/usr/bin:/bin", "A=b"}, Cwd: "/tmp"}
		b, err := spec.Encode()
		if err != nil {
			t.Fatal(err)
		}
		root := t.TempDir()
		if err := os.Mkdir(filepath.Join(root, boot.Dir), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, boot.SpecPath), b, 0o600); err != nil {
			t.Fatal(err)
		}
		status, err := run(root)
		if status != c.status || (err == nil) != (c.err == "") || (err != nil && !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%q: status %d, %v", c.args, status, err)
		}
	}
	if status, err := run(t.TempDir()); status != boot.StatusCannotExecute || err == nil {
		t.Errorf("without a spec: status %d, %v", status, err)
	}
}
