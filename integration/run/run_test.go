// SPDX-License-Identifier: Apache-2.0

package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/paracell/paracell/internal/testenv"
)

// patience bounds one cell.
var patience = time.Minute

func init() {
	if testenv.Emulated() {
		patience *= 5
	}
}

// paracell returns the command line of a run, up to the flags of the test.
func paracell(t testing.TB) []string {
	t.Helper()
	testenv.Root(t)
	testenv.Built(t, "paracell-kernel")
	testenv.Built(t, "paracell-init")
	mode := testenv.Isolation()
	testenv.ProcessPlatform(t, mode)
	return []string{testenv.Built(t, "paracell"), "run", "--isolation", string(mode)}
}

// busyboxRoot makes a root directory with the applets of busybox.
func busyboxRoot(t testing.TB) string {
	t.Helper()
	busybox := testenv.Program(t, "busybox", "busybox-static")
	root := t.TempDir()
	for _, d := range []string{"bin", "dev", "etc", "proc", "sys", "tmp", "root"} {
		if err := os.Mkdir(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	p := filepath.Join(root, "bin", "busybox")
	if err := os.WriteFile(p, b, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(p, "--install", "-s", filepath.Join(root, "bin")).CombinedOutput(); err != nil {
		t.Fatalf("busybox --install: %v\n%s", err, out)
	}
	// The links have the path that they were made with.
	links, err := filepath.Glob(filepath.Join(root, "bin", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if l == p {
			continue
		}
		if err := errors.Join(os.Remove(l), os.Symlink("busybox", l)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// result is what a run gave.
type result struct {
	status      int
	out, errOut string
}

// execute runs paracell to its end.
func execute(t testing.TB, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	args = append(paracell(t), args...)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	if ctx.Err() != nil {
		t.Fatalf("%q: no end after %v\n%s%s", args, patience, out.Bytes(), errOut.Bytes())
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), out.String(), errOut.String()}
}

func TestExitStatus(t *testing.T) {
	root := busyboxRoot(t)
	if err := os.WriteFile(filepath.Join(root, "etc", "text"), []byte("no program"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args   []string
		status int
		said   string
	}{
		{[]string{"true"}, 0, ""},
		{[]string{"false"}, 1, ""},
		{[]string{"sh", "-c", "exit 255"}, 255, ""},
		{[]string{"sh", "-c", "kill -TERM $$"}, 143, ""},
		{[]string{"sh", "-c", "kill -KILL $$"}, 137, ""},
		{[]string{"no-such-command"}, 127, "no-such-command"},
		{[]string{"/no/such/file"}, 127, "/no/such/file"},
		{[]string{"/etc/text"}, 126, "/etc/text"},
	} {
		r := execute(t, append([]string{"--rootfs", root, "--"}, c.args...)...)
		if r.status != c.status || !strings.Contains(r.out+r.errOut, c.said) {
			t.Errorf("%q: status %d\n%s%s", c.args, r.status, r.out, r.errOut)
		}
	}
}

// TestWhatTheCommandSees compares one transcript.
func TestWhatTheCommandSees(t *testing.T) {
	root := busyboxRoot(t)
	for _, err := range []error{
		os.Mkdir(filepath.Join(root, "work"), 0o711),
		os.WriteFile(filepath.Join(root, "work", "file"), []byte("content\n"), 0o640),
		os.Chmod(filepath.Join(root, "work", "file"), os.ModeSetuid|0o751),
		os.Chown(filepath.Join(root, "work"), 12, 34),
	} {
		if err != nil {
			t.Skip(err)
		}
	}
	script := `uname -s; uname -m; hostname; pwd; echo $A "$B"; cat file; stat -c '%a %u %g' . file; id -u; ` +
		`test $$ -ne 1 && echo "not PID 1"; readlink /proc/1/exe; test -c /dev/null && echo null; ` +
		`echo x >/tmp/x && cat /tmp/x; mount | grep -c ' /proc '; printf '\001\377' | od -An -tx1`
	r := execute(t, "--rootfs", root, "--hostname", "box", "--workdir", "/work", "--env", "A=1", "--env", "B=2 3", "--", "sh", "-c", script)
	want := "Linux\nx86_64\nbox\n/work\n1 2 3\ncontent\n711 12 34\n4751 0 0\n0\nnot PID 1\n/.paracell/init\nnull\nx\n1\n 01 ff\n"
	if got := strings.ReplaceAll(r.out, "\r\n", "\n"); got != want || r.status != 0 || r.errOut != "" {
		t.Errorf("status %d\n%s%s\nwant\n%s", r.status, got, r.errOut, want)
	}
}

func TestKernelIsOurs(t *testing.T) {
	r := execute(t, "--rootfs", busyboxRoot(t), "--", "uname", "-r")
	if !strings.HasPrefix(r.out, "6.12.") {
		t.Errorf("uname -r: %q %q", r.out, r.errOut)
	}
}

func TestMemorySize(t *testing.T) {
	root := busyboxRoot(t)
	for _, mib := range []int{128, 1024} {
		r := execute(t, "--rootfs", root, "--memory", fmt.Sprintf("%dM", mib), "--", "awk", "/^MemTotal/ { print $2 }", "/proc/meminfo")
		kib, err := strconv.Atoi(strings.TrimSpace(r.out))
		if err != nil || kib > mib<<10 || kib < (mib<<10)*3/4 {
			t.Errorf("--memory %dM: %q %q", mib, r.out, r.errOut)
		}
	}
	r := execute(t, "--rootfs", root, "--memory", "1M", "--", "true")
	if r.status != 125 || !strings.Contains(r.errOut, "minimum") {
		t.Errorf("--memory 1M: status %d, %s", r.status, r.errOut)
	}
}

// TestInitramfs boots an archive with an init of its own.
func TestInitramfs(t *testing.T) {
	root := busyboxRoot(t)
	script := "#!/bin/sh\nmount -t proc proc /proc\necho hello from init\necho 9 >/proc/sys/kernel/paracell_exit_code\npoweroff -f\n"
	if err := os.WriteFile(filepath.Join(root, "init"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mknod(filepath.Join(root, "dev", "console"), syscall.S_IFCHR|0o600, 5<<8|1); err != nil {
		t.Skip(err)
	}
	archive := filepath.Join(t.TempDir(), "initramfs")
	pack := exec.Command("sh", "-c", `cd "$1" && find . | busybox cpio -o -H newc >"$2"`, "sh", root, archive)
	if out, err := pack.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	r := execute(t, "--initramfs", archive)
	if r.status != 9 || !strings.Contains(r.out+r.errOut, "hello from init") {
		t.Errorf("status %d\n%s%s", r.status, r.out, r.errOut)
	}
}

func TestCellsSideBySide(t *testing.T) {
	root := busyboxRoot(t)
	paracell(t)
	var wg sync.WaitGroup
	for i := range 5 {
		wg.Go(func() {
			r := execute(t, "--rootfs", root, "--memory", "128M", "--", "sh", "-c", fmt.Sprintf("echo %d; exit %d", i, i))
			if r.status != i || strings.TrimSpace(r.out) != strconv.Itoa(i) {
				t.Errorf("cell %d: status %d\n%s%s", i, r.status, r.out, r.errOut)
			}
		})
	}
	wg.Wait()
}

// unique makes the name of a cell that no other test run uses.
func unique(name string) string { return fmt.Sprintf("%s-%d", name, os.Getpid()) }

// cellProcesses returns the PIDs of the host processes of a named cell.
func cellProcesses(t testing.TB, name string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/fd/3")
	if err != nil {
		t.Fatal(err)
	}
	var pids []string
	for _, f := range files {
		// Their memory is named after the cell; they have no command line.
		if target, err := os.Readlink(f); err == nil && strings.HasPrefix(target, "/memfd:paracell:"+name+" ") {
			pid := strings.Split(f, "/")[2]
			if _, err := os.Lstat("/proc/" + pid + "/fd/0"); err != nil { // not paracell itself
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// background starts a cell that says "up" when its command runs.
func background(t testing.TB, name, script string) *exec.Cmd {
	t.Helper()
	args := append(paracell(t), "--name", name, "--memory", "128M", "--rootfs", busyboxRoot(t), "--", "sh", "-c", "echo up; "+script)
	cmd := exec.Command(args[0], args[1:]...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	timer := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	b := make([]byte, 2)
	if _, err := out.Read(b); err != nil || string(b) != "up" {
		t.Fatalf("the command says %q, %v", b, err)
	}
	return cmd
}

// TestNothingOutlivesTheCommand ends paracell in two ways.
func TestNothingOutlivesTheCommand(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		name := unique("outlive-" + strconv.Itoa(int(sig)))
		cmd := background(t, name, "sleep 1000")
		if n := len(cellProcesses(t, name)); n < 2 {
			t.Errorf("%d host processes", n)
		}
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if sig == syscall.SIGTERM && cmd.ProcessState.ExitCode() != 125 {
			t.Errorf("status %v", cmd.ProcessState)
		}
		var left []string
		for range 1500 {
			if left = cellProcesses(t, name); left == nil {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		if left != nil {
			t.Errorf("%v: processes %v are left", sig, left)
		}
	}
}

// ticks is the processor time of the processes, in clock ticks of 10 ms.
func ticks(t testing.TB, pids []string) (sum int) {
	t.Helper()
	for _, pid := range pids {
		b, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(b), ") ")
		f := strings.Fields(rest)
		for _, i := range []int{11, 12} { // utime, stime
			n, err := strconv.Atoi(f[i])
			if err != nil {
				t.Fatal(err)
			}
			sum += n
		}
	}
	return sum
}

// TestIdleCellCostsNoProcessorTime: below 0.1 % of a core.
func TestIdleCellCostsNoProcessorTime(t *testing.T) {
	const span = 12 * time.Second
	name := unique("idle")
	cmd := background(t, name, "sleep 1000")
	pids := append(cellProcesses(t, name), strconv.Itoa(cmd.Process.Pid))
	time.Sleep(2 * time.Second) // boot is over
	// The processes' times are rounded each by itself, and a busy host adds to
	// them: one quiet span of four will do.
	for try := 1; ; try++ {
		before := ticks(t, pids)
		time.Sleep(span)
		used := time.Duration(ticks(t, pids)-before) * 10 * time.Millisecond
		if used <= span/1000+10*time.Millisecond {
			return
		}
		if try == 4 {
			t.Fatalf("%v in %v", used, span)
		}
	}
}

// BenchmarkBoot is the time of a whole run of true.
func BenchmarkBoot(b *testing.B) {
	root := busyboxRoot(b)
	for b.Loop() {
		if r := execute(b, "--rootfs", root, "--memory", "256M", "--", "true"); r.status != 0 {
			b.Fatalf("status %d\n%s", r.status, r.errOut)
		}
	}
}
