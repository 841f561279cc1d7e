// SPDX-License-Identifier: Apache-2.0

// Package tools builds programs of others from their Go modules, at pinned
// versions, once per machine.
package tools

import (
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
	}, flags: []string{"-ldflags", "-s -w"}},
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
	target := s.module + "@" + s.version
	if pkg != "." {
		target = s.module + "/" + pkg + "@" + s.version
	}
	cmd := exec.CommandContext(ctx, "go", append(append([]string{"install"}, s.flags...), target)...)
	cmd.Dir = tmp
	cgo := "CGO_ENABLED=0"
	if len(s.cgo) != 0 {
		cgo = "CGO_ENABLED=1"
	}
	cmd.Env = append(os.Environ(), "GOBIN="+tmp, cgo, "GOFLAGS=-buildvcs=false")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", target, err, out)
	}
	built := filepath.Base(pkg)
	if pkg == "." {
		built = filepath.Base(s.module)
	}
	if err := os.Rename(filepath.Join(tmp, built), path); err != nil {
		return "", err
	}
	fmt.Fprintf(log, "built %s in %.0f s\n", name, time.Since(begin).Seconds())
	return path, nil
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
