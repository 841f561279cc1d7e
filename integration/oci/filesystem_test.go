// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

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
