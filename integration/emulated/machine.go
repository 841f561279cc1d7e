// SPDX-License-Identifier: Apache-2.0

package emulated

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/paracell/paracell/vmm/boot"
)

// Defaults of Machine.
const (
	DefaultMemory  = 2048 // MiB
	DefaultCPUs    = 2
	DefaultTimeout = 5 * time.Minute
)

var (
	// ErrUnavailable says that this host cannot run the machine; the
	// wrapping error names what is missing.
	ErrUnavailable = errors.New("no emulated machine")
	// ErrNoResult says that the machine ended without an exit status of the
	// command: it did not boot, its kernel panicked or QEMU failed. The
	// wrapping error ends with the tail of the console.
	ErrNoResult = errors.New("the emulated machine ended without a result")
)

// Machine describes one run. The zero value of every field but Command is a
// sensible default.
type Machine struct {
	// Files maps absolute guest paths to host paths. A directory is copied
	// with everything in it; symbolic links below it stay links. Modes are
	// kept, owners are root. The files live in guest memory.
	Files map[string]string
	// Command is the program and its arguments, run as root in / with
	// PATH set to the usual folders. Busybox provides the shell tools.
	Command []string
	// Env holds additional "name=value" pairs.
	Env []string
	// Modules are kernel modules to load first, with what they depend on:
	// "kvm-amd", "overlay", "tun".
	Modules []string
	// Memory in MiB and number of virtual CPUs.
	Memory, CPUs int
	// KernelArgs is appended to the kernel command line.
	KernelArgs string
	// Output, if not nil, gets standard output and standard error of the
	// command as they come, besides Result.Output.
	Output io.Writer
	// CountInstructions makes the time stamp counter advance by one with
	// every instruction. The machine has one processor then.
	CountInstructions bool
	// Timeout bounds the whole run, besides the context.
	Timeout time.Duration
}

// Result of a command that ended.
type Result struct {
	// Output is standard output and standard error of the command, in order.
	Output []byte
	// ExitCode is the exit status, 128+n after signal n.
	ExitCode int
	// Boot is the time from the start of QEMU to the start of the command,
	// Total that to the end of the command.
	Boot, Total time.Duration
}

// Probe reports whether the host has the programs the machine needs, as an
// ErrUnavailable that names the missing one. It does not download anything.
func Probe() error {
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		return fmt.Errorf("%w: qemu-system-x86_64 not found; install the package qemu-system-x86", ErrUnavailable)
	}
	_, err := busybox()
	return err
}

// Run boots the machine, runs the command and ends the machine. A command
// that exits with a status, whatever it is, is no error.
func Run(ctx context.Context, m Machine) (Result, error) {
	if len(m.Command) == 0 {
		return Result{}, errors.New("emulated machine: no command")
	}
	if err := Probe(); err != nil {
		return Result{}, err
	}
	kernel, err := ensureKernel(ctx)
	if err != nil {
		return Result{}, err
	}
	if m.Memory == 0 {
		m.Memory = DefaultMemory
	}
	if m.CPUs == 0 {
		m.CPUs = DefaultCPUs
	}
	if m.Timeout == 0 {
		m.Timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, m.Timeout)
	defer cancel()

	dir, err := os.MkdirTemp("", "paracell-emulated-")
	if err != nil {
		return Result{}, err
	}
	defer os.RemoveAll(dir)

	// The mark separates what the init says from what the command says; it
	// is random so that a command cannot end its run by accident.
	nonce := make([]byte, 12)
	rand.Read(nonce)
	mark := "\x1e" + hex.EncodeToString(nonce) + " "

	initrd := filepath.Join(dir, "initrd")
	size, err := writeInitramfs(ctx, initrd, kernel, &m, mark)
	if err != nil {
		return Result{}, fmt.Errorf("emulated machine: initramfs: %w", err)
	}
	// Archive and unpacked files exist side by side during boot, and the
	// root file system takes at most half of the memory.
	if need := int(size>>20)*2 + 256; m.Memory < need {
		return Result{}, fmt.Errorf("emulated machine: %d MiB of files need at least %d MiB of memory, it has %d", size>>20, need, m.Memory)
	}
	for tries := 1; ; tries++ {
		res, err := m.boot(ctx, kernel, initrd, filepath.Join(dir, "console"), mark)
		// Several emulated processors do not always see in time that the kernel
		// has patched its code, and it panics while it boots.
		if !errors.Is(err, ErrNoResult) || res.Boot != 0 || tries == 3 {
			return res, err
		}
	}
}

// boot starts QEMU and follows it to its end, which is at the latest the end
// of ctx.
func (m *Machine) boot(ctx context.Context, kernel *kernel, initrd, console, mark string) (Result, error) {
	// The emulated counter is the host's. On a busy host the kernel would
	// measure it wrongly, and its seconds would last for minutes.
	kHz, err := boot.TSCKHz()
	if err != nil {
		return Result{}, err
	}
	accel := []string{"-accel", "tcg,thread=multi"}
	if m.CountInstructions {
		m.CPUs = 1
		kHz = 1_000_000
		accel = []string{"-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off"}
	}
	cmdline := "console=ttyS0 quiet panic=-1 oops=panic mitigations=off nokaslr " +
		"tsc=reliable no_timer_check random.trust_cpu=on nowatchdog tsc_early_khz=" + strconv.FormatUint(kHz, 10) + " " + m.KernelArgs
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", slices.Concat(accel, []string{
		// QEMU before 9.1 lets IRET of ring 3 read the stack with the rights
		// of ring 0, which SMAP then refuses: the guest kernel would panic.
		"-cpu", "max,smap=off",
		"-smp", strconv.Itoa(m.CPUs), "-m", strconv.Itoa(m.Memory),
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-kernel", kernel.image, "-initrd", initrd, "-append", cmdline,
		"-chardev", "file,id=console,path=" + console, "-serial", "chardev:console",
		"-device", "virtio-serial-pci",
		"-chardev", "file,id=out,path=/dev/stdout", "-device", "virtserialport,chardev=out,name=out",
	})...)
	// The emulator must not outlive a killed test. Linux ties the signal to
	// the thread that forked, so this goroutine keeps its thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 5 * time.Second

	start := time.Now()
	out := &demux{mark: []byte(mark), sink: m.Output, start: start, ended: func() { cmd.Process.Kill() }}
	cmd.Stdout = out
	var qemuErr bytes.Buffer
	cmd.Stderr = &qemuErr
	waitErr := cmd.Run()
	if cause := ctx.Err(); cause != nil && !out.done {
		return Result{Output: out.output.Bytes()}, fmt.Errorf("emulated machine: %q: %w after %v (booted: %t)%s",
			m.Command[0], cause, time.Since(start).Round(time.Second), out.boot != 0, tail(console, out.output.Bytes()))
	}
	out.flush()
	if !out.done {
		if qemuErr.Len() > 0 {
			waitErr = fmt.Errorf("%v: %s", waitErr, strings.TrimSpace(qemuErr.String()))
		}
		return Result{Output: out.output.Bytes(), Boot: out.boot}, fmt.Errorf("%w (booted: %t, qemu: %v)%s", ErrNoResult, out.boot != 0, waitErr, tail(console, nil))
	}
	return Result{Output: out.output.Bytes(), ExitCode: out.code, Boot: out.boot, Total: out.total}, out.err
}

// tail returns the end of the console log and of the command's output in a
// form that can be appended to an error message.
func tail(console string, output []byte) string {
	const most = 4 << 10
	last := func(b []byte) string {
		b = bytes.TrimSpace(b)
		if len(b) > most {
			b = b[len(b)-most:]
		}
		return string(b)
	}
	text, _ := os.ReadFile(console)
	s := "; the console ends with:\n" + last(text)
	if len(output) > 0 {
		s += "\nand the output with:\n" + last(output)
	}
	return s
}

// demux separates the init's two messages (start and end of the command)
// from the command's output. It is used by one goroutine at a time.
type demux struct {
	mark  []byte
	sink  io.Writer
	start time.Time
	ended func() // called once, when the command has ended

	held        []byte // may be the beginning of a mark
	output      bytes.Buffer
	boot, total time.Duration
	code        int
	done        bool
	err         error // of sink
}

func (d *demux) Write(p []byte) (int, error) {
	d.held = append(d.held, p...)
	for !d.done {
		i := bytes.Index(d.held, d.mark)
		if i < 0 {
			break
		}
		line, rest, ok := bytes.Cut(d.held[i+len(d.mark):], []byte{'\n'})
		d.emit(d.held[:i])
		if !ok {
			d.held = d.held[i:]
			return len(p), nil
		}
		d.held = rest
		d.message(string(line))
	}
	// Keep back only what can become a mark.
	keep := min(len(d.held), len(d.mark)-1)
	for keep > 0 && !bytes.HasPrefix(d.mark, d.held[len(d.held)-keep:]) {
		keep--
	}
	d.emit(d.held[:len(d.held)-keep])
	d.held = d.held[len(d.held)-keep:]
	return len(p), nil
}

func (d *demux) message(line string) {
	if line == "start" {
		d.boot = time.Since(d.start)
		return
	}
	code, err := strconv.Atoi(strings.TrimPrefix(line, "exit "))
	if err != nil {
		return
	}
	d.code, d.done, d.total = code, true, time.Since(d.start)
	d.ended()
}

func (d *demux) emit(p []byte) {
	if len(p) == 0 || d.done {
		return
	}
	d.output.Write(p)
	if d.sink != nil && d.err == nil {
		_, d.err = d.sink.Write(p)
	}
}

func (d *demux) flush() {
	d.emit(d.held)
	d.held = nil
}
