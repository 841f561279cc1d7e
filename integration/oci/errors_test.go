// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/paracell/paracell/integration/containerd/daemon"
	"github.com/paracell/paracell/internal/testenv"
	"github.com/paracell/paracell/vmm/platform"
)

// foreignProgram is an executable file for another architecture.
func foreignProgram(t *testing.T, path string) {
	t.Helper()
	var b bytes.Buffer
	h := elf.Header64{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_EXEC), Machine: uint16(elf.EM_AARCH64), Version: uint32(elf.EV_CURRENT),
		Entry: 0x400000, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1, Shentsize: 64,
	}
	p := elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Vaddr: 0x400000, Filesz: 120, Memsz: 120, Align: 4096}
	for _, part := range []any{h, p} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path, b.Bytes(), 0o755); err != nil {
		t.Fatal(err)
	}
}

// TestMessages makes the mistakes of a new user and reads what ctr prints: it has
// to say what is wrong and what to do.
func TestMessages(t *testing.T) {
	d := daemon.Start(t, daemon.Options{})
	config := filepath.Join(d.Dir, "paracell.toml")
	good := fmt.Sprintf("isolation = %q\n", testenv.Isolation())
	for _, c := range []struct {
		name string
		// config replaces the runtime's configuration.
		config string
		bend   func(t *testing.T, s *specs.Spec)
		// said are parts of the message.
		said []string
	}{
		{"unknown key", good + "memroy = '1G'\n", nil, []string{config, `unknown key "memroy"`, `did you mean "memory"`}},
		{"wrong value", "isolation = 'strong'\n", nil, []string{config, "isolation", "one of auto, mpk"}},
		{"not TOML", "isolation = \n", nil, []string{config, "line 1"}},
		{"kernel is missing", good + "kernel = '/no/such/kernel'\n", nil, []string{"/no/such/kernel", "no such file"}},
		{"kernel is none", good + "kernel = '/etc/passwd'\n", nil, []string{"guest kernel /etc/passwd is no ELF file", "paracell-kernel"}},
		{"too many processors", good + "vcpus = 1000\n", nil, []string{"vcpus", "at most"}},
		{"cell too small", good + "memory = '1M'\n", nil, []string{"memory", "the minimum is 64 MiB"}},
		{"limit too small", good, func(_ *testing.T, s *specs.Spec) {
			s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: pointer(int64(1 << 20))}
		}, []string{"memory limit of 1024 KiB is too small", "the minimum", "6 MiB"}},
		{"unknown annotation", good, func(_ *testing.T, s *specs.Spec) {
			s.Annotations = map[string]string{"io.paracell.vcpu": "1"}
		}, []string{"annotation io.paracell.vcpu", `did you mean "vcpus"`}},
		{"annotation that is not allowed", good, func(_ *testing.T, s *specs.Spec) {
			s.Annotations = map[string]string{"io.paracell.isolation": "none"}
		}, []string{"annotation io.paracell.isolation", "does not allow it", "/etc/paracell/config.toml"}},
		{"no command", good, func(_ *testing.T, s *specs.Spec) { s.Process.Args = nil }, []string{"process.args", "the image has no command"}},
		{"command is missing", good, func(_ *testing.T, s *specs.Spec) { s.Process.Args = []string{"no-such-command"} }, []string{"no-such-command", "not found"}},
		{"another architecture", good, func(t *testing.T, s *specs.Spec) {
			foreignProgram(t, filepath.Join(s.Root.Path, "bin/foreign"))
			s.Process.Args = []string{"/bin/foreign"}
		}, []string{"/bin/foreign", "AARCH64", "x86-64", "image for linux/amd64"}},
		{"root is missing", good, func(_ *testing.T, s *specs.Spec) { s.Root.Path = "/no/such/root" }, []string{"root file system", "/no/such/root", "no such file"}},
		{"volume is missing", good, func(_ *testing.T, s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/data", Type: "bind", Source: "/no/such/volume", Options: []string{"rbind"}})
		}, []string{"mount on /data", "/no/such/volume does not exist on the host"}},
		{"mount of a device", good, func(_ *testing.T, s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/data", Type: "ext4", Source: "/dev/sda1"})
		}, []string{"mount on /data", "ext4", "mount it on the host, and bind that"}},
		{"field that cannot be", good, func(_ *testing.T, s *specs.Spec) {
			s.Hooks = &specs.Hooks{CreateContainer: []specs.Hook{{Path: "/bin/true"}}}
		}, []string{"hooks.createContainer", "use createRuntime"}},
		{"disk full", good, func(t *testing.T, s *specs.Spec) {
			full := t.TempDir()
			if err := syscall.Mount("tmpfs", full, "tmpfs", 0, "nr_inodes=8"); err != nil {
				t.Skip(err)
			}
			t.Cleanup(func() { _ = syscall.Unmount(full, 0) })
			for i := 0; ; i++ {
				if os.WriteFile(filepath.Join(full, fmt.Sprint(i)), nil, 0o600) != nil {
					break
				}
			}
			s.Root.Path = full
		}, []string{"No space left on device"}},
		{"platform kvm", good + "platform = 'kvm'\n", func(t *testing.T, _ *specs.Spec) {
			if _, err := os.Stat("/dev/kvm"); err == nil {
				t.Skip("this machine has it")
			}
		}, []string{"/dev/kvm", "kvm"}},
		{"no protection keys", "isolation = 'mpk'\n", func(t *testing.T, _ *specs.Spec) {
			if testenv.Isolation() == platform.IsolationMPK {
				t.Skip("this machine has them")
			}
		}, []string{"protection keys", "use ", `isolation = "none"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := base(root(t))
			if c.bend != nil {
				c.bend(t, s)
			}
			if err := os.WriteFile(config, []byte(c.config), 0o600); err != nil {
				t.Fatal(err)
			}
			r := run(t, d, "box", s)
			message := r.errOut
			if i := strings.Index(message, "ctr: "); i >= 0 {
				message = message[i:]
			}
			t.Logf("%s", message)
			if strings.Contains(strings.TrimSpace(message), "\n") {
				t.Error("more than a line")
			}
			if r.status == 0 {
				t.Error("it runs")
			}
			for _, part := range c.said {
				if !strings.Contains(message, part) {
					t.Errorf("%q is missing", part)
				}
			}
			_, _, _ = d.CTR(t, "", "container", "delete", "box")
		})
	}
}

// TestDiskFull fills the disk under a running container.
func TestDiskFull(t *testing.T) {
	d := daemon.Start(t, daemon.Options{})
	s := base(root(t))
	small := t.TempDir()
	if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size=1m"); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(small, 0) })
	s.Mounts = append(s.Mounts, specs.Mount{Destination: "/mnt", Type: "bind", Source: small, Options: []string{"rbind"}})
	s.Process.Args = []string{"sh", "-c", "dd if=/dev/zero of=/mnt/f bs=64k count=100 conv=fsync 2>&1 | grep space; rm /mnt/f; echo again >/mnt/f && cat /mnt/f"}
	r := run(t, d, "full", s)
	if r.status != 0 || !strings.Contains(r.out, "No space left on device") || !strings.HasSuffix(r.out, "again\n") {
		t.Errorf("%+v", r)
	}
}

// TestKilledHostProcess kills a process of a cell from outside.
func TestKilledHostProcess(t *testing.T) {
	d := daemon.Start(t, daemon.Options{})
	s := base(root(t))
	s.Process.Args = []string{"sleep", "1000"}
	detach(t, d, "victim", s)
	shims := d.Shims()
	if len(shims) != 1 {
		t.Fatalf("shims %v", shims)
	}
	out, err := exec.Command("pgrep", "-P", fmt.Sprint(shims[0])).Output()
	var pid int
	if _, scanErr := fmt.Sscan(string(out), &pid); err != nil || scanErr != nil {
		t.Fatalf("processes of the cell: %q, %v", out, err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the container ends", func() bool {
		out, _, _ := d.CTR(t, "", "task", "ls")
		return strings.Contains(out, "STOPPED")
	})
	eventually(t, "containerd's log says why", func() bool {
		return strings.Contains(d.Log(), "signal 9 (SIGKILL): killed from outside")
	})
	remove(t, d, "victim")
}
