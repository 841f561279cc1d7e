// SPDX-License-Identifier: Apache-2.0

package run

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/paracell/paracell/internal/testenv"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestStreamsAreSeparateAndComplete(t *testing.T) {
	r := execute(t, "--rootfs", busyboxRoot(t), "--", "sh", "-c", "seq 100000; echo problem >&2; exit 3")
	var want bytes.Buffer
	for i := range 100000 {
		fmt.Fprintln(&want, i+1)
	}
	if r.status != 3 || r.out != want.String() || strings.TrimSpace(r.errOut) != "problem" {
		t.Errorf("status %d, %d bytes of %d, errors %q", r.status, len(r.out), want.Len(), r.errOut)
	}
}

func TestInputAndItsEnd(t *testing.T) {
	root := busyboxRoot(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	input := strings.Repeat("all work and no play\n", 50000)
	args := append(paracell(t), "-i", "--rootfs", root, "--", "cat")
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.Output()
	if err != nil || string(out) != input {
		t.Errorf("%d bytes of %d came back, %v", len(out), len(input), err)
	}
	// Without -i there is nothing to read.
	if r := execute(t, "--rootfs", root, "--", "cat"); r.status != 0 || r.out != "" {
		t.Errorf("status %d, %q", r.status, r.out)
	}
}

// The root is the directory itself: both sides see what the other has written.
func TestRootIsTheDirectory(t *testing.T) {
	root := busyboxRoot(t)
	check(t, os.WriteFile(filepath.Join(root, "etc", "in"), []byte("from the host"), 0o640))
	check(t, os.Chown(filepath.Join(root, "etc", "in"), 12, 34))
	check(t, unix.Setxattr(filepath.Join(root, "etc", "in"), "user.x", []byte("y"), 0))
	script := `cat /etc/in; stat -c ' %a %u %g' /etc/in
		mkdir -p /a/b; echo to the host > /a/b/out; chown 56:78 /a/b/out; chmod 4711 /a/b/out
		ln /a/b/out /a/hard; ln -s b/out /a/soft; mkfifo /a/fifo; mv /etc/in /a/moved; rm /bin/false
		i=0; while [ $i -lt 200 ]; do echo $i > /a/f$i; i=$((i+1)); done; ls /a | wc -l`
	r := execute(t, "--rootfs", root, "--", "sh", "-ec", script)
	if r.status != 0 || r.out != "from the host 640 12 34\n205\n" {
		t.Fatalf("status %d, %q\n%s", r.status, r.out, r.errOut)
	}
	at := func(name string) string { return filepath.Join(root, "a", name) }
	b, err := os.ReadFile(at("hard"))
	if err != nil || string(b) != "to the host\n" {
		t.Errorf("%q, %v", b, err)
	}
	var st unix.Stat_t
	check(t, unix.Lstat(at("b/out"), &st))
	if st.Mode != unix.S_IFREG|0o4711 || st.Uid != 56 || st.Gid != 78 || st.Nlink != 2 {
		t.Errorf("mode %o, owner %d:%d, %d links", st.Mode, st.Uid, st.Gid, st.Nlink)
	}
	if target, err := os.Readlink(at("soft")); err != nil || target != "b/out" {
		t.Errorf("link to %q, %v", target, err)
	}
	check(t, unix.Lstat(at("fifo"), &st))
	if st.Mode&unix.S_IFMT != unix.S_IFIFO {
		t.Errorf("fifo has mode %o", st.Mode)
	}
	value := make([]byte, 8)
	if n, err := unix.Getxattr(at("moved"), "user.x", value); err != nil || string(value[:n]) != "y" {
		t.Errorf("attribute %q, %v", value, err)
	}
	for i := range 200 {
		if b, err := os.ReadFile(at("f" + strconv.Itoa(i))); err != nil || string(b) != strconv.Itoa(i)+"\n" {
			t.Fatalf("f%d: %q, %v", i, b, err)
		}
	}
	if _, err := os.Lstat(filepath.Join(root, "bin", "false")); !os.IsNotExist(err) {
		t.Errorf("removed in the cell: %v", err)
	}
}

// The kernel's own limits for FUSE make writing slow.
func TestRootMayHaveDirtyPages(t *testing.T) {
	r := execute(t, "--rootfs", busyboxRoot(t), "--", "sh", "-ec",
		`while read -r id parent device root on rest; do
			[ "$on" = / ] && dir=/sys/class/bdi/$device
		done </proc/self/mountinfo
		cat $dir/strict_limit $dir/max_ratio`)
	if r.status != 0 || r.out != "0\n100\n" {
		t.Errorf("status %d, %q\n%s", r.status, r.out, r.errOut)
	}
}

func TestReadOnlyAndCopiedRoots(t *testing.T) {
	root := busyboxRoot(t)
	r := execute(t, "--read-only", "--rootfs", root, "--", "sh", "-c", "echo x > /etc/new || exit 9")
	if r.status != 9 || !strings.Contains(r.errOut, "Read-only file system") {
		t.Errorf("status %d, %s", r.status, r.errOut)
	}
	r = execute(t, "--copy-rootfs", "--rootfs", root, "--", "sh", "-c", "echo x > /etc/new && cat /etc/new")
	if r.status != 0 || r.out != "x\n" {
		t.Errorf("status %d, %q\n%s", r.status, r.out, r.errOut)
	}
	if _, err := os.Lstat(filepath.Join(root, "etc", "new")); !os.IsNotExist(err) {
		t.Errorf("the original has changed: %v", err)
	}
}

// A name with .. and links that lead out of the root end at the root.
func TestNothingBesideTheRoot(t *testing.T) {
	root := busyboxRoot(t)
	secret := filepath.Join(filepath.Dir(root), "secret")
	check(t, os.WriteFile(secret, []byte("secret"), 0o644))
	t.Cleanup(func() { os.Remove(secret) })
	check(t, os.Symlink("../../../../../../../.."+secret, filepath.Join(root, "etc", "far")))
	check(t, os.Symlink("../../secret", filepath.Join(root, "etc", "near")))
	r := execute(t, "--rootfs", root, "--", "sh", "-c", "cat /etc/far /etc/near /../secret "+secret)
	if r.status == 0 || r.out != "" {
		t.Errorf("status %d, %q", r.status, r.out)
	}
}

// What the cell has written and not synced is on the host when it has ended.
func TestNothingIsLostAtTheEnd(t *testing.T) {
	root := busyboxRoot(t)
	r := execute(t, "--rootfs", root, "--", "sh", "-c", "dd if=/dev/urandom of=/big bs=64k count=300 2>/dev/null; md5sum /big")
	if r.status != 0 {
		t.Fatalf("status %d\n%s", r.status, r.errOut)
	}
	out, err := exec.Command("md5sum", filepath.Join(root, "big")).Output()
	if err != nil || strings.Fields(string(out))[0] != strings.Fields(r.out)[0] {
		t.Errorf("%s in the cell, %s on the host, %v", r.out, out, err)
	}
}

// TestTerminal talks to a shell of the cell through a terminal of the host.
func TestTerminal(t *testing.T) {
	root := busyboxRoot(t)
	args := append(paracell(t), "-t", "--rootfs", root, "--", "sh")
	master, slave := terminal(t)
	check(t, unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 33, Col: 77}))
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	check(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	slave.Close()

	var said string // what follows the last text waited for
	read := func(want string) {
		t.Helper()
		check(t, master.SetReadDeadline(time.Now().Add(patience)))
		b := make([]byte, 1024)
		for !strings.Contains(said, want) {
			n, err := master.Read(b)
			if err != nil {
				t.Fatalf("no %q: %v\n%q", want, err, said)
			}
			said += string(b[:n])
		}
		_, said, _ = strings.Cut(said, want)
	}
	write := func(s string) {
		t.Helper()
		_, err := io.WriteString(master, s)
		check(t, err)
	}
	read("# ")
	write("stty size; tty\r")
	read("33 77\r\n/dev/hvc1")
	check(t, unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: 100}))
	check(t, cmd.Process.Signal(unix.SIGWINCH))
	write("until stty size | grep '40 100'; do sleep 0.1; done\r")
	read("\n40 100")
	write("echo begin; cat\r")
	read("\nbegin")
	// An interrupt before cat has the terminal is the shell's, which takes it
	// while it starts cat and then waits for cat: on any kernel.
	write("cat\r")
	read("cat\r\ncat")
	write("\x03") // interrupts cat, not paracell
	read("# ")
	write("echo status $?\r")
	read("status 130")
	write("exit 5\r")
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 5 {
		t.Errorf("end: %v", err)
	}
}

// terminal makes a pseudo-terminal.
func terminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	check(t, err)
	master = os.NewFile(uintptr(fd), "/dev/ptmx")
	t.Cleanup(func() { master.Close() })
	check(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	check(t, err)
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	check(t, err)
	return master, slave
}

func TestTtyNeedsATerminal(t *testing.T) {
	r := execute(t, "-t", "--rootfs", busyboxRoot(t), "--", "true")
	if r.status != 2 && r.status != 125 || !strings.Contains(r.errOut, "not a terminal") {
		t.Errorf("status %d, %s", r.status, r.errOut)
	}
}

// A root on overlayfs, as those of container images are: the lower layer stays
// as it is.
func TestOverlayRoot(t *testing.T) {
	testenv.Root(t)
	root, base := busyboxRoot(t), t.TempDir()
	for _, d := range []string{"up", "work", "merged"} {
		check(t, os.Mkdir(filepath.Join(base, d), 0o755))
	}
	merged := filepath.Join(base, "merged")
	opts := fmt.Sprintf("lowerdir=%s,upperdir=%s/up,workdir=%s/work", root, base, base)
	if err := unix.Mount("overlay", merged, "overlay", 0, opts); err != nil {
		t.Skipf("overlayfs on the test's directory: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(merged, 0) })
	script := `echo one > /etc/f; echo two >> /etc/f; cat /etc/f; cp /bin/busybox /tmp/busybox; /tmp/busybox echo copied
		sed -i s/one/1/ /etc/f; head -n1 /etc/f; rm -r /root; mkdir /root; : > /root/x; ls /root; rm /bin/false`
	r := execute(t, "--rootfs", merged, "--", "sh", "-ec", script)
	if r.status != 0 || r.out != "one\ntwo\ncopied\n1\nx\n" {
		t.Errorf("status %d, %q\n%s", r.status, r.out, r.errOut)
	}
	if _, err := os.Lstat(filepath.Join(root, "bin", "false")); err != nil {
		t.Errorf("the lower layer has changed: %v", err)
	}
}
