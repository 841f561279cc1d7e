// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/paracell/paracell/integration/containerd/daemon"
	"github.com/paracell/paracell/internal/testenv"
)

// root makes a root file system with the applets of busybox.
func root(t *testing.T) string {
	t.Helper()
	busybox := testenv.Program(t, "busybox", "busybox-static")
	dir := t.TempDir()
	for _, d := range []string{"bin", "dev", "etc", "proc", "sys", "tmp"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	program, err := os.ReadFile(busybox)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "bin/busybox"), program, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	applets, err := exec.Command(busybox, "--list").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range strings.Fields(string(applets)) {
		if a == "busybox" {
			continue
		}
		if err := os.Symlink("busybox", filepath.Join(dir, "bin", a)); err != nil {
			t.Fatal(err)
		}
	}
	// The folders above are another user's business.
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// base is a specification like those that containerd makes.
func base(root string) *specs.Spec {
	return &specs.Spec{
		Version: "1.2.1",
		Process: &specs.Process{
			Args: []string{"sh", "-c", "true"}, Env: []string{"PATH=/bin"}, Cwd: "/",
		},
		Root: &specs.Root{Path: root},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "mode=755"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "newinstance", "ptmxmode=0666"}},
			{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"ro"}},
			{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"ro"}},
		},
		Linux: &specs.Linux{
			Namespaces: []specs.LinuxNamespace{{Type: "pid"}, {Type: "ipc"}, {Type: "uts"}, {Type: "mount"}, {Type: "network"}, {Type: "cgroup"}},
			Resources:  &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}},
		},
	}
}

// result is what a container gave.
type result struct {
	out, errOut string
	status      int
}

// run makes a container of a specification and waits for its end.
func run(t *testing.T, d *daemon.Daemon, name string, s *specs.Spec) result {
	t.Helper()
	return ctrRun(t, d, name, s, "--rm")
}

func ctrRun(t *testing.T, d *daemon.Daemon, name string, s *specs.Spec, flags ...string) result {
	t.Helper()
	encoded, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(file, encoded, 0o600); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"run", "--runtime", daemon.Runtime, "--config", file}, flags...)
	out, errOut, err := d.CTR(t, "", append(args, name)...)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	r := result{out: out, errOut: errOut}
	if exit != nil {
		r.status = exit.ExitCode()
	}
	return r
}

// script is run with every command's output behind its name.
func script(commands [][3]string) []string {
	var b strings.Builder
	for _, c := range commands {
		fmt.Fprintf(&b, "echo '[%s]'; { %s ; } 2>&1\n", c[0], c[1])
	}
	return []string{"sh", "-c", b.String() + "true\n"}
}

// compare looks for what every command had to say; a want that ends in * is a
// beginning.
func compare(t *testing.T, r result, commands [][3]string) {
	t.Helper()
	got := map[string]string{}
	for part := range strings.SplitSeq("\n"+r.out, "\n[") {
		name, text, _ := strings.Cut(part, "]")
		got[name] = strings.TrimSpace(text)
	}
	for _, c := range commands {
		text, ok := got[c[0]]
		prefix, open := strings.CutSuffix(c[2], "*")
		if !ok || open && !strings.HasPrefix(text, prefix) || !open && text != c[2] {
			t.Errorf("%s: %s\ngives %q\nwant  %q", c[0], c[1], text, c[2])
		}
	}
	if r.status != 0 {
		t.Errorf("status %d: %s", r.status, r.errOut)
	}
}

func pointer[T any](v T) *T { return &v }

// TestSpec looks at all that a specification can ask for.
func TestSpec(t *testing.T) {
	d := daemon.Start(t, daemon.Options{})
	t.Run("process", func(t *testing.T) {
		s := base(root(t))
		caps := []string{"CAP_CHOWN", "CAP_NET_BIND_SERVICE"}
		s.Process.Cwd = "/etc"
		s.Process.Env = append(s.Process.Env, "A=b c")
		s.Process.User = specs.User{UID: 1000, GID: 100, Umask: pointer(uint32(0o027)), AdditionalGids: []uint32{4, 5}}
		s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: caps, Permitted: caps[:1], Effective: caps[:1], Inheritable: caps[:1], Ambient: caps[:1]}
		s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Hard: 2048, Soft: 1024}, {Type: "RLIMIT_CORE", Hard: 0, Soft: 0}, {Type: "RLIMIT_NPROC", Hard: 5000, Soft: 500}}
		s.Process.NoNewPrivileges = true
		s.Process.OOMScoreAdj = pointer(321)
		s.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedBatch, Nice: 5}
		s.Process.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_BE, Priority: 6}
		s.Hostname, s.Domainname = "inside", "example"
		s.Linux.Personality = &specs.LinuxPersonality{Domain: specs.PerLinux32}
		commands := [][3]string{
			{"cwd", "pwd", "/etc"},
			{"env", "echo $A", "b c"},
			{"ids", "id -u; id -g; id -G", "1000\n100\n100 4 5"},
			{"umask", "umask", "0027"},
			{"effective", "grep CapEff /proc/self/status", "CapEff:\t0000000000000001"},
			{"bounding", "grep CapBnd /proc/self/status", "CapBnd:\t0000000000000401"},
			{"ambient", "grep CapAmb /proc/self/status", "CapAmb:\t0000000000000001"},
			{"nofile", "ulimit -n; ulimit -Hn", "1024\n2048"},
			{"core", "ulimit -c", "0"},
			{"nproc", "grep 'Max processes' /proc/self/limits | tr -s ' '", "Max processes 500 5000 processes"},
			{"no new privileges", "grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t1"},
			{"oom score", "cat /proc/self/oom_score_adj", "321"},
			{"nice, scheduler", "awk '{ print $19, $41 }' /proc/$$/stat", "5 3"}, // SCHED_BATCH
			{"io priority", "ionice -p $$", "best-effort: prio 6"},
			{"hostname", "hostname", "inside"},
			{"domainname", "cat /proc/sys/kernel/domainname", "example"},
			{"personality", "cat /proc/self/personality", "00000008"},
			{"kernel", "uname -r", "6.12*"},
			{"pid", "echo $$", "1"},
		}
		s.Process.Args = script(commands)
		compare(t, run(t, d, "process", s), commands)
	})
	t.Run("mounts", func(t *testing.T) {
		s := base(root(t))
		dir, sub := t.TempDir(), t.TempDir()
		file := filepath.Join(dir, "file")
		if err := os.WriteFile(file, []byte("old\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "neighbour"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		s.Mounts = append(s.Mounts,
			specs.Mount{Destination: "/rw", Type: "bind", Source: sub, Options: []string{"rbind", "rw"}},
			specs.Mount{Destination: "/ro", Type: "bind", Source: dir, Options: []string{"rbind", "ro", "nosuid", "noexec", "nodev"}},
			specs.Mount{Destination: "/etc/one", Type: "bind", Source: file, Options: []string{"bind", "rw"}},
			specs.Mount{Destination: "/etc/fixed", Type: "bind", Source: file, Options: []string{"bind", "ro"}},
			specs.Mount{Destination: "/scratch", Type: "tmpfs", Source: "tmpfs", Options: []string{"size=64k", "mode=1777", "uid=5", "gid=6", "noexec"}},
			specs.Mount{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
			specs.Mount{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		)
		s.Root.Readonly = true
		for _, d := range []string{"rw", "ro", "scratch", "etc/one", "etc/fixed"} {
			var err error
			if p := filepath.Join(s.Root.Path, d); strings.HasPrefix(d, "etc/") {
				err = os.WriteFile(p, nil, 0o644)
			} else {
				err = os.Mkdir(p, 0o755)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		s.Linux.MaskedPaths = []string{"/proc/keys", "/sys/kernel", "/no/such"}
		s.Linux.ReadonlyPaths = []string{"/proc/sys", "/no/such"}
		commands := [][3]string{
			{"root", "touch /x", "touch: /x: Read-only file system"},
			{"rw", "echo in >/rw/made && cat /rw/made", "in"},
			{"ro", "cat /ro/file; touch /ro/x", "old\ntouch: /ro/x: Read-only file system"},
			{"neighbour", "ls /ro | xargs", "file neighbour"},
			{"ro flags", "grep ' /ro ' /proc/mounts | cut -d' ' -f4 | tr , '\n' | grep -xE 'ro|nosuid|noexec|nodev' | sort | xargs", "nodev noexec nosuid ro"},
			{"file", "echo new >/etc/one; cat /ro/file", "new"},
			{"fixed", "cat /etc/fixed; echo x >/etc/fixed", "new\nsh: can't create /etc/fixed: Read-only file system"},
			{"tmpfs", "stat -c '%a %u %g' /scratch", "1777 5 6"},
			{"tmpfs size", "dd if=/dev/zero of=/scratch/f bs=1k count=100 2>&1 | grep space; stat -c %s /scratch/f", "dd: error writing '/scratch/f': No space left on device\n65536"},
			{"tmpfs noexec", "cp /bin/true /dev/shm/true; /dev/shm/true", "sh: /dev/shm/true: Permission denied"},
			{"mqueue", "grep -c ' /dev/mqueue mqueue ' /proc/mounts", "1"},
			{"masked", "cat /proc/keys; ls /sys/kernel", ""},
			{"read-only path", "echo x >/proc/sys/kernel/hostname", "sh: can't create /proc/sys/kernel/hostname: Read-only file system"},
		}
		s.Process.Args = script(commands)
		compare(t, run(t, d, "mounts", s), commands)
		if b, err := os.ReadFile(filepath.Join(sub, "made")); err != nil || string(b) != "in\n" {
			t.Errorf("the host sees %q, %v", b, err)
		}
		if b, err := os.ReadFile(file); err != nil || string(b) != "new\n" {
			t.Errorf("the host sees %q, %v", b, err)
		}
	})
	t.Run("linux", func(t *testing.T) {
		s := base(root(t))
		s.Process.Capabilities = &specs.LinuxCapabilities{
			Bounding: []string{"CAP_MKNOD"}, Permitted: []string{"CAP_MKNOD"}, Effective: []string{"CAP_MKNOD"},
		}
		s.Linux.Sysctl = map[string]string{
			"kernel.shm_rmid_forced": "1", "fs.mqueue.msg_max": "7", // namespaces of the container
			"net.ipv4.ip_unprivileged_port_start": "80", "vm.max_map_count": "70001", // of the cell
		}
		s.Linux.Devices = []specs.LinuxDevice{
			{Path: "/dev/nothing", Type: "c", Major: 1, Minor: 5, FileMode: pointer(os.FileMode(0o644)), UID: pointer(uint32(3)), GID: pointer(uint32(4))},
			{Path: "/dev/disk", Type: "b", Major: 8, Minor: 0},
		}
		s.Linux.Resources.Devices = append(s.Linux.Resources.Devices, specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: pointer(int64(1)), Minor: pointer(int64(5)), Access: "rwm"})
		errno := uint(95)
		s.Linux.Seccomp = &specs.LinuxSeccomp{
			DefaultAction: specs.ActAllow, Architectures: []specs.Arch{specs.ArchX86_64},
			Syscalls: []specs.LinuxSyscall{
				{Names: []string{"mkdir", "mkdirat"}, Action: specs.ActErrno, ErrnoRet: &errno},
				{Names: []string{"kill"}, Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{{Index: 1, Value: 10, Op: specs.OpEqualTo}}},
				{Names: []string{"symlink", "symlinkat"}, Action: specs.ActKillProcess},
			},
		}
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: "time"})
		commands := [][3]string{
			{"sysctl ipc", "cat /proc/sys/kernel/shm_rmid_forced /proc/sys/fs/mqueue/msg_max", "1\n7"},
			{"sysctl net", "cat /proc/sys/net/ipv4/ip_unprivileged_port_start", "80"},
			{"sysctl cell", "cat /proc/sys/vm/max_map_count", "70001"},
			{"device", "stat -c '%a %u %g %t %T' /dev/nothing; head -c 3 /dev/nothing | od -An -tx1", "644 3 4 1 5\n 00 00 00"},
			{"other device", "mknod /tmp/kmsg c 1 11; cat /tmp/kmsg", "cat: can't open '/tmp/kmsg': Operation not permitted"},
			{"host device", "ls /dev/disk", "ls: /dev/disk: No such file or directory"},
			{"seccomp errno", "mkdir /tmp/d", "mkdir: can't create directory '/tmp/d': Operation not supported"},
			{"seccomp argument", "kill -USR1 $$; kill -0 $$ && echo alive", "sh: can't kill pid 1: Operation not permitted\nalive"},
			{"seccomp kill", "ln -s a /tmp/b; echo $?", "Bad system call\n159"},
			{"seccomp mode", "grep Seccomp: /proc/self/status", "Seccomp:\t2"},
		}
		s.Process.Args = script(commands)
		compare(t, run(t, d, "linux", s), commands)
	})
	t.Run("user namespace", func(t *testing.T) {
		s := base(root(t))
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: "user"})
		s.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 1000, Size: 10}}
		s.Linux.GIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 2000, Size: 10}}
		if err := os.Chown(filepath.Join(s.Root.Path, "tmp"), 1000, 2000); err != nil {
			t.Fatal(err)
		}
		commands := [][3]string{
			{"uid map", "tr -s ' ' </proc/self/uid_map", "0 1000 10"},
			{"gid map", "tr -s ' ' </proc/self/gid_map", "0 2000 10"},
			{"owner", "touch /tmp/f; stat -c '%u %g' /tmp/f", "0 0"},
		}
		s.Process.Args = script(commands)
		compare(t, run(t, d, "userns", s), commands)
		if out, err := exec.Command("stat", "-c", "%u %g", filepath.Join(s.Root.Path, "tmp/f")).Output(); err != nil || string(out) != "1000 2000\n" {
			t.Errorf("on the host it belongs to %q, %v", out, err)
		}
	})
	t.Run("limits", func(t *testing.T) {
		s := base(root(t))
		r := s.Linux.Resources
		r.Pids = &specs.LinuxPids{Limit: pointer(int64(12))}
		r.Memory = &specs.LinuxMemory{Limit: pointer(int64(32 << 20)), Swap: pointer(int64(32 << 20)), Reservation: pointer(int64(1 << 20))}
		r.CPU = &specs.LinuxCPU{Shares: pointer(uint64(512)), Quota: pointer(int64(20000)), Period: pointer(uint64(100000)), Burst: pointer(uint64(1000))}
		r.Unified = map[string]string{"memory.high": "30000000"}
		commands := [][3]string{
			{"pids", "cat /sys/fs/cgroup/pids.max", "12"},
			{"memory", "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory.low /sys/fs/cgroup/memory.swap.max", "33554432\n1048576\n0"},
			{"unified", "cat /sys/fs/cgroup/memory.high", "29999104"},
			{"cpu", "cat /sys/fs/cgroup/cpu.max /sys/fs/cgroup/cpu.max.burst", "20000 100000\n1000"},
			{"weight", "cat /sys/fs/cgroup/cpu.weight", "20"},
			{"cell", "awk '/MemTotal/ { print ($2 > 60000 && $2 < 98304) }' /proc/meminfo", "1"},
			{"too many", "(for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do sleep 4 & done; wait) 2>&1 | grep -c -m1 fork", "1"},
			{"throttled", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; awk '/nr_throttled/ { print ($2 > 0) }' /sys/fs/cgroup/cpu.stat", "1"},
		}
		s.Process.Args = script(commands)
		compare(t, run(t, d, "limits", s), commands)
	})
	t.Run("annotations", func(t *testing.T) {
		for value, want := range map[string]string{"true": "rewrite on\n", "false": "rewrite off\n"} {
			s := base(root(t))
			s.Annotations = map[string]string{"io.paracell.rewriting": value}
			s.Process.Args = []string{"grep", "rewrite [a-z]*$", "/proc/paracell/calls"}
			if r := run(t, d, "annotations", s); r.status != 0 || r.out != want {
				t.Errorf("rewriting %s: %+v", value, r)
			}
		}
	})
	t.Run("memory is enforced", func(t *testing.T) {
		s := base(root(t))
		s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: pointer(int64(32 << 20))}
		s.Process.Args = []string{"sh", "-c", "tail /dev/zero; echo $?; grep -w oom_kill /sys/fs/cgroup/memory.events"}
		if r := run(t, d, "memory", s); r.status != 0 || !strings.HasSuffix(r.out, "137\noom_kill 1\n") {
			t.Errorf("%+v", r)
		}
	})
}
