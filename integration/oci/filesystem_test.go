// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/paracell/paracell/integration/containerd/daemon"
	"github.com/paracell/paracell/internal/testenv"
)

// compile builds a program of this folder, static, and returns its path.
func compile(t *testing.T, name string) string {
	t.Helper()
	gcc := testenv.Program(t, "gcc", "gcc")
	out := filepath.Join(t.TempDir(), name)
	cmd := exec.Command(gcc, "-std=gnu11", "-O1", "-Wall", "-Werror", "-Wno-unused-result", "-Wno-unused-value", "-static", "-pthread",
		"-o", out, filepath.Join("programs", name+".c"))
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return out
}

// allCapabilities are those of root.
var allCapabilities = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP",
	"CAP_SYS_ADMIN", "CAP_MKNOD", "CAP_SETFCAP", "CAP_SYS_RESOURCE", "CAP_LEASE", "CAP_IPC_LOCK",
}

// filesSpec is a container of root with a volume on /volume and a program in /bin.
func filesSpec(t *testing.T, program, volume string, args ...string) *specs.Spec {
	t.Helper()
	s := base(root(t))
	b, err := os.ReadFile(program)
	if err == nil {
		err = os.WriteFile(filepath.Join(s.Root.Path, "bin", filepath.Base(program)), b, 0o755)
	}
	if err == nil {
		err = os.Chmod(volume, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: allCapabilities, Permitted: allCapabilities, Effective: allCapabilities}
	s.Mounts = append(s.Mounts, specs.Mount{Destination: "/volume", Type: "bind", Source: volume, Options: []string{"rbind", "rw"}})
	s.Process.Args = args
	return s
}

// posixDifferences are lines of the transcript that are not the host's, by mode,
// with the reason. docs/virtio.md lists them.
var posixDifferences = map[string]map[string]string{}

// TestPosix compares what a program sees of files in a cell with what it sees on
// the host, on the same file system: in the root, which is the cell's alone, and
// in a volume, which it shares with the host.
func TestPosix(t *testing.T) {
	d := daemon.Start(t, daemon.Options{})
	program := compile(t, "posix")
	host, err := exec.Command(program, t.TempDir()).Output()
	if err != nil || !strings.HasSuffix(string(host), "\nend\n") {
		t.Fatalf("on the host: %v\n%s", err, host)
	}
	for _, mode := range []string{"root", "volume"} {
		t.Run(mode, func(t *testing.T) {
			dir := map[string]string{"root": "/tmp", "volume": "/volume"}[mode]
			r := run(t, d, "posix-"+mode, filesSpec(t, program, t.TempDir(), "posix", dir))
			if r.status != 0 {
				t.Errorf("status %d: %s", r.status, r.errOut)
			}
			compareLines(t, string(host), r.out, posixDifferences[mode])
		})
	}
}

// compareLines compares transcripts line by line.
func compareLines(t *testing.T, host, cell string, known map[string]string) {
	t.Helper()
	want, got := strings.Split(host, "\n"), strings.Split(cell, "\n")
	for i := 0; i < max(len(want), len(got)); i++ {
		var w, g string
		if i < len(want) {
			w = want[i]
		}
		if i < len(got) {
			g = got[i]
		}
		if w == g {
			continue
		}
		if why, ok := known[g]; ok {
			t.Logf("%s: %s", g, why)
			continue
		}
		t.Errorf("line %d\nhost: %s\ncell: %s", i+1, w, g)
	}
}

// TestFSX changes files at random and compares what is read, in a cell's root and
// in a volume. PARACELL_FSX is the number of operations.
func TestFSX(t *testing.T) {
	operations := os.Getenv("PARACELL_FSX")
	if operations == "" {
		operations = "1500"
	}
	d := daemon.Start(t, daemon.Options{})
	program := compile(t, "fsx")
	for _, dir := range []string{"/tmp", "/volume"} {
		t.Run(dir, func(t *testing.T) {
			r := run(t, d, "fsx", filesSpec(t, program, t.TempDir(), "fsx", dir, "1", operations))
			if r.status != 0 || r.out != "good\n" {
				t.Errorf("status %d\n%s%s", r.status, r.out, r.errOut)
			}
		})
	}
}

// TestVolumeIsShared changes a volume on the host while a container looks, and
// the other way round. What is cached in the guest may be a second old.
func TestVolumeIsShared(t *testing.T) {
	d := daemon.Start(t, daemon.Options{})
	volume := t.TempDir()
	in := func(name string) string { return filepath.Join(volume, name) }
	steps := []struct {
		what string
		do   func() error
		seen string // in the shell of the container
	}{
		{"new file", func() error { return os.WriteFile(in("f"), []byte("one\n"), 0o644) }, "grep -qx one f"},
		{"other content of the same size", func() error { return os.WriteFile(in("f"), []byte("two\n"), 0o644) }, "grep -qx two f"},
		{"appended", func() error {
			f, err := os.OpenFile(in("f"), os.O_APPEND|os.O_WRONLY, 0)
			if err == nil {
				_, err = f.WriteString("three\n")
				err = errors.Join(err, f.Close())
			}
			return err
		}, "test \"$(tail -n 1 f)\" = three"},
		{"cut off", func() error { return os.Truncate(in("f"), 1) }, "test $(stat -c %s f) = 1"},
		{"replaced", func() error {
			return errors.Join(os.WriteFile(in("g"), []byte("new\n"), 0o644), os.Rename(in("g"), in("f")))
		}, "grep -qx new f"},
		{"mode", func() error { return os.Chmod(in("f"), 0o751) }, "test $(stat -c %a f) = 751"},
		{"owner", func() error { return os.Chown(in("f"), 12, 34) }, "test $(stat -c %u:%g f) = 12:34"},
		{"folder", func() error {
			return errors.Join(os.Mkdir(in("d"), 0o755), os.WriteFile(in("d/x"), []byte("x\n"), 0o644))
		}, "grep -qx x d/x && ls | grep -qx d"},
		{"folder is moved", func() error { return os.Rename(in("d"), in("e")) }, "test -e e/x && ! test -e d"},
		{"folder becomes a link", func() error { return errors.Join(os.RemoveAll(in("e")), os.Symlink("f", in("e"))) }, "test \"$(readlink e)\" = f"},
		{"removed", func() error { return os.Remove(in("f")) }, "! test -e f && ! ls | grep -qx f"},
	}
	var script strings.Builder
	script.WriteString("cd /volume; ls >/dev/null\n")
	for i, s := range steps {
		// What is there before is looked at, so that it is in the cache.
		fmt.Fprintf(&script, "i=0; cat f e/x d/x >/dev/null 2>&1; until %s; do sleep 0.05; i=$((i+1)); if [ $i -gt 200 ]; then echo %q; exit 1; fi; done; echo %d >step\n",
			s.seen, "not seen: "+s.what, i)
	}
	done := make(chan error, 1)
	go func() {
		for i, s := range steps {
			if err := s.do(); err != nil {
				done <- fmt.Errorf("%s: %w", s.what, err)
				return
			}
			end := time.Now().Add(30 * time.Second)
			for b := []byte(nil); string(b) != fmt.Sprintln(i); b, _ = os.ReadFile(in("step")) {
				if time.Now().After(end) {
					done <- fmt.Errorf("%s: the container does not go on", s.what)
					return
				}
				time.Sleep(5 * time.Millisecond)
			}
		}
		done <- nil
	}()
	s := base(root(t))
	s.Mounts = append(s.Mounts, specs.Mount{Destination: "/volume", Type: "bind", Source: volume, Options: []string{"rbind"}})
	s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: allCapabilities, Permitted: allCapabilities, Effective: allCapabilities}
	s.Process.Args = []string{"sh", "-c", script.String()}
	r := run(t, d, "shared", s)
	if err := <-done; err != nil || r.status != 0 {
		t.Errorf("%v; status %d: %s%s", err, r.status, r.out, r.errOut)
	}
}
