// SPDX-License-Identifier: Apache-2.0

package process

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/paracell/paracell/vmm/platform"
	"github.com/paracell/paracell/vmm/platform/platformtest"
	"github.com/paracell/paracell/xgate/abi"
)

// jailed runs a guest in the real monitor with the given allow-list, on the
// strongest isolation of this machine.
func jailed(t *testing.T, g *platformtest.Guest, rules []rule) platform.Machine {
	t.Helper()
	m := createJailed(t, g, rules)
	if err := m.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	return m
}

func createJailed(t *testing.T, g *platformtest.Guest, rules []rule) platform.Machine {
	t.Helper()
	p := New()
	p.rules = rules
	mode := platform.IsolationMPK
	if p.Probe().Err(mode) != nil {
		mode = platform.IsolationNone
	}
	if err := p.Probe().Err(mode); err != nil {
		t.Skip(err)
	}
	m, err := p.Create(context.Background(), platform.Config{
		Name: "jail", MemSize: 64 << 20, Vcpus: 1, Isolation: mode, Kernel: g.Image(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func waitEnd(t *testing.T, m platform.Machine) platform.Exit {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	x, err := m.Wait(ctx)
	if err != nil {
		t.Fatalf("Wait: %v", err)
	}
	return x
}

// warden returns the PID of the first process of this test's only cell.
func warden(t *testing.T) int {
	t.Helper()
	files, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		for _, word := range strings.Fields(string(b)) {
			if pid, err := strconv.Atoi(word); err == nil {
				return pid
			}
		}
	}
	t.Fatal("no cell runs")
	return 0
}

// processes returns the PIDs of a cell, the warden's first.
func processes(t *testing.T, warden int) []int {
	t.Helper()
	pids := []int{warden}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", warden, warden))
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range strings.Fields(string(b)) {
		pid, err := strconv.Atoi(word)
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

// awaitConsole waits until the guest has said something.
func awaitConsole(t *testing.T, m platform.Machine) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); m.Stats().ConsoleBytes == 0; {
		if time.Now().After(end) {
			t.Fatal("the guest says nothing")
		}
		time.Sleep(time.Millisecond)
	}
}

func idle() *platformtest.Guest {
	return new(platformtest.Guest).Say("up").Call(abi.CallIdle).Again()
}

// userPage maps guest memory at the lowest user address.
var userPage = abi.MapOp{
	Op: abi.OpMap, Prot: abi.ProtRead | abi.ProtWrite, VA: abi.UserMin, Len: abi.PageSize, GPA: platformtest.ScratchGPA,
}

// manySpaces creates and destroys so many address spaces that the warden has
// more processes in stock than it wants and waits, with a timeout, for a quiet
// moment to end some.
func manySpaces() *platformtest.Guest {
	const n = 12
	g := new(platformtest.Guest)
	for range n {
		g.Call(abi.CallASCreate)
	}
	for id := range n {
		g.Call(abi.CallASDestroy, uint64(id+1))
	}
	return g.Say("ready").Call(abi.CallIdle)
}

// movedAbout goes to and fro between two address spaces, and says each time that
// the vCPU was on a processor that there is not.
func movedAbout() *platformtest.Guest {
	const (
		nowhere  = 0xfff << 16
		zero     = abi.PhysBase + platformtest.ScratchGPA
		other    = zero + 8
		segfault = 0 // an address that is not mapped
	)
	// mov $100000, %ecx; loop: the other process goes to sleep, and finds it when it wakes.
	wait := []byte{0xb9, 0xa0, 0x86, 1, 0, 0xe2, 0xfe}
	g := new(platformtest.Guest).OwnStack().Call(abi.CallASCreate).Keep(other)
	for range 50 {
		g.Raw(wait...).EnterFrom(other, nowhere, segfault).Raw(wait...).EnterFrom(zero, nowhere, segfault)
	}
	return g.Exit(0, abi.ReasonPowerOff)
}

// TestEveryRuleIsNeeded leaves out one rule after the other: a cell that does
// everything a cell does then dies of it, and says so.
func TestEveryRuleIsNeeded(t *testing.T) {
	const powerOff = abi.ReasonPowerOff
	guest := func() *platformtest.Guest { return new(platformtest.Guest) }
	protect := userPage
	protect.Op, protect.Prot = abi.OpProtect, abi.ProtRead
	needs := map[string]struct {
		g    *platformtest.Guest
		host func(*testing.T, platform.Machine)
	}{
		"futex":             {g: guest().Call(abi.CallIdle).Exit(0, powerOff)},
		"mmap":              {g: guest().Enter(0, userPage).Exit(0, powerOff)},
		"munmap":            {g: guest().Call(abi.CallKunmap, abi.VmallocBase, abi.PageSize).Exit(0, powerOff)},
		"mprotect":          {g: guest().Enter(0, userPage, protect).Exit(0, powerOff)},
		"timer_create":      {g: guest().Call(abi.CallTimer, 0).Exit(0, powerOff)},
		"timer_settime":     {g: guest().Call(abi.CallTimer, 0).Exit(0, powerOff)},
		"sched_setaffinity": {g: movedAbout()},
		"write":             {g: guest().Say("x").Exit(0, powerOff)},
		"tgkill":            {g: guest().Spin(), host: func(_ *testing.T, m platform.Machine) { _ = m.Kick(0) }},
		"clone":             {g: guest().Exit(0, powerOff)},
		"wait4":             {g: guest().Spin()},
		"prctl":             {g: guest().Exit(0, powerOff)},
		"getppid":           {g: guest().Exit(0, powerOff)},
		"exit_group":        {g: guest().Exit(0, powerOff)},
		"pkey_mprotect":     {g: guest().Call(abi.CallKmap, abi.VmallocBase, platformtest.ScratchGPA, abi.PageSize, abi.ProtRead).Exit(0, powerOff)},
		"restart_syscall": {g: manySpaces(), host: func(t *testing.T, m platform.Machine) {
			awaitConsole(t, m)
			pid := warden(t)
			// One of them meets it asleep. It ends with that.
			for range 30 {
				time.Sleep(20 * time.Millisecond)
				_ = syscall.Kill(pid, syscall.SIGSTOP)
				time.Sleep(10 * time.Millisecond)
				_ = syscall.Kill(pid, syscall.SIGCONT)
			}
		}},
	}
	keys := New().Probe().Err(platform.IsolationMPK) == nil
	for i, r := range allowList {
		t.Run(r.name, func(t *testing.T) {
			if r.name == "pkey_mprotect" && !keys {
				t.Skip("needs protection keys")
			}
			c, ok := needs[r.name]
			if !ok {
				t.Fatal("no guest needs it")
			}
			rules := slices.Delete(slices.Clone(allowList), i, i+1)
			if r.name == "exit_group" {
				// Without it no process can end, not even for lack of it.
				ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
				defer cancel()
				if err := createJailed(t, c.g, rules).Start(ctx); err == nil {
					t.Error("the cell started")
				}
				return
			}
			m := jailed(t, c.g, rules)
			if c.host != nil {
				c.host(t, m)
			}
			x := waitEnd(t, m)
			want := fmt.Sprintf("host call %d (%s) is not in the cell's allow-list", r.nr, r.name)
			if x.Reason != abi.ReasonDenied || x.Message != want {
				t.Errorf("exit %+v, not %q", x, want)
			}
		})
	}
}

// TestOtherCallsEndTheCell makes host calls that a cell must not make.
func TestOtherCallsEndTheCell(t *testing.T) {
	for _, nr := range []uint64{
		unix.SYS_OPEN, unix.SYS_READ, unix.SYS_SOCKET, unix.SYS_EXECVE, unix.SYS_PTRACE, unix.SYS_MOUNT, unix.SYS_UNSHARE,
		unix.SYS_BPF, unix.SYS_IO_URING_SETUP, unix.SYS_CLONE3, unix.SYS_FORK, unix.SYS_VFORK, unix.SYS_MREMAP, unix.SYS_BRK,
		unix.SYS_RT_SIGRETURN, unix.SYS_RT_SIGACTION, unix.SYS_PKEY_ALLOC, unix.SYS_FTRUNCATE, unix.SYS_KILL, unix.SYS_SECCOMP,
		unix.SYS_PROCESS_VM_READV, unix.SYS_MEMFD_CREATE, unix.SYS_CLOSE, unix.SYS_DUP,
		unix.SYS_MMAP, unix.SYS_MUNMAP, unix.SYS_WRITE, unix.SYS_PRCTL, // with arguments 0
		1 << 30, 100000,
	} {
		name := callName(int64(nr))
		t.Run(fmt.Sprintf("%d-%s", nr, name), func(t *testing.T) {
			m := jailed(t, new(platformtest.Guest).HostCall(nr, 0, 0, 0).Exit(0, abi.ReasonPowerOff), allowList)
			x := waitEnd(t, m)
			want := fmt.Sprintf("host call %d (%s) is not in the cell's allow-list", nr, name)
			if x.Reason != abi.ReasonDenied || x.Message != want {
				t.Errorf("exit %+v, not %q", x, want)
			}
		})
	}
	t.Run("int 0x80", func(t *testing.T) {
		// mov $20, %eax: getpid of 32-bit programs
		m := jailed(t, new(platformtest.Guest).Raw(0xb8, 20, 0, 0, 0, 0xcd, 0x80).Exit(0, abi.ReasonPowerOff), allowList)
		if x := waitEnd(t, m); x.OK() {
			t.Errorf("exit %+v", x)
		}
	})
}

// TestJail looks at the processes of a cell from outside.
func TestJail(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("has to run as root")
	}
	m := jailed(t, new(platformtest.Guest).Call(abi.CallASCreate).Say("up").Call(abi.CallIdle).Again(), allowList)
	awaitConsole(t, m)
	first := warden(t)
	pids := processes(t, first)
	if len(pids) < 3 {
		t.Errorf("only processes %v", pids)
	}
	for _, pid := range pids {
		checkStatus(t, pid)
		checkNamespacesDiffer(t, pid)
		checkFiles(t, pid)
		root, err := os.ReadDir(fmt.Sprintf("/proc/%d/root", pid))
		if err != nil || len(root) != 0 {
			t.Errorf("process %d: root directory holds %v, %v", pid, root, err)
		}
		probe := fmt.Sprintf("/proc/%d/root/x", pid)
		if err := os.WriteFile(probe, nil, 0o600); err == nil {
			t.Errorf("process %d: root directory is writable", pid)
		}
	}
}

func checkStatus(t *testing.T, pid int) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	status := map[string]string{}
	for _, line := range strings.Split(string(b), "\n") {
		k, v, _ := strings.Cut(line, ":")
		status[k] = strings.Join(strings.Fields(v), " ")
	}
	const none = "0000000000000000"
	for k, want := range map[string]string{
		"Uid": "65534 65534 65534 65534", "Gid": "65534 65534 65534 65534", "Groups": "",
		"CapInh": none, "CapPrm": none, "CapEff": none, "CapBnd": none, "CapAmb": none,
		"NoNewPrivs": "1", "Seccomp": "2", "Seccomp_filters": "1",
	} {
		if status[k] != want {
			t.Errorf("process %d: %s is %q, not %q", pid, k, status[k], want)
		}
	}
}

func checkNamespacesDiffer(t *testing.T, pid int) {
	t.Helper()
	for _, ns := range []string{"pid", "mnt", "net", "ipc", "uts", "cgroup"} {
		ours, err1 := os.Readlink("/proc/self/ns/" + ns)
		its, err2 := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, ns))
		if err1 != nil || err2 != nil || ours == its {
			t.Errorf("process %d: %s namespace %s, ours %s, %v %v", pid, ns, its, ours, err1, err2)
		}
	}
}

func checkFiles(t *testing.T, pid int) {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"3": "/memfd:paracell:jail", "4": "pipe:", "5": "anon_inode:[eventfd]"}
	for _, e := range entries {
		target, _ := os.Readlink(filepath.Join(dir, e.Name()))
		if w, ok := want[e.Name()]; !ok || !strings.HasPrefix(target, w) {
			t.Errorf("process %d: file %s is %s", pid, e.Name(), target)
		}
		delete(want, e.Name())
	}
	if len(want) != 0 {
		t.Errorf("process %d: files %v are missing", pid, want)
	}
}

// TestKilledProcessEndsTheCell: none of them can be missing unnoticed.
func TestKilledProcessEndsTheCell(t *testing.T) {
	for _, which := range []int{0, 1} {
		m := jailed(t, idle(), allowList)
		awaitConsole(t, m)
		pids := processes(t, warden(t))
		if len(pids) < 2 {
			t.Fatalf("processes %v", pids)
		}
		if err := syscall.Kill(pids[which], syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		x := waitEnd(t, m)
		if x.Reason != abi.ReasonChildDied || !strings.Contains(x.Message, "host process killed by signal 9 (SIGKILL)") {
			t.Errorf("process %d of the cell: exit %+v", which, x)
		}
	}
}

// TestStoppedCellGoesOn: job control of the host does not harm a cell.
func TestStoppedCellGoesOn(t *testing.T) {
	m := jailed(t, manySpaces().Exit(0, abi.ReasonPowerOff), allowList)
	awaitConsole(t, m)
	for range 5 {
		for _, s := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGCONT} {
			for _, pid := range processes(t, warden(t)) {
				if err := syscall.Kill(pid, s); err != nil && err != syscall.ESRCH {
					t.Error(err)
				}
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	if err := m.RaiseIRQ(abi.IRQConsole); err != nil {
		t.Fatal(err)
	}
	if x := waitEnd(t, m); !x.OK() {
		t.Errorf("exit %+v", x)
	}
}
