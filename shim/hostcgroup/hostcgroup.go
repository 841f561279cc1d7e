// SPDX-License-Identifier: Apache-2.0

// Package hostcgroup puts a shim, and with it the processes of its cell, into
// the control group that a container's specification names, on hosts with
// version 1, version 2 or both. All that the cell uses is then accounted to the
// container, and a guest that its user has taken over cannot use more.
package hostcgroup

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/cgroups/v3"
	"github.com/containerd/cgroups/v3/cgroup1"
	"github.com/containerd/cgroups/v3/cgroup2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// unified is where version 2 is mounted.
const unified = "/sys/fs/cgroup"

// removeTimeout is how long the processes of a group that is removed may take to
// end.
const removeTimeout = 5 * time.Second

// Group is the control group of a cell. Its methods are not for use at the same
// time.
type Group struct {
	path string
	dirs []dir
	// update sets new limits.
	update func(*specs.LinuxResources) error
}

// dir is the group in one hierarchy.
type dir struct {
	// controller of version 1; empty for version 2.
	controller string
	path       string
	// origin is where this process was before Enter.
	origin string
	// found: it was there before and stays.
	found bool
}

// Create makes the group with the limits, or sets the limits of one that exists.
// The path is one of a specification: absolute, or SLICE:PREFIX:NAME as systemd's
// users write it.
func Create(cgroupsPath string, limits *specs.LinuxResources) (*Group, error) {
	name, err := Path(cgroupsPath)
	if err != nil {
		return nil, err
	}
	g := &Group{path: name}
	if cgroups.Mode() == cgroups.Unified {
		err = g.create2(limits)
	} else {
		err = g.create1(limits)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("control group %s of the host: %w", name, err), g.remove())
	}
	return g, nil
}

func (g *Group) create1(limits *specs.LinuxResources) error {
	subsystems, err := cgroup1.Default()
	if err != nil {
		return err
	}
	for _, s := range subsystems {
		if p, ok := s.(interface{ Path(string) string }); ok {
			g.add(dir{controller: string(s.Name()), path: p.Path(g.path), origin: p.Path("/")})
		}
	}
	group, err := cgroup1.New(cgroup1.StaticPath(g.path), limits)
	if err != nil {
		return err
	}
	g.update = group.Update
	return nil
}

func (g *Group) add(d dir) {
	_, err := os.Stat(d.path)
	d.found = err == nil
	g.dirs = append(g.dirs, d)
}

func (g *Group) create2(limits *specs.LinuxResources) error {
	g.add(dir{path: filepath.Join(unified, g.path), origin: unified})
	m, err := cgroup2.NewManager(unified, g.path, cgroup2.ToResources(limits))
	if err != nil {
		return err
	}
	g.update = func(r *specs.LinuxResources) error { return m.Update(cgroup2.ToResources(r)) }
	return nil
}

// Path is where a cgroupsPath is in the hierarchy.
func Path(cgroupsPath string) (string, error) {
	if strings.HasPrefix(cgroupsPath, "/") {
		clean := path.Clean(cgroupsPath)
		if clean == "/" {
			return "", errors.New("linux.cgroupsPath: a group below the root is needed")
		}
		return clean, nil
	}
	parts := strings.Split(cgroupsPath, ":")
	if len(parts) == 1 {
		// Relative paths are relative to where the runtime wants them.
		return Path("/" + cgroupsPath)
	}
	if len(parts) != 3 || parts[2] == "" || strings.ContainsAny(cgroupsPath, "/\x00") {
		return "", fmt.Errorf("linux.cgroupsPath %q: an absolute path or SLICE:PREFIX:NAME is needed", cgroupsPath)
	}
	slice, err := slicePath(parts[0])
	if err != nil {
		return "", err
	}
	unit := parts[2]
	if !strings.HasSuffix(unit, ".slice") {
		if parts[1] != "" {
			unit = parts[1] + "-" + unit
		}
		unit += ".scope"
	}
	return path.Join(slice, unit), nil
}

// slicePath is the path of a slice of systemd: a-b.slice is below a.slice.
func slicePath(slice string) (string, error) {
	switch slice {
	case "":
		slice = "system.slice"
	case "-.slice":
		return "/", nil
	}
	name, ok := strings.CutSuffix(slice, ".slice")
	if !ok || name == "" {
		return "", fmt.Errorf("linux.cgroupsPath: %q is no slice", slice)
	}
	out, prefix := "/", ""
	for part := range strings.SplitSeq(name, "-") {
		if part == "" {
			return "", fmt.Errorf("linux.cgroupsPath: %q is no slice", slice)
		}
		prefix += part
		out = path.Join(out, prefix+".slice")
		prefix += "-"
	}
	return out, nil
}

// Enter moves this process into the group; processes that it makes from then on
// are there too.
func (g *Group) Enter() error {
	where, err := own()
	if err != nil {
		return err
	}
	for i := range g.dirs {
		d := &g.dirs[i]
		if p, ok := where[d.controller]; ok {
			d.origin = filepath.Join(d.origin, p)
		}
		if err := enter(d.path); err != nil {
			return errors.Join(fmt.Errorf("control group %s of the host: %w", g.path, err), g.Leave())
		}
	}
	return nil
}

// Leave moves this process back.
func (g *Group) Leave() error {
	var failed error
	for _, d := range g.dirs {
		if err := enter(d.origin); err != nil {
			// It may be gone, or may not take processes any more.
			if err := enter(filepath.Dir(d.path)); err != nil {
				failed = errors.Join(failed, fmt.Errorf("leave control group %s of the host: %w", g.path, err))
			}
		}
	}
	return failed
}

func enter(dir string) error {
	return os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0)
}

// own is where this process is, by controller.
func own() (map[string]string, error) {
	f, err := os.Open("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	where := map[string]string{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.SplitN(lines.Text(), ":", 3)
		if len(fields) != 3 {
			continue
		}
		for controller := range strings.SplitSeq(fields[1], ",") {
			where[strings.TrimPrefix(controller, "name=")] = fields[2]
		}
	}
	return where, lines.Err()
}

// Update sets new limits.
func (g *Group) Update(limits *specs.LinuxResources) error {
	if err := g.update(limits); err != nil {
		return fmt.Errorf("control group %s of the host: %w", g.path, err)
	}
	return nil
}

// Kills is how many processes of the group the host's OOM killer has killed.
func (g *Group) Kills() uint64 {
	var kills uint64
	for _, d := range g.dirs {
		file := "memory.events"
		if d.controller != "" {
			file = "memory.oom_control"
		}
		if d.controller != "" && d.controller != "memory" {
			continue
		}
		b, err := os.ReadFile(filepath.Join(d.path, file))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			if text, ok := strings.CutPrefix(strings.TrimSpace(line), "oom_kill "); ok {
				n, _ := strconv.ParseUint(text, 10, 64)
				kills += n
			}
		}
	}
	return kills
}

// Delete leaves the group and removes what Create has made.
func (g *Group) Delete() error { return errors.Join(g.Leave(), g.remove()) }

func (g *Group) remove() error {
	var err error
	for _, d := range g.dirs {
		if !d.found {
			err = errors.Join(err, remove(d.path))
		}
	}
	return err
}

// Remove removes the group of a container whose shim is gone.
func Remove(cgroupsPath string) error {
	name, err := Path(cgroupsPath)
	if err != nil {
		return err
	}
	if cgroups.Mode() == cgroups.Unified {
		return remove(filepath.Join(unified, name))
	}
	subsystems, err := cgroup1.Default()
	if err != nil {
		return err
	}
	for _, s := range subsystems {
		if p, ok := s.(interface{ Path(string) string }); ok {
			err = errors.Join(err, remove(p.Path(name)))
		}
	}
	return err
}

// remove removes a directory whose processes are ending.
func remove(dir string) error {
	for end := time.Now().Add(removeTimeout); ; time.Sleep(5 * time.Millisecond) {
		err := os.Remove(dir)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("remove control group of the host: %w", err)
		}
	}
}
