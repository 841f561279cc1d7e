// SPDX-License-Identifier: Apache-2.0

// Package tools builds programs of others from their Go modules, at pinned
// versions, once per machine.
package tools

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Versions of what is built.
const (
	Containerd = "v2.4.2"
	Runc       = "v1.5.2"
	GVisor     = "v0.0.0-20260905035102-160fafc42237"
)

// set is what is built from one module.
type set struct {
	folder, module, version string
	// packages by the name of the program.
	packages map[string]string
	flags    []string
	// edit is made to a file of the module before it is compiled: where, what,
	// and what instead.
	edit map[string][3]string
	// cgo programs need a C compiler and these Debian packages.
	cgo []string
}

var sets = []set{
	{folder: "containerd", module: "github.com/containerd/containerd/v2", version: Containerd, packages: map[string]string{
		"containerd": "cmd/containerd", "ctr": "cmd/ctr", "containerd-shim-runc-v2": "cmd/containerd-shim-runc-v2",
	}},
	{folder: "runc", module: "github.com/opencontainers/runc", version: Runc, packages: map[string]string{"runc": "."},
		flags: []string{"-tags", "seccomp netgo osusergo", "-ldflags", "-s -w -linkmode external -extldflags -static"},
		cgo:   []string{"gcc", "libc6-dev", "libseccomp-dev"}},
	{folder: "gvisor", module: "gvisor.dev/gvisor", version: GVisor, packages: map[string]string{
		"runsc": "runsc", "containerd-shim-runsc-v1": "shim",
	}, flags: []string{"-ldflags", "-s -w"}, edit: map[string][3]string{
		// It has to lower its OOM score, which needs CAP_SYS_RESOURCE; not every
		// machine on which it is measured gives that.
		"containerd-shim-runsc-v1": {"pkg/shim/v1/manager.go",
			"if err := sys.SetOOMScore(cmd.Process.Pid, oomScoreMax); err != nil {",
			"if err := sys.SetOOMScore(cmd.Process.Pid, oomScoreMax); err != nil && !os.IsPermission(err) {"},
	}},
}

// Cache is the folder for what is made once per machine.
func Cache() string {
	if dir := os.Getenv("PARACELL_CACHE"); dir != "" {
		return dir
	}
	return "/var/cache/paracell"
}

// Build returns the path of a program, which it builds if it is not there yet.
// What takes long is announced on log. Several may build at once.
func Build(ctx context.Context, log io.Writer, name string) (string, error) {
	for _, s := range sets {
		if pkg, ok := s.packages[name]; ok {
			return s.build(ctx, log, name, pkg)
		}
	}
	return "", fmt.Errorf("nothing says how to build %s", name)
}

func (s *set) build(ctx context.Context, log io.Writer, name, pkg string) (_ string, err error) {
	dir := filepath.Join(Cache(), s.folder, s.version)
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	unlock, err := Lock(filepath.Join(dir, "lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(path); err == nil {
		return path, nil // another has built it
	}
	for _, p := range s.cgo {
		if err := exec.CommandContext(ctx, "dpkg", "-s", p).Run(); err != nil {
			return "", fmt.Errorf("build %s: Debian package %s is not installed: apt-get install %s", name, p, strings.Join(s.cgo, " "))
		}
	}
	begin := time.Now()
	fmt.Fprintf(log, "building %s %s from its Go module\n", name, s.version)
	// Outside this module, whose versions do not count, and not seen before it is whole.
	tmp, err := os.MkdirTemp(dir, ".build-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	target, built := s.module+"/"+pkg, filepath.Base(pkg)
	if pkg == "." {
		target, built = s.module, filepath.Base(s.module)
	}
	run := func(args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Dir = tmp
		cgo := "CGO_ENABLED=0"
		if len(s.cgo) != 0 {
			cgo = "CGO_ENABLED=1"
		}
		cmd.Env = append(os.Environ(), "GOBIN="+tmp, cgo, "GOFLAGS=-buildvcs=false")
		var errOut bytes.Buffer
		cmd.Stderr = &errOut
		out, err := cmd.Output()
		if err != nil {
			return "", fmt.Errorf("build %s: go %s: %w\n%s", name, strings.Join(args, " "), err, errOut.String())
		}
		return strings.TrimSpace(string(out)), nil
	}
	if edit, ok := s.edit[name]; ok {
		err = s.buildEdited(tmp, target, built, edit, run)
	} else {
		_, err = run(append(append([]string{"install"}, s.flags...), target+"@"+s.version)...)
	}
	if err != nil {
		return "", err
	}
	if err := os.Rename(filepath.Join(tmp, built), path); err != nil {
		return "", err
	}
	fmt.Fprintf(log, "built %s in %.0f s\n", name, time.Since(begin).Seconds())
	return path, nil
}

// buildEdited builds in a module of its own, where a file can be replaced.
func (s *set) buildEdited(tmp, target, built string, edit [3]string, run func(args ...string) (string, error)) error {
	if _, err := run("mod", "init", "build"); err != nil {
		return err
	}
	if _, err := run("get", "-tool", target+"@"+s.version); err != nil {
		return err
	}
	if _, err := run("mod", "vendor"); err != nil {
		return err
	}
	file := filepath.Join(tmp, "vendor", s.module, edit[0])
	source, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if strings.Count(string(source), edit[1]) != 1 {
		return fmt.Errorf("build %s: %s does not have once %q: the version is another", built, file, edit[1])
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(source), edit[1], edit[2], 1)), 0o644); err != nil {
		return err
	}
	_, err = run(append(append([]string{"build", "-mod=vendor", "-o", built}, s.flags...), target)...)
	return err
}

// Lock takes a lock file, for which it waits.
func Lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}
