// SPDX-License-Identifier: Apache-2.0

package task

import (
	"maps"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func encoded(t testing.TB, c *cri.PodSandboxConfig) *anypb.Any {
	t.Helper()
	b, err := proto.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return &anypb.Any{TypeUrl: "runtime.v1.PodSandboxConfig", Value: b}
}

var full = &cri.PodSandboxConfig{
	Metadata: &cri.PodSandboxMetadata{Name: "name", Attempt: 7}, Hostname: "pod", LogDirectory: "/log",
	DnsConfig:   &cri.DNSConfig{Servers: []string{"1.2.3.4", "fd00::1"}, Searches: []string{"a.test", "b.test"}, Options: []string{"ndots:5"}},
	Annotations: map[string]string{"a": "1", "b": ""},
	Linux: &cri.LinuxPodSandboxConfig{
		CgroupParent: "/pods", Sysctls: map[string]string{"net.core.somaxconn": "9"},
		Overhead:  &cri.LinuxContainerResources{MemoryLimitInBytes: 64 << 20},
		Resources: &cri.LinuxContainerResources{CpuShares: 5, MemoryLimitInBytes: 1 << 30},
	},
}

// TestPodConfig compares with the CRI's own code.
func TestPodConfig(t *testing.T) {
	c, err := podConfigOf(encoded(t, full))
	if err != nil {
		t.Fatal(err)
	}
	if c.hostname != "pod" || c.cgroupParent != "/pods" || c.memory != 1<<30+64<<20 ||
		!maps.Equal(c.annotations, full.Annotations) || !maps.Equal(c.sysctls, full.Linux.Sysctls) {
		t.Errorf("%+v", c)
	}
	const resolv = "search a.test b.test\nnameserver 1.2.3.4\nnameserver fd00::1\noptions ndots:5\n"
	if f := c.files(); string(f["/etc/resolv.conf"]) != resolv || string(f["/etc/hostname"]) != "pod\n" {
		t.Errorf("files: %q", f)
	}
	if c, err := podConfigOf(&anypb.Any{TypeUrl: "other", Value: []byte{1}}); err != nil || c.hostname != "" {
		t.Errorf("options of another type: %+v, %v", c, err)
	}
	if _, err := podConfigOf(&anypb.Any{TypeUrl: "PodSandboxConfig", Value: []byte{0x12, 9}}); err == nil {
		t.Error("a field that is longer than the message was accepted")
	}
}

func FuzzPodConfig(f *testing.F) {
	f.Add(encoded(f, full).Value)
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := podConfigOf(&anypb.Any{TypeUrl: "PodSandboxConfig", Value: b})
		var want cri.PodSandboxConfig
		if err == nil && proto.Unmarshal(b, &want) == nil && c.hostname != want.Hostname {
			t.Errorf("host name %q, want %q", c.hostname, want.Hostname)
		}
	})
}
