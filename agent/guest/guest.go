// SPDX-License-Identifier: Apache-2.0

// Package guest prepares the root of the agent and ends the cell.
package guest

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/paracell/paracell/agent/bringup"
	agent "github.com/paracell/paracell/protos/agent/v1"
	"github.com/paracell/paracell/protos/boot"
)

// Paths in the agent's root.
const (
	// Cgroups is the hierarchy of control groups (version 2).
	Cgroups = "/sys/fs/cgroup"
	// RunDir has the state of containers.
	RunDir = "/run/paracell"
	// RootsDir has the root file systems of containers.
	RootsDir = RunDir + "/roots"
)

type mountPoint struct {
	source, target, fstype string
	flags                  uintptr
	data                   string
}

const secure = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

var mounts = []mountPoint{
	{"proc", "/proc", "proc", secure, ""},
	{"sysfs", "/sys", "sysfs", secure, ""},
	{"cgroup2", Cgroups, "cgroup2", secure, "nsdelegate"},
	{"devtmpfs", "/dev", "devtmpfs", unix.MS_NOSUID, "mode=755"},
	{"devpts", "/dev/pts", "devpts", unix.MS_NOSUID | unix.MS_NOEXEC, "mode=620,gid=5,ptmxmode=666"},
	{"tmpfs", "/tmp", "tmpfs", secure, "mode=1777"},
	{"tmpfs", "/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=755"},
	{agent.TagRoots, RootsDir, "virtiofs", 0, ""},
	{agent.TagVolumes, agent.VolumesDir, "virtiofs", 0, ""},
}

// Prepare makes a root in which containers can be made.
func Prepare() error {
	if err := leaveInitramfs(); err != nil {
		return fmt.Errorf("make the initramfs a root that can be left: %w", err)
	}
	for _, m := range mounts {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.source, m.target, m.fstype, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s on %s: %w", m.fstype, m.target, err)
		}
	}
	for name, target := range links {
		if err := os.Symlink(target, name); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	if err := enableControllers(); err != nil {
		return err
	}
	for _, dir := range []string{RootsDir, agent.VolumesDir} {
		if err := bringup.FreeWriteback(dir); err != nil {
			return err
		}
	}
	if err := bringup.Threads(); err != nil {
		return err
	}
	return bringup.Loopback()
}

// links are what programs expect in /dev and devtmpfs does not have.
var links = map[string]string{
	"/dev/fd":     "/proc/self/fd",
	"/dev/stdin":  "/proc/self/fd/0",
	"/dev/stdout": "/proc/self/fd/1",
	"/dev/stderr": "/proc/self/fd/2",
}

// leaveInitramfs puts a second mount of the root over it: pivot_root refuses to
// replace the first root of a kernel, and containers need that.
func leaveInitramfs() error {
	const dir = "/.root"
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("/", dir, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	if err := unix.Chdir(dir); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return err
	}
	if err := unix.Chroot("."); err != nil {
		return err
	}
	return unix.Chdir("/")
}

// enableControllers lets containers have what the kernel has.
func enableControllers() error {
	b, err := os.ReadFile(filepath.Join(Cgroups, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for _, c := range strings.Fields(string(b)) {
		if err := os.WriteFile(filepath.Join(Cgroups, "cgroup.subtree_control"), []byte("+"+c), 0); err != nil {
			return fmt.Errorf("control group controller %s: %w", c, err)
		}
	}
	return nil
}

// Fail ends the cell in a way that the host takes for a failure of the agent. It
// does not return.
func Fail() {
	if err := os.WriteFile(boot.ExitCodePath, []byte("1"), 0); err != nil {
		slog.Error("tell the host that the agent failed", "error", err)
	}
	PowerOff()
}

// PowerOff ends the cell. It does not return.
func PowerOff() {
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		slog.Error("power off", "error", err)
	}
	os.Exit(1) // the kernel panics when PID 1 ends, which also ends the cell
}
