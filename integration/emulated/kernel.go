// SPDX-License-Identifier: Apache-2.0

package emulated

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// The "cloud" flavour has everything the machine uses and is a third of the
// size of the other.
var packageName = regexp.MustCompile(`^linux-image-6\.12\.([0-9]+)\+deb[0-9]+-cloud-amd64$`)

// kernel is an unpacked kernel package in the cache.
type kernel struct {
	image   string // ELF image, or the compressed one where zstd is not installed
	modules string // folder
}

// CacheDir is where downloads are kept.
func CacheDir() string {
	if dir := os.Getenv("PARACELL_CACHE"); dir != "" {
		return dir
	}
	return "/var/cache/paracell"
}

// ensureKernel returns the newest kernel in the cache, after a download when
// there is none.
func ensureKernel(ctx context.Context) (*kernel, error) {
	cache := filepath.Join(CacheDir(), "emulated")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, fmt.Errorf("%w: cache folder: %w; set PARACELL_CACHE to a folder you can write to", ErrUnavailable, err)
	}
	unlock, err := lock(filepath.Join(cache, "lock"))
	if err != nil {
		return nil, err
	}
	defer unlock()

	entries, err := os.ReadDir(cache)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	name := newest(names)
	if name == "" {
		if name, err = candidate(ctx); err != nil {
			return nil, err
		}
		if err := download(ctx, cache, name); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrUnavailable, name, err)
		}
	}
	dir := filepath.Join(cache, name)
	return &kernel{image: filepath.Join(dir, "kernel"), modules: filepath.Join(dir, "modules")}, nil
}

// lock takes the cache for this process and waits while another has it.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}

// newest picks the package name with the highest stable release, "" if none
// of the names is one.
func newest(names []string) string {
	best, bestRelease := "", -1
	for _, name := range names {
		m := packageName.FindStringSubmatch(name)
		if m == nil {
			continue
		}
		if release, err := strconv.Atoi(m[1]); err == nil && release > bestRelease {
			best, bestRelease = name, release
		}
	}
	return best
}

// candidate asks apt for the newest kernel package it can download.
func candidate(ctx context.Context) (string, error) {
	for _, update := range []bool{false, true} {
		if update {
			if out, err := exec.CommandContext(ctx, "apt-get", "update", "-q").CombinedOutput(); err != nil {
				return "", fmt.Errorf("%w: apt-get update: %w: %s", ErrUnavailable, err, bytes.TrimSpace(out))
			}
		}
		out, err := exec.CommandContext(ctx, "apt-cache", "pkgnames", "linux-image-6.12.").Output()
		if err != nil {
			return "", fmt.Errorf("%w: apt-cache: %w; a Debian kernel package is needed", ErrUnavailable, err)
		}
		if name := newest(strings.Fields(string(out))); name != "" {
			return name, nil
		}
	}
	return "", fmt.Errorf("%w: apt knows no package linux-image-6.12.*-cloud-amd64; add Debian 12's security or backports source", ErrUnavailable)
}

// download fetches and unpacks a kernel package as cache/name, which appears
// complete or not at all.
func download(ctx context.Context, cache, name string) error {
	tmp, err := os.MkdirTemp(cache, "tmp-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	run := func(arg ...string) error {
		cmd := exec.CommandContext(ctx, arg[0], arg[1:]...)
		cmd.Dir = tmp
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(arg, " "), err, bytes.TrimSpace(out))
		}
		return nil
	}
	if err := run("apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", name); err != nil {
		return err
	}
	debs, _ := filepath.Glob(filepath.Join(tmp, "*.deb"))
	if len(debs) != 1 {
		return fmt.Errorf("apt-get download left %d packages", len(debs))
	}
	if err := run("dpkg-deb", "-x", debs[0], "root"); err != nil {
		return err
	}
	version := strings.TrimPrefix(name, "linux-image-")
	dest := filepath.Join(tmp, name)
	if err := os.Mkdir(dest, 0o755); err != nil {
		return err
	}
	boot := filepath.Join(tmp, "root/boot")
	image, err := os.ReadFile(filepath.Join(boot, "vmlinuz-"+version))
	if err != nil {
		return err
	}
	// QEMU boots a compressed image as well, but takes a second to unpack it.
	if _, err := exec.LookPath("zstd"); err == nil {
		if image, err = unpackImage(ctx, image); err != nil {
			return fmt.Errorf("kernel image: %w", err)
		}
	}
	if err := os.WriteFile(filepath.Join(dest, "kernel"), image, 0o644); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(boot, "config-"+version), filepath.Join(dest, "config")); err != nil {
		return err
	}
	for _, lib := range []string{"root/lib/modules", "root/usr/lib/modules"} {
		err = os.Rename(filepath.Join(tmp, lib, version), filepath.Join(dest, "modules"))
		if err == nil {
			break
		}
	}
	if err != nil {
		return err
	}
	return os.Rename(dest, filepath.Join(cache, name))
}

// unpackImage returns the ELF image inside a bzImage
// (Documentation/arch/x86/boot.rst: payload_offset, payload_length).
func unpackImage(ctx context.Context, b []byte) ([]byte, error) {
	if len(b) < 0x250 || string(b[0x202:0x206]) != "HdrS" {
		return nil, errors.New("no bzImage header")
	}
	setup := (uint64(b[0x1f1]) + 1) * 512
	start := setup + uint64(binary.LittleEndian.Uint32(b[0x248:]))
	end := start + uint64(binary.LittleEndian.Uint32(b[0x24c:]))
	if end > uint64(len(b)) || end < start+8 {
		return nil, errors.New("payload outside of the file")
	}
	// The last four bytes are the unpacked size, no part of the stream.
	payload := b[start : end-4]
	if !bytes.HasPrefix(payload, []byte{0x28, 0xb5, 0x2f, 0xfd}) {
		return nil, fmt.Errorf("payload is not zstd (it starts with %x)", payload[:4])
	}
	image, err := filter(ctx, payload, "zstd", "-dcq")
	if err == nil && !bytes.HasPrefix(image, []byte(elf.ELFMAG)) {
		err = errors.New("payload is not ELF")
	}
	return image, err
}

func filter(ctx context.Context, in []byte, arg ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, arg[0], arg[1:]...)
	cmd.Stdin = bytes.NewReader(in)
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", arg[0], err)
	}
	return out, nil
}

// module is a kernel module as an ELF object.
type module struct {
	name string
	data []byte
}

// loadModules returns the named modules and what they depend on, in the order
// in which they have to be inserted.
func (k *kernel) loadModules(ctx context.Context, names []string) ([]module, error) {
	if len(names) == 0 {
		return nil, nil
	}
	paths := map[string]string{}
	err := filepath.WalkDir(k.modules, func(path string, d fs.DirEntry, err error) error {
		if name, _, ok := strings.Cut(filepath.Base(path), ".ko"); ok && err == nil {
			paths[moduleName(name)] = path
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	var loaded []module
	var load func(name string) error
	load = func(name string) error {
		name = moduleName(name)
		if slices.ContainsFunc(loaded, func(m module) bool { return m.name == name }) {
			return nil
		}
		path, ok := paths[name]
		if !ok {
			return fmt.Errorf("kernel module %s: not in %s", name, k.modules)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if strings.HasSuffix(path, ".xz") {
			if data, err = filter(ctx, data, "xz", "-dc"); err != nil {
				return fmt.Errorf("%w: unpack %s: %w; install the package xz-utils", ErrUnavailable, path, err)
			}
		}
		deps, err := dependencies(data)
		if err != nil {
			return fmt.Errorf("kernel module %s: %w", name, err)
		}
		for _, dep := range deps {
			if err := load(dep); err != nil {
				return err
			}
		}
		loaded = append(loaded, module{name, data})
		return nil
	}
	for _, name := range names {
		if err := load(name); err != nil {
			return nil, err
		}
	}
	return loaded, nil
}

// moduleName maps file names to module names, which have no dashes.
func moduleName(s string) string { return strings.ReplaceAll(s, "-", "_") }

// dependencies reads the "depends" entry of a module.
func dependencies(data []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	s := f.Section(".modinfo")
	if s == nil {
		return nil, errors.New("no .modinfo")
	}
	info, err := s.Data()
	if err != nil {
		return nil, err
	}
	for entry := range strings.SplitSeq(string(info), "\x00") {
		if list, ok := strings.CutPrefix(entry, "depends="); ok && list != "" {
			return strings.Split(list, ","), nil
		}
	}
	return nil, nil
}
