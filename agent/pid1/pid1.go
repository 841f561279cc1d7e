// SPDX-License-Identifier: Apache-2.0

// Package pid1 is the first process of a cell that runs one command: it mounts
// the kernel's file systems, runs the command of the boot spec on the console,
// reaps orphans, hands the command's exit status to the kernel and powers the
// cell off. What goes wrong is said on the console.
package pid1

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/paracell/paracell/agent/bringup"
	"github.com/paracell/paracell/agent/signals"
	"github.com/paracell/paracell/protos/boot"
)

// Main runs the cell and does not return.
func Main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "paracell-init: has to be started by the kernel of a cell as PID 1")
		os.Exit(2)
	}
	signals.Survive(func(s os.Signal) { complain(fmt.Errorf("signal: %v", s)) })
	status, err := run("/")
	if err != nil {
		complain(err)
	}
	powerOff(status)
}

func complain(err error) { fmt.Fprintf(os.Stderr, "paracell-init: %v\n", err) }

// run returns the exit status of the command; 126 or 127 with an error.
func run(root string) (int, error) {
	b, err := os.ReadFile(filepath.Join(root, boot.SpecPath))
	if err != nil {
		return boot.StatusCannotExecute, err
	}
	spec, err := boot.Decode(b)
	if err != nil {
		return boot.StatusCannotExecute, err
	}
	if spec.RootTag != "" {
		if err := enterRoot(root, spec); err != nil {
			return boot.StatusCannotExecute, err
		}
	}
	for _, m := range mounts {
		if err := m.mount(); err != nil {
			complain(err)
		}
	}
	if err := bringUp(spec); err != nil {
		complain(err)
	}
	if spec.Hostname != "" {
		if err := unix.Sethostname([]byte(spec.Hostname)); err != nil {
			complain(fmt.Errorf("set hostname: %w", err))
		}
	}
	stdio, err := openStdio(spec)
	if err != nil {
		return boot.StatusCannotExecute, err
	}
	pid, status, err := start(spec, stdio)
	if err != nil {
		return status, err
	}
	stdio.started(spec)
	status, err = reap(pid)
	stdio.drain(spec)
	return status, err
}

// bringUp prepares network and root; tests, which run on the host, leave it out.
var bringUp = func(spec *boot.Spec) error {
	var err error
	if spec.RootTag != "" {
		err = bringup.FreeWriteback("/")
	}
	return errors.Join(bringup.Threads(), bringup.Loopback(), err)
}

// mountPoint is a file system that every command expects.
type mountPoint struct {
	source, target, fstype string
	flags                  uintptr
	data                   string
	perm                   os.FileMode
}

var mounts = []mountPoint{
	{"proc", "/proc", "proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, "", 0o555},
	{"sysfs", "/sys", "sysfs", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, "", 0o555},
	{"devtmpfs", "/dev", "devtmpfs", unix.MS_NOSUID, "mode=755", 0o755},
	{"devpts", "/dev/pts", "devpts", unix.MS_NOSUID | unix.MS_NOEXEC, "mode=620,gid=5,ptmxmode=666", 0o755},
	{"tmpfs", "/dev/shm", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777", 0o1777},
	{"", "/tmp", "", 0, "", 0o1777},
	{"", "/run", "", 0, "", 0o755},
}

// mount makes the directory and mounts on it, if there is something to mount.
func (m mountPoint) mount() error {
	if err := os.Mkdir(m.target, 0o755); err == nil {
		// Not through Mkdir: it takes no sticky bit.
		if err := unix.Chmod(m.target, uint32(m.perm)); err != nil {
			return fmt.Errorf("chmod %s: %w", m.target, err)
		}
	} else if !errors.Is(err, os.ErrExist) {
		return err
	}
	if m.fstype == "" {
		return nil
	}
	if err := unix.Mount(m.source, m.target, m.fstype, m.flags, m.data); err != nil {
		return fmt.Errorf("mount %s on %s: %w", m.fstype, m.target, err)
	}
	return nil
}

// start runs the command in a session of its own, on its terminal if it has one. With an error it returns the exit status that shells use for it.
func start(spec *boot.Spec, stdio *stdio) (pid, status int, err error) {
	file, err := lookup(spec.Args[0], spec.Cwd, spec.Env)
	if err != nil {
		return 0, boot.StatusNotFound, err
	}
	attr := &syscall.ProcAttr{
		Dir: spec.Cwd,
		Env: spec.Env,
		Sys: &syscall.SysProcAttr{Setsid: true, Setctty: stdio.terminal},
	}
	for _, f := range stdio.files {
		attr.Files = append(attr.Files, f.Fd())
	}
	pid, err = syscall.ForkExec(file, spec.Args, attr)
	if err != nil {
		status := boot.StatusCannotExecute
		if errors.Is(err, unix.ENOENT) {
			status = boot.StatusNotFound
		}
		return 0, status, fmt.Errorf("run %s: %w", file, err)
	}
	return pid, 0, nil
}

// lookup finds the command as execvp does, in the PATH of the command's own
// environment.
func lookup(name, cwd string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	var dirs string
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			dirs = v
		}
	}
	for _, d := range strings.Split(dirs, ":") {
		if !filepath.IsAbs(d) {
			d = filepath.Join(cwd, d)
		}
		p := filepath.Join(d, name)
		if fi, err := os.Stat(p); err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0 {
			return p, nil
		}
	}
	return "", fmt.Errorf("run %s: not found in PATH=%s", name, dirs)
}

// reap waits until the command ends, and for every orphan until then.
func reap(pid int) (int, error) {
	for {
		var ws syscall.WaitStatus
		got, err := syscall.Wait4(-1, &ws, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return boot.StatusCannotExecute, fmt.Errorf("wait: %w", err)
		case got != pid:
		case ws.Exited():
			return ws.ExitStatus(), nil
		case ws.Signaled():
			return boot.StatusSignal + int(ws.Signal()), nil
		}
	}
}

// powerOff ends the cell with the exit status.
func powerOff(status int) {
	if err := os.WriteFile(boot.ExitCodePath, []byte(strconv.Itoa(status)), 0); err != nil {
		complain(fmt.Errorf("pass the exit status %d on: %w", status, err))
	}
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		complain(fmt.Errorf("power off: %w", err))
	}
	os.Exit(status) // the kernel panics when PID 1 ends, which also ends the cell
}
