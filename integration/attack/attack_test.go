// SPDX-License-Identifier: Apache-2.0

package attack

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/paracell/paracell/integration/guestprog"
	"github.com/paracell/paracell/internal/testenv"
	"github.com/paracell/paracell/vmm/kvm"
	"github.com/paracell/paracell/vmm/platform"
	"github.com/paracell/paracell/xgate/abi"
	kvmmonitor "github.com/paracell/paracell/xgate/monitor/kvm"
	monitor "github.com/paracell/paracell/xgate/monitor/process"
	"github.com/paracell/paracell/xgate/scan"
)

const (
	stopped   = 0
	succeeded = 1
	killed    = 128 + 9
)

// attacks lists every program of this folder.
var attacks = []struct {
	name string
	// keys: the attack meets nothing but protection keys, so without them
	// it must not be tried for its own sake.
	keys bool
	// mayKill: where an interrupt meets the attack decides whether the
	// kernel kills it for having entered the monitor's stack. Both stop it.
	mayKill bool
	// views: nothing but the views of executable pages stops it, so with
	// paracell.text=off it has to succeed.
	views bool
	// process: the attack is on what only the monitor of platform process has.
	process bool
	// monitor: the attack is by instructions, or starts at places of the
	// monitor, that the user of two page tables does not have.
	monitor bool
	// open says why the attack is not stopped yet.
	open string
}{
	{name: "host_call"},
	{name: "gate_flags"},
	{name: "gate_stack", mayKill: true},
	{name: "gate_return"},
	{name: "gate_step"},
	{name: "gate_signals"},
	{name: "map_window"},
	{name: "deputy"},
	{name: "async_memory"},
	{name: "pkeys"},
	{name: "sigreturn"},
	{name: "jump_syscall", monitor: true},
	{name: "far_jump"},
	{name: "bases"},
	{name: "vectors"},
	{name: "peer"},
	{name: "trampoline"},
	{name: "read_memory", keys: true},
	{name: "write_memory", keys: true},
	{name: "selector", keys: true, process: true},
	{name: "jump_kernel", keys: true},
	{name: "jump_wrpkru", keys: true},
	{name: "jump_frame", monitor: true},
	{name: "jump_everywhere", keys: true},
	{name: "scan_vectors", monitor: true, views: true},
	{name: "wrpkru", views: true},
	{name: "wrpkru_places", views: true},
	{name: "wrpkru_written", views: true},
	{name: "wrpkru_race", views: true},
	{name: "xrstor", views: true},
}

// patience is how long all programs in one cell may take.
func patience(w where) time.Duration {
	if w.hangs {
		return 5 * time.Second
	}
	if testenv.Emulated() {
		return 8 * time.Minute
	}
	return 2 * time.Minute
}

// programs returns the folder of the built programs.
func programs(t *testing.T) string {
	t.Helper()
	list := guestprog.Build(t, "integration/attack/programs", "attack")
	for _, a := range attacks {
		if !slices.ContainsFunc(list, func(p string) bool { return filepath.Base(p) == a.name }) {
			t.Fatalf("%s is not built", a.name)
		}
	}
	return filepath.Dir(list[0])
}

// arguments tells the programs what an attacker takes from the public files:
// symbols of the kernel and the monitor, and where the monitor has its
// privileged instructions.
func arguments(t *testing.T, w where) []string {
	t.Helper()
	image, args := monitorOf(t, w)
	var skip []uint64
	if w.platform == "kvm" {
		// It is mapped for the user elsewhere, and not with protection keys.
		var at uint64
		if _, err := fmt.Sscanf(symbols(t, bytes.NewReader(image), "monitor", "gate_call_syscall")[0], "monitor.gate_call_syscall=%x", &at); err != nil {
			t.Fatal(err)
		}
		skip = append(skip, at)
	}
	kernel, err := os.ReadFile(testenv.Built(t, "paracell-kernel"))
	if err != nil {
		t.Fatal(err)
	}
	args = append(args, symbols(t, bytes.NewReader(kernel), "kernel", "panic", "init_task", "linux_banner",
		"commit_creds", "kernel_restart", "_stext", "_etext", "paracell_userspace", "memcpy")...)
	for _, kind := range []scan.Kind{scan.WRPKRU, scan.Syscall} {
		found, err := scan.Image(bytes.NewReader(image), kind, nil)
		if err != nil || len(found) == 0 {
			t.Fatalf("no %v in the monitor: %v", kind, err)
		}
		var list []string
		for _, f := range found {
			if slices.Contains(skip, f.Addr) {
				continue
			}
			list = append(list, strconv.FormatUint(f.Addr, 16))
		}
		args = append(args, kind.String()+"="+strings.Join(list, ","))
	}
	args = append(args, "iretq="+strings.Join(irets(t, image), ","))
	isolation := map[platform.Isolation]string{
		platform.IsolationNone: "0", platform.IsolationMPK: "1", platform.IsolationPageTable: "2",
	}
	lost := "0"
	if w.platform == "kvm" && quirky() {
		lost = "4000" // NT: see docs/kvm.md
	}
	control := "control=0"
	if w.control {
		control = "control=1"
	}
	process := "process=0"
	if w.platform == "process" {
		process = "process=1"
	}
	return append(args, "isolation="+isolation[w.mode], "lost_flags="+lost, control, process)
}

// where is what an attack runs on.
type where struct {
	platform string
	mode     platform.Isolation
	off      *off // nil: all defences are on
	control  bool // the attack has to succeed
	hangs    bool // it may do so by a cell that hangs
}

// monitorOf returns the image of the monitor and its symbols, under the names
// of platform process; what has the same part to play there has the name.
func monitorOf(t *testing.T, w where) (image []byte, args []string) {
	t.Helper()
	if w.platform == "process" {
		image, err := monitor.Image()
		if w.off != nil && w.off.monitor != "" {
			image, err = os.ReadFile(w.off.image())
		}
		if err != nil {
			t.Fatal(err)
		}
		return image, symbols(t, bytes.NewReader(image), "monitor", "altstack", "in_user", "selector", "scratch_ax",
			"gate_ip", "exit_gate", "sig_entry", "sig_restorer", "fp_restore", "_start")
	}
	image, err := kvmmonitor.Image()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{
		"altstack": "emergency_stack", "in_user": "in_user", "selector": "gate_ip", "scratch_ax": "scratch_ax", "gate_ip": "gate_ip",
		"exit_gate": "exit_gate", "sig_entry": "trap_entry", "sig_restorer": "trap_window_end", "fp_restore": "fp_restore", "_start": "monitor_main",
	}
	found := symbols(t, bytes.NewReader(image), "monitor", slices.Sorted(maps.Values(names))...)
	for name, symbol := range names {
		for _, f := range found {
			if value, ok := strings.CutPrefix(f, "monitor."+symbol+"="); ok {
				args = append(args, "monitor."+name+"="+value)
			}
		}
	}
	if w.mode == platform.IsolationPageTable {
		// Of the gates the user has the page with the code, and no other.
		args = append(slices.DeleteFunc(args, func(a string) bool { return strings.HasPrefix(a, "monitor.selector=") }),
			fmt.Sprintf("monitor.selector=%x", uint64(abi.MonitorBase+abi.EntryGate)))
	}
	return image, args
}

// irets are the addresses of the iretq instructions in the monitor.
func irets(t *testing.T, image []byte) []string {
	t.Helper()
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, p := range f.Progs {
		if p.Type != elf.PT_LOAD || p.Flags&elf.PF_X == 0 {
			continue
		}
		code, err := io.ReadAll(p.Open())
		if err != nil {
			t.Fatal(err)
		}
		for i := range code {
			if bytes.HasPrefix(code[i:], []byte{0x48, 0xcf}) {
				list = append(list, strconv.FormatUint(p.Vaddr+uint64(i), 16))
			}
		}
	}
	return list
}

func symbols(t *testing.T, r *bytes.Reader, prefix string, names ...string) []string {
	t.Helper()
	f, err := elf.NewFile(r)
	if err != nil {
		t.Fatal(err)
	}
	all, err := f.Symbols()
	if err != nil {
		t.Fatalf("symbols of the %s: %v", prefix, err)
	}
	found := map[string]string{}
	for _, s := range all {
		if slices.Contains(names, s.Name) {
			found[s.Name] = fmt.Sprintf("%s.%s=%x", prefix, s.Name, s.Value)
		}
	}
	for _, n := range names {
		if found[n] == "" {
			t.Fatalf("the %s has no symbol %s", prefix, n)
		}
	}
	return slices.Sorted(maps.Values(found))
}

// cell runs programs one after the other in one cell and returns the status of
// each that ended, and the whole output. options are more arguments of the run.
func cell(t *testing.T, dir string, w where, names []string, options ...string) (map[string]int, string) {
	t.Helper()
	paths := []string{filepath.Join(dir, "runner")}
	for _, name := range names {
		paths = append(paths, filepath.Join(dir, name))
	}
	root := guestprog.Root(t, paths...)
	ctx, cancel := context.WithTimeout(t.Context(), patience(w))
	defer cancel()
	args := append([]string{"run", "--platform", w.platform, "--isolation", string(w.mode), "--rootfs", root}, options...)
	args = append(append(args, "--", "/bin/runner"), names...)
	args = append(append(args, "--"), arguments(t, w)...)
	cmd := exec.CommandContext(ctx, testenv.Built(t, "paracell"), args...)
	if w.off != nil {
		w.off.apply(t, cmd)
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%v\n%s", err, out)
	}
	if ctx.Err() != nil && !w.hangs {
		t.Errorf("the cell did not end in time")
	}
	results := map[string]int{}
	for line := range strings.Lines(string(out)) {
		var name string
		var status int
		if n, _ := fmt.Sscanf(line, "result %s %d", &name, &status); n == 2 {
			results[name] = status
			t.Log(strings.TrimSpace(line))
		}
	}
	return results, string(out)
}

// TestAttack makes the attacks that have to fail on this machine.
func TestAttack(t *testing.T) {
	testenv.Root(t)
	testenv.Built(t, "paracell-kernel")
	testenv.Built(t, "paracell-init")
	mode := testenv.Isolation()
	testenv.ProcessPlatform(t, mode)
	attack(t, where{platform: "process", mode: mode})
}

// TestAttackKVM makes them in virtual machines.
func TestAttackKVM(t *testing.T) {
	testenv.Root(t)
	testenv.Built(t, "paracell-kernel")
	testenv.Built(t, "paracell-init")
	for _, mode := range []platform.Isolation{platform.IsolationMPK, platform.IsolationPageTable} {
		if mode == platform.IsolationPageTable && testenv.Emulated() {
			continue // the host has done it, and the machine is slow
		}
		t.Run(string(mode), func(t *testing.T) {
			testenv.KVMPlatform(t, mode)
			attack(t, where{platform: "kvm", mode: mode})
		})
	}
}

// quirky says whether this is a host whose KVM emulates ring 0.
func quirky() bool {
	return slices.ContainsFunc(kvm.New().Probe().Checks, func(c platform.Check) bool { return c.Detail == kvm.Quirk })
}

func attack(t *testing.T, w where) {
	dir := programs(t)
	var names []string
	for _, a := range attacks {
		switch {
		case w.mode == platform.IsolationNone && a.keys,
			w.platform != "process" && a.process,
			w.mode == platform.IsolationPageTable && (a.monitor || a.views):
		default:
			names = append(names, a.name)
		}
	}
	results, out := cell(t, dir, w, names)
	for _, a := range attacks {
		if !slices.Contains(names, a.name) {
			continue
		}
		t.Run(a.name, func(t *testing.T) {
			switch status, ended := results[a.name]; {
			case !ended:
				t.Error("no result: the cell ended before or in it")
			case a.open != "" && status == succeeded:
				t.Skipf("not yet defended: %s", a.open)
			case a.open != "":
				t.Errorf("status %d: if it is stopped now, it is open no more", status)
			case status == killed && a.mayKill:
			case status != stopped:
				t.Errorf("status %d", status)
			}
		})
	}
	if t.Failed() {
		t.Logf("output of the cell:\n%s", out)
	}
}
