// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/paracell/paracell/shim/record"
)

func bundleWith(t *testing.T, config string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "c1")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestGroup(t *testing.T) {
	for config, want := range map[string]string{
		`{}`: "c1",
		`{"annotations":{"io.kubernetes.cri.sandbox-id":"pod"}}`:                                            "pod",
		`{"annotations":{"io.containerd.paracell.v2.group":"g","io.kubernetes.cri.sandbox-id":"pod"}}`:      "g",
		`{"annotations":{"io.containerd.paracell.v2.group":"","io.kubernetes.cri.container-name":"other"}}`: "c1",
	} {
		s, err := readSpec(bundleWith(t, config))
		if err != nil || s.group("c1") != want {
			t.Errorf("%s: %+v, %v", config, s, err)
		}
	}
	if _, err := readSpec(bundleWith(t, `{`)); err == nil {
		t.Error("a broken specification")
	}
	// A sandbox that is no container has none.
	if s, err := readSpec(t.TempDir()); err != nil || s.group("c1") != "c1" {
		t.Errorf("no specification: %+v, %v", s, err)
	}
}

func TestCleanNothing(t *testing.T) {
	dir := bundleWith(t, `{}`)
	status, err := clean(dir)
	if err != nil || status.ExitStatus != lostStatus || status.Pid != 0 {
		t.Errorf("%+v, %v", status, err)
	}
}

// TestClean: what a dead shim has left goes, and the status of the container
// stays.
func TestClean(t *testing.T) {
	dir := bundleWith(t, `{"root":{"path":"rootfs"},"process":{"args":["x"],"cwd":"/"},"linux":{}}`)
	short, err := os.MkdirTemp("", "m")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(short)
	socket := filepath.Join(short, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := os.WriteFile(filepath.Join(dir, AddressFile), []byte("unix://"+socket), 0o600); err != nil {
		t.Fatal(err)
	}
	// A shim that still lives keeps its socket.
	if err := removeSocket(dir); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(socket); err != nil {
		t.Error(err)
	}
	l.Close()
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1, 0).UTC()
	r := record.Record{Shim: cmd.Process.Pid, Start: 1, Task: 99, Exit: &record.Exit{Status: 5, At: at}}
	if err := r.Write(dir); err != nil {
		t.Fatal(err)
	}
	status, err := clean(dir)
	if err != nil || status.ExitStatus != 5 || status.Pid != 99 || !status.ExitedAt.Equal(at) {
		t.Errorf("%+v, %v", status, err)
	}
	if _, err := os.Lstat(socket); !os.IsNotExist(err) {
		t.Errorf("socket: %v", err)
	}
	if _, err := record.Read(dir); !os.IsNotExist(err) {
		t.Errorf("record: %v", err)
	}
}

// TestUsage: every flag of containerd's package is explained.
func TestUsage(t *testing.T) {
	var b bytes.Buffer
	usage(&b)
	for _, f := range []string{"-debug", "-v,", "-version", "-info", "-namespace", "-id", "-socket", "-bundle", "-address", "-publish-binary"} {
		if !strings.Contains(b.String(), f) {
			t.Errorf("no %s", f)
		}
	}
	for line := range strings.Lines(b.String()) {
		if len(line) > 100 || strings.Contains(line, "\t") {
			t.Errorf("line %q", line)
		}
	}
}
