// SPDX-License-Identifier: Apache-2.0

package attack

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/paracell/paracell/integration/guestprog"
	"github.com/paracell/paracell/internal/testenv"
	"github.com/paracell/paracell/vmm/platform"
	"github.com/paracell/paracell/xgate/abi"
	monitor "github.com/paracell/paracell/xgate/monitor/process"
)

// off is a test build without one defence. The programs that users get have no
// switch for any of them: the monitor is built anew, with what
// xgate/monitor/process/src/off.h says left out, and a program that runs it; of
// the kernel a copy of the image is changed.
type off struct {
	name    string
	monitor string // OFF_... of off.h
	kernel  func(*testing.T, *kernelImage)
	args    []string // of the run
}

// folder is where test builds are.
func folder() string { return filepath.Join(testenv.Top(), "bin", "attack-off") }

func (o *off) image() string { return filepath.Join(folder(), "monitor-"+o.monitor) }

// apply makes a command run the test build.
func (o *off) apply(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if o.monitor != "" {
		cmd.Path = filepath.Join(folder(), "paracell")
		cmd.Env = append(os.Environ(), "PARACELL_ATTACK_MONITOR="+o.image())
	}
	args := slices.Clone(o.args)
	if o.kernel != nil {
		args = append(args, "--kernel", changedKernel(t, o.kernel))
	}
	cmd.Args = slices.Insert(cmd.Args, 2, args...)
}

// buildOff makes the test builds.
func buildOff(t *testing.T) {
	t.Helper()
	if testenv.Emulated() {
		return // made outside
	}
	guestprog.Make(t, "integration/attack/off")
}

// control says of an attack what stops it: with that switched off it succeeds,
// or its failure would prove nothing.
type control struct {
	attack string
	off    off
	// keys: it shows only where there are protection keys.
	keys bool
	// says is in the output. A program prints what it has gained; where the
	// cell ends of it, the reason is there instead.
	says []string
	// ends: the attack ends the cell.
	ends bool
	// wild: what comes of it depends on where it meets the kernel. The cell
	// ends, hangs, or the program says what it has gained.
	wild bool
}

var controls = []control{
	{attack: "read_memory", off: noKeys, says: []string{
		"read kernel text", "read kernel data", "read kernel rodata", "read linear map", "read first page",
		"read control area", "read monitor text", "read entry gate", "read monitor data", "read signal stack",
	}},
	{attack: "write_memory", off: noKeys, says: []string{
		"write kernel data", "write linear map", "write control area", "write selector",
		"write exit registers", "write monitor data", "write signal stack",
	}},
	{attack: "selector", off: noKeys, says: []string{"a call of the host", "wrote the selector"}},
	{attack: "jump_kernel", off: noKeys, says: []string{"memcpy read"}},
	{attack: "gate_return", off: noKeys, ends: true, says: []string{"panic"}},
	{attack: "host_call", off: off{name: "selector is not set to BLOCK", monitor: "SELECTOR"}, says: []string{"the host has written"}},
	{attack: "jump_syscall", off: off{name: "selector is not set to BLOCK", monitor: "SELECTOR"}, says: []string{"the host has written"}},
	{attack: "jump_frame", off: off{name: "frames are not judged", monitor: "FRAME"}, says: []string{"has used the stack"}},
	{attack: "gate_flags", off: off{name: "flags are not cleared", monitor: "FLAGS"}, wild: true},
	{attack: "gate_stack", off: off{name: "the gate keeps the stack", monitor: "STACK"}, ends: true},
	{attack: "gate_step", off: off{name: "steps in the gate are the user's", monitor: "STEP"}, ends: true, says: []string{"fault in the monitor: trap 1 "}},
	{attack: "gate_signals", off: off{name: "the gate is not started over", monitor: "RESTART"}, says: []string{"the inside of the gate"}},
	{attack: "bases", off: off{name: "the gate trusts GS", monitor: "BASES"}, ends: true, says: []string{"fault in the monitor"}},
	{attack: "vectors", off: off{name: "one exception is the host's", monitor: "VECTORS"}, ends: true, says: []string{"killed by signal 8"}},
	{attack: "far_jump", off: off{name: "a selector that leads somewhere"}, says: []string{"a far jump to a segment from 0x30 on"}},
	{attack: "map_window", off: off{name: "the user's half ends higher", kernel: largeUser}, says: []string{"munmap at"}},
	{attack: "deputy", off: off{name: "user addresses are not translated", kernel: trusting}, says: []string{"write() from"}},
	{attack: "async_memory", off: off{name: "user addresses are not translated", kernel: trusting}, says: []string{"was written to a pipe"}},
	{attack: "pkeys", off: off{name: "pkey_alloc answers", kernel: someKeys}, says: []string{"pkey_alloc"}},
	{attack: "sigreturn", off: off{name: "faults of the exit gate", monitor: "EXIT"}, ends: true, says: []string{"fault in the monitor"}},
	{attack: "sigreturn", off: off{name: "flags of frames are not chosen from", kernel: anyFlags}, says: []string{"forged context 1"}},
	{attack: "trampoline", off: off{name: "low pages can be mapped", kernel: lowPages}, says: []string{"the page at"}},
	{attack: "jump_wrpkru", off: off{name: "PKRU is not compared", monitor: "COMPARE"}, keys: true, says: []string{"wrpkru at"}},
	{attack: "peer", off: off{name: "user addresses are not translated", kernel: trusting}, says: []string{"on the kernel's memory gives"}},
	{attack: "peer", off: off{name: "frames are not judged", monitor: "FRAME"}, says: []string{"the stack of the other process"}},
	{attack: "peer", off: noKeys, says: []string{"the exit gate has let the other process go"}},
	{attack: "peer", off: off{name: "PKRU is not compared", monitor: "COMPARE"}, keys: true, says: []string{"sent through wrpkru"}},
	{attack: "jump_everywhere", off: off{name: "who jumps to xrstor goes on", monitor: "XRSTOR"}, keys: true, says: []string{"jump to"}},
	{attack: "wrpkru", off: noViews, keys: true, says: []string{"succeeded"}},
	{attack: "wrpkru_places", off: noViews, keys: true, says: []string{"succeeded"}},
	{attack: "wrpkru_written", off: noViews, keys: true, says: []string{"succeeded"}},
	{attack: "wrpkru_race", off: noViews, keys: true, says: []string{"succeeded"}},
	{attack: "xrstor", off: noViews, keys: true, says: []string{"succeeded"}},
	{attack: "scan_vectors", off: noViews, keys: true},
}

var (
	noKeys  = off{name: "no protection keys"} // isolation none
	noViews = off{name: "no text views", args: []string{"--kernel-arg", "paracell.text=off"}}
)

// TestControl makes each attack with its defence switched off.
func TestControl(t *testing.T) {
	testenv.Root(t)
	testenv.Built(t, "paracell-kernel")
	testenv.Built(t, "paracell-init")
	mode := testenv.Isolation()
	testenv.ProcessPlatform(t, mode)
	dir := programs(t)
	buildOff(t)
	for _, a := range attacks {
		if !slices.ContainsFunc(controls, func(c control) bool { return c.attack == a.name }) {
			t.Errorf("%s has no control", a.name)
		}
	}
	type output struct {
		results map[string]int
		text    string
	}
	cells := map[string]output{} // by what is off: a boot takes long with keys
	for _, c := range controls {
		if c.keys != (mode == platform.IsolationMPK) {
			continue // the other kind is tried where the other mode is
		}
		t.Run(c.attack+"/"+c.off.name, func(t *testing.T) {
			names := []string{c.attack}
			if !c.ends && !c.wild {
				names = nil
				for _, other := range controls {
					if other.off.name == c.off.name && other.keys == c.keys && !other.ends {
						names = append(names, other.attack)
					}
				}
			}
			key := c.off.name + ": " + strings.Join(names, " ")
			out, known := cells[key]
			if !known {
				w := where{platform: "process", mode: mode, off: &c.off, control: true, hangs: c.wild}
				out.results, out.text = cell(t, dir, w, names)
				cells[key] = out
			}
			status, ended := out.results[c.attack]
			switch {
			case ended && status != succeeded, c.ends && ended, !c.ends && !c.wild && !ended:
				t.Errorf("%s: ended by itself %v, status %d", c.off.name, ended, status)
			}
			for _, want := range c.says {
				if !strings.Contains(out.text, want) {
					t.Errorf("%s: it does not say %q", c.off.name, want)
				}
			}
			if t.Failed() {
				t.Logf("output of the cell:\n%s", out.text)
			}
		})
	}
}

// TestTable compares the table in SECURITY.md with what is tested.
func TestTable(t *testing.T) {
	if testenv.Emulated() {
		t.Skip("the text is not in the machine")
	}
	text, err := os.ReadFile(filepath.Join(testenv.Top(), "SECURITY.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.TrimSpace(line), " | ")
		if len(cells) != 5 {
			continue
		}
		if _, name, ok := strings.Cut(cells[2], "[`"); ok {
			name, _, _ = strings.Cut(name, "`]")
			rows[name] = cells
		}
	}
	for _, a := range attacks {
		var outcomes []string
		for _, c := range controls {
			switch {
			case c.attack != a.name:
			case c.ends:
				outcomes = append(outcomes, c.off.name+": the cell ends")
			case c.wild:
				outcomes = append(outcomes, c.off.name+": succeeds, or the cell hangs")
			default:
				outcomes = append(outcomes, c.off.name+": succeeds")
			}
		}
		row := rows[a.name]
		if outcomes == nil || row == nil {
			t.Errorf("%s has no control or no row", a.name)
			continue
		}
		want := strings.Join(outcomes, "; ")
		if got := strings.TrimSuffix(row[4], " |"); got != want {
			t.Errorf("%s: %q, in the table %q", a.name, want, got)
		}
		if a.open == "" && row[3] != "stopped" && a.name != "scan_vectors" {
			t.Errorf("%s: in the table it is %q", a.name, row[3])
		}
	}
	for name := range rows {
		if strings.Contains(rows[name][2], "attack/programs/") && !slices.ContainsFunc(controls, func(c control) bool { return c.attack == name }) {
			t.Errorf("the table has %s, which is no attack", name)
		}
	}
}

// TestProductionHasNoSwitch: what users get cannot be told to leave out a defence.
func TestProductionHasNoSwitch(t *testing.T) {
	image, err := monitor.Image()
	if err != nil {
		t.Skip(err)
	}
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	symbols, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range symbols {
		if s.Name == "defence_off" {
			t.Error("the monitor is a test build")
		}
	}
	for _, name := range []string{"paracell", "containerd-shim-paracell-v2"} {
		b, err := os.ReadFile(testenv.Built(t, name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(b, image) {
			t.Errorf("%s does not carry the monitor of this build", name)
		}
		if bytes.Contains(b, []byte("PARACELL_ATTACK"+"_MONITOR")) {
			t.Errorf("%s takes a monitor from outside", name)
		}
	}
}

// kernelImage is a copy of the guest kernel that is changed.
type kernelImage struct {
	bytes []byte
	file  *elf.File
}

func changedKernel(t *testing.T, change func(*testing.T, *kernelImage)) string {
	t.Helper()
	b, err := os.ReadFile(testenv.Built(t, "paracell-kernel"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	change(t, &kernelImage{b, f})
	name := filepath.Join(t.TempDir(), "kernel")
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

// at is what is at a symbol, and its address.
func (k *kernelImage) at(t *testing.T, symbol string) ([]byte, uint64) {
	t.Helper()
	all, err := k.file.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if s.Name != symbol {
			continue
		}
		for _, p := range k.file.Progs {
			if p.Type == elf.PT_LOAD && s.Value >= p.Vaddr && s.Value < p.Vaddr+p.Filesz {
				return k.bytes[p.Off+s.Value-p.Vaddr : p.Off+p.Filesz], s.Value
			}
		}
	}
	t.Fatalf("the kernel has no %s", symbol)
	return nil, 0
}

// function is the code from a function on, and its size.
func (k *kernelImage) function(t *testing.T, name string) ([]byte, uint64) {
	t.Helper()
	code, _ := k.at(t, name)
	all, err := k.file.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(s elf.Symbol) bool { return s.Name == name })
	return code, all[i].Size
}

// moveEnd makes functions compare addresses with the end of the address space
// in place of that of the user's half.
func (k *kernelImage) moveEnd(t *testing.T, functions ...string) {
	t.Helper()
	moved := 0
	for _, f := range functions {
		code, size := k.function(t, f)
		for _, d := range []uint64{0, 1} {
			from := binary.LittleEndian.AppendUint64(nil, abi.UserMax-d)
			to := binary.LittleEndian.AppendUint64(nil, abi.WindowEnd-d)
			for at := bytes.Index(code[:size], from); at >= 0; at = bytes.Index(code[:size], from) {
				copy(code[at:], to)
				moved++
			}
		}
	}
	if moved < len(functions) {
		t.Errorf("%d comparisons in %v", moved, functions)
	}
}

// largeUser lets the user unmap what is above its half.
func largeUser(t *testing.T, k *kernelImage) {
	t.Helper()
	k.moveEnd(t, "do_vmi_munmap")
}

// trusting makes the kernel use an address of its own half, which a user has
// given it, as it is.
func trusting(t *testing.T, k *kernelImage) {
	t.Helper()
	k.moveEnd(t, "vfs_write", "import_ubuf", "_copy_from_iter")
	// In a function that nobody needs: the address itself, or the walk of the
	// user's page tables.
	stub, at := k.at(t, "kernel_restart")
	_, walk := k.at(t, "user_ptr")
	code := []byte{0x48, 0x89, 0xf8, 0x48, 0xb9} // mov %rdi, %rax; movabs $PhysBase, %rcx
	code = binary.LittleEndian.AppendUint64(code, abi.PhysBase)
	code = append(code, 0x48, 0x39, 0xcf, 0x73, 0x05, 0xe9) // cmp %rcx, %rdi; jae to ret; jmp user_ptr
	code = binary.LittleEndian.AppendUint32(code, uint32(walk-(at+uint64(len(code))+4)))
	copy(stub, append(code, 0xc3))
	calls := 0
	for _, f := range []string{"raw_copy_from_user", "raw_copy_to_user"} {
		code, size := k.function(t, f)
		_, base := k.at(t, f)
		for i := range size - 5 {
			rel := code[i+1 : i+5]
			if code[i] == 0xe8 && base+uint64(i)+5+uint64(int64(int32(binary.LittleEndian.Uint32(rel)))) == walk {
				binary.LittleEndian.PutUint32(rel, uint32(at-(base+uint64(i)+5)))
				calls++
			}
		}
	}
	if calls == 0 {
		t.Error("nothing calls user_ptr")
	}
}

// someKeys lets a call that there is stand for pkey_alloc.
func someKeys(t *testing.T, k *kernelImage) {
	t.Helper()
	const nrPkeyAlloc = 330
	table, _ := k.at(t, "sys_call_table")
	_, getpid := k.at(t, "sys_getpid")
	binary.LittleEndian.PutUint64(table[8*nrPkeyAlloc:], getpid)
}

// anyFlags lets a signal frame bring flags that it must not.
func anyFlags(t *testing.T, k *kernelImage) {
	t.Helper()
	const chosen, more = 0x50dd5, 0xa7000 // FIX_EFLAGS; IOPL, NT, VM, VIF
	code, size := k.function(t, "sys_rt_sigreturn")
	changed := 0
	for _, c := range []struct{ from, to uint32 }{{chosen, chosen | more}, {^uint32(chosen), ^uint32(chosen | more)}} {
		from := binary.LittleEndian.AppendUint32(nil, c.from)
		for at := bytes.Index(code[:size], from); at >= 0; at = bytes.Index(code[:size], from) {
			binary.LittleEndian.PutUint32(code[at:], c.to)
			changed++
		}
	}
	if changed == 0 {
		t.Error("sys_rt_sigreturn does not choose flags")
	}
}

// lowPages lets the user map where null pointers lead.
func lowPages(t *testing.T, k *kernelImage) {
	t.Helper()
	code, size := k.function(t, "__get_unmapped_area")
	compare := []byte{0xff, 0xff, 0, 0} // what is not more is refused
	at := bytes.Index(code[:size], compare)
	if at < 0 {
		t.Fatal("nothing is compared with the lowest address")
	}
	copy(code[at:], []byte{0, 0, 0, 0})
}
