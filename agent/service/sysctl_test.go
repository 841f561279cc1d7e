// SPDX-License-Identifier: Apache-2.0

package service

import (
	"maps"
	"os"
	"path/filepath"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func TestSysctlsOfTheCell(t *testing.T) {
	proc := t.TempDir()
	for _, f := range []string{"net/ipv4/ping_group_range", "vm/max_map_count", "kernel/shmmax", "net/ipv4/conf/eth0.1/forwarding"} {
		p := filepath.Join(proc, "sys", f)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	l := &specs.Linux{
		Sysctl: map[string]string{
			"net.ipv4.ping_group_range": "0 1", "vm.max_map_count": "70000", "kernel.shmmax": "1", "kernel.hostname": "h",
			"net/ipv4/conf/eth0.1/forwarding": "1",
		},
		Namespaces: []specs.LinuxNamespace{{Type: specs.UTSNamespace}, {Type: specs.IPCNamespace, Path: "/joined"}},
	}
	if err := setSysctls(l, proc); err != nil {
		t.Fatal(err)
	}
	if want := (map[string]string{"kernel.hostname": "h"}); !maps.Equal(l.Sysctl, want) {
		t.Errorf("crun gets %v", l.Sysctl)
	}
	for f, want := range map[string]string{
		"net/ipv4/ping_group_range": "0 1", "vm/max_map_count": "70000", "kernel/shmmax": "1", "net/ipv4/conf/eth0.1/forwarding": "1",
	} {
		if b, err := os.ReadFile(filepath.Join(proc, "sys", f)); err != nil || string(b) != want {
			t.Errorf("%s: %q, %v", f, b, err)
		}
	}
	for _, bad := range []string{"", "vm..x", "../../tmp/x", "vm/../../x", "a.b.", "/etc/passwd", "no.such"} {
		if err := setSysctls(&specs.Linux{Sysctl: map[string]string{bad: "1"}}, proc); err == nil {
			t.Errorf("%q is no error", bad)
		}
	}
}

func FuzzSysctlPath(f *testing.F) {
	f.Add("net.ipv4.ip_forward")
	f.Add("net/ipv4/conf/eth0.1/forwarding")
	f.Fuzz(func(t *testing.T, key string) {
		if path, err := sysctlPath(key); err == nil && !filepath.IsLocal(path) {
			t.Errorf("%q: %q", key, path)
		}
	})
}
