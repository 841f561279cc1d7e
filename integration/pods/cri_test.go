// SPDX-License-Identifier: Apache-2.0

package pods

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/paracell/paracell/integration/containerd/daemon"
	"github.com/paracell/paracell/integration/images"
	"github.com/paracell/paracell/integration/network/testnet"
	"github.com/paracell/paracell/internal/testenv"
)

// criConfig is containerd's: the folder with CNI's configuration, the image
// of the pause container, the runtime.
const criConfig = `
[plugins.'io.containerd.nri.v1.nri']
  disable = true
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = %q
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  disable_apparmor = true
  netns_mounts_under_state_dir = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ['/usr/lib/cni']
  conf_dir = %q
[plugins.'io.containerd.cri.v1.runtime'.containerd]
  default_runtime_name = 'paracell'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.paracell]
  runtime_type = %q
  sandboxer = %q
  disable_pause_image_pull = true
`

const conflist = `{
	"cniVersion": "0.4.0", "name": "paracell-pods",
	"plugins": [
		{
			"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
			"ipam": {
				"type": "host-local", "dataDir": %q,
				"ranges": [[{"subnet": "10.97.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]
			}
		},
		{"type": "portmap", "capabilities": {"portMappings": true}}
	]
}
`

// cgroup is the parent of the pods' control groups.
const cgroup = "/paracell-test-pods"

// kubelet makes the calls that a kubelet does.
type kubelet struct {
	*daemon.Daemon
	t       *testing.T
	ctx     context.Context
	n       *testnet.Network
	runtime cri.RuntimeServiceClient
	logs    string
}

func newKubelet(t *testing.T, sandboxer string) *kubelet {
	t.Helper()
	testenv.Root(t)
	testenv.Program(t, "/usr/lib/cni/bridge", "containernetworking-plugins")
	testenv.Program(t, "iptables", "iptables")
	k := &kubelet{t: t, n: testnet.New(t, 1500), logs: t.TempDir()}
	cni := t.TempDir()
	must(t, os.WriteFile(filepath.Join(cni, "10-test.conflist"), fmt.Appendf(nil, conflist, filepath.Join(cni, "addresses")), 0o600))
	k.Daemon = daemon.Start(t, daemon.Options{
		CRI: true, Wrap: []string{"nsenter", "--net=" + k.n.HubPath}, Images: []string{"pause"},
		Containerd: fmt.Sprintf(criConfig, images.Ref("pause"), cni, daemon.Runtime, sandboxer),
	})
	t.Cleanup(func() { // a kubelet makes and removes the group of a pod
		groups, _ := filepath.Glob("/sys/fs/cgroup/*" + cgroup)
		for _, g := range append(groups, "/sys/fs/cgroup"+cgroup) {
			_ = os.Remove(g)
		}
	})
	k.ctx = daemon.Context(t)
	set, err := images.Build(k.ctx, t.Output(), "busybox", "pause")
	must(t, err)
	load := k.Ctr(k.ctx, "--namespace", "k8s.io", "image", "import", "--label", "io.cri-containerd.image=managed", "-")
	r, w := io.Pipe()
	load.Stdin = r
	go func() { w.CloseWithError(set.Write(w)) }()
	if out, err := load.CombinedOutput(); err != nil {
		t.Fatalf("import: %v\n%s", err, out)
	}
	conn, err := grpc.NewClient("unix://"+k.Address(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	k.runtime = cri.NewRuntimeServiceClient(conn)
	for end := time.Now().Add(daemon.Deadline); ; time.Sleep(50 * time.Millisecond) {
		s, err := k.runtime.Status(k.ctx, &cri.StatusRequest{})
		ready := err == nil
		if err == nil {
			for _, c := range s.Status.Conditions {
				ready = ready && (c.Status || c.Type != "RuntimeReady" && c.Type != "NetworkReady")
			}
		}
		if ready {
			return k
		}
		if time.Now().After(end) {
			t.Fatalf("the CRI plugin is not ready: %v, %v", s, err)
		}
	}
}

func (k *kubelet) pod(name string, change func(*cri.PodSandboxConfig)) (string, *cri.PodSandboxConfig) {
	k.t.Helper()
	c := &cri.PodSandboxConfig{
		Metadata: &cri.PodSandboxMetadata{Name: name, Uid: name + "-uid", Namespace: "default"},
		Hostname: name, LogDirectory: k.logs,
		DnsConfig: &cri.DNSConfig{Servers: []string{"10.0.0.10"}, Searches: []string{"cluster.test"}},
		Linux: &cri.LinuxPodSandboxConfig{
			CgroupParent: cgroup, Sysctls: map[string]string{"net.core.somaxconn": "999"},
			SecurityContext: &cri.LinuxSandboxSecurityContext{NamespaceOptions: &cri.NamespaceOption{Pid: cri.NamespaceMode_CONTAINER}},
		},
	}
	if change != nil {
		change(c)
	}
	r, err := k.runtime.RunPodSandbox(k.ctx, &cri.RunPodSandboxRequest{Config: c})
	must(k.t, err)
	k.t.Cleanup(func() {
		_, err := k.runtime.StopPodSandbox(k.ctx, &cri.StopPodSandboxRequest{PodSandboxId: r.PodSandboxId})
		if err == nil {
			_, err = k.runtime.RemovePodSandbox(k.ctx, &cri.RemovePodSandboxRequest{PodSandboxId: r.PodSandboxId})
		}
		if err != nil {
			k.t.Errorf("remove pod %s: %v", name, err)
		}
	})
	return r.PodSandboxId, c
}

func (k *kubelet) container(pod string, config *cri.PodSandboxConfig, name, script string) string {
	k.t.Helper()
	r, err := k.runtime.CreateContainer(k.ctx, &cri.CreateContainerRequest{PodSandboxId: pod, SandboxConfig: config, Config: &cri.ContainerConfig{
		Metadata: &cri.ContainerMetadata{Name: name}, Image: &cri.ImageSpec{Image: daemon.Image},
		Command: []string{"/bin/sh", "-c", script}, LogPath: name + ".log",
		Linux: &cri.LinuxContainerConfig{
			Resources:       &cri.LinuxContainerResources{MemoryLimitInBytes: 64 << 20, CpuShares: 512},
			SecurityContext: &cri.LinuxContainerSecurityContext{NamespaceOptions: config.Linux.SecurityContext.NamespaceOptions},
		},
	}})
	must(k.t, err)
	_, err = k.runtime.StartContainer(k.ctx, &cri.StartContainerRequest{ContainerId: r.ContainerId})
	must(k.t, err)
	return r.ContainerId
}

func (k *kubelet) exec(container, script string) string {
	k.t.Helper()
	r, err := k.runtime.ExecSync(k.ctx, &cri.ExecSyncRequest{ContainerId: container, Cmd: []string{"/bin/sh", "-c", script}, Timeout: 20})
	must(k.t, err)
	if r.ExitCode != 0 {
		k.t.Errorf("%s: status %d: %s%s", script, r.ExitCode, r.Stdout, r.Stderr)
	}
	return strings.TrimSpace(string(r.Stdout))
}

// TestCRI is with a pause container, as CRI's default is.
func TestCRI(t *testing.T) { testCRI(t, "podsandbox") }

// TestCRISandbox is with the cell itself as the sandbox.
func TestCRISandbox(t *testing.T) { testCRI(t, "shim") }

func testCRI(t *testing.T, sandboxer string) {
	k := newKubelet(t, sandboxer)
	pod, config := k.pod("one", func(c *cri.PodSandboxConfig) {
		c.PortMappings = []*cri.PortMapping{{Protocol: cri.Protocol_TCP, ContainerPort: 80, HostPort: 8080}}
	})
	status, err := k.runtime.PodSandboxStatus(k.ctx, &cri.PodSandboxStatusRequest{PodSandboxId: pod})
	must(t, err)
	ip := status.Status.Network.GetIp()
	if status.Status.State != cri.PodSandboxState_SANDBOX_READY || !strings.HasPrefix(ip, "10.97.0.") {
		t.Fatalf("pod: %v", status.Status)
	}
	server := k.container(pod, config, "server", "echo started; exec nc -ll -p 80 -e /bin/cat")
	client := k.container(pod, config, "client", "sleep infinity")
	if shims := k.Shims(); len(shims) != 1 {
		t.Errorf("shims: %v, want one for the pod", shims)
	}

	if got := k.exec(client, "hostname; cat /etc/resolv.conf; cat /proc/sys/net/core/somaxconn"); got != "one\nsearch cluster.test\nnameserver 10.0.0.10\n999" {
		t.Errorf("in the pod: %q", got)
	}
	if got := k.exec(client, "ip -4 -o addr show eth0"); !strings.Contains(got, ip+"/24") {
		t.Errorf("address: %q, want %s", got, ip)
	}
	if got := k.exec(client, "echo hello | nc 127.0.0.1 80"); got != "hello" {
		t.Errorf("over the loopback: %q", got)
	}
	for _, address := range []string{net.JoinHostPort(ip, "80"), net.JoinHostPort(testnet.HubIP, "8080")} {
		c, err := k.n.Dial("tcp", address)
		must(t, err)
		must(t, c.SetDeadline(time.Now().Add(20*time.Second)))
		_, err = io.WriteString(c, "hello\n")
		must(t, err)
		b := make([]byte, 6)
		if _, err := io.ReadFull(c, b); err != nil || string(b) != "hello\n" {
			t.Errorf("%s: %q, %v", address, b, err)
		}
		c.Close()
	}

	// Another pod reaches the first one.
	second, secondConfig := k.pod("two", func(c *cri.PodSandboxConfig) {
		c.Linux.SecurityContext.NamespaceOptions.Pid = cri.NamespaceMode_POD
	})
	other := k.container(second, secondConfig, "other", "sleep infinity")
	if got := k.exec(other, "echo between | nc "+ip+" 80"); got != "between" {
		t.Errorf("between pods: %q", got)
	}
	// Its processes see each other, the pause container or the agent first.
	want := map[string]string{"podsandbox": "/bin/sleep infinity", "shim": "/.paracell/host/.programs/paracell-agent"}[sandboxer]
	if got := k.exec(other, "tr '\\0' ' ' </proc/1/cmdline"); strings.TrimSpace(got) != want {
		t.Errorf("process 1 of a pod that shares processes: %q", got)
	}

	stats, err := k.runtime.ContainerStats(k.ctx, &cri.ContainerStatsRequest{ContainerId: server})
	must(t, err)
	if s := stats.Stats; s.Memory.GetWorkingSetBytes().GetValue() == 0 || s.Cpu.GetUsageCoreNanoSeconds().GetValue() == 0 {
		t.Errorf("statistics: %v", s)
	}
	if _, err := k.runtime.UpdateContainerResources(k.ctx, &cri.UpdateContainerResourcesRequest{
		ContainerId: client, Linux: &cri.LinuxContainerResources{MemoryLimitInBytes: 96 << 20},
	}); err != nil {
		t.Error(err)
	}
	log, err := os.ReadFile(filepath.Join(k.logs, "server.log"))
	if err != nil || !strings.Contains(string(log), "stdout F started") {
		t.Errorf("log: %q, %v", log, err)
	}

	// A container that ends is restarted by a kubelet: another one in the same pod.
	ends := k.container(pod, config, "ends", "exit 3")
	k.waitExit(ends, 3)
	_, err = k.runtime.RemoveContainer(k.ctx, &cri.RemoveContainerRequest{ContainerId: ends})
	must(t, err)
	k.waitExit(k.container(pod, config, "ends again", "exit 4"), 4)

	_, err = k.runtime.StopContainer(k.ctx, &cri.StopContainerRequest{ContainerId: server, Timeout: 0})
	must(t, err)
	k.waitExit(server, 137)
	// The cell ends with its pod.
	_, err = k.runtime.StopPodSandbox(k.ctx, &cri.StopPodSandboxRequest{PodSandboxId: pod})
	must(t, err)
	status, err = k.runtime.PodSandboxStatus(k.ctx, &cri.PodSandboxStatusRequest{PodSandboxId: pod})
	must(t, err)
	if status.Status.State != cri.PodSandboxState_SANDBOX_NOTREADY {
		t.Errorf("a stopped pod: %v", status.Status.State)
	}
}

// waitExit waits for the end of a container.
func (k *kubelet) waitExit(container string, want int32) {
	k.t.Helper()
	for end := time.Now().Add(daemon.Deadline); ; time.Sleep(20 * time.Millisecond) {
		r, err := k.runtime.ContainerStatus(k.ctx, &cri.ContainerStatusRequest{ContainerId: container})
		must(k.t, err)
		if r.Status.State == cri.ContainerState_CONTAINER_EXITED {
			if r.Status.ExitCode != want {
				k.t.Errorf("status %d, want %d: %s", r.Status.ExitCode, want, r.Status.Message)
			}
			return
		}
		if time.Now().After(end) {
			k.t.Fatalf("container %s does not end: %v", container, r.Status)
		}
	}
}
