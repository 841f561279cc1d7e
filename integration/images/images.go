// SPDX-License-Identifier: Apache-2.0

// Package images makes container images from Debian packages, without a
// registry: a minimal Debian system is the first layer of all but busybox and
// the bare ones, and what installing an image's packages adds is its second one. Layers are kept
// from run to run.
package images

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/paracell/paracell/integration/tools"
)

//go:embed build.sh
var script []byte

// image says what is in an image.
type image struct {
	name string
	// packages of Debian; none is the base system alone.
	packages []string
	// bare images hold the packages alone, unpacked: no base system.
	bare    bool
	user    string
	command []string
}

const path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

var table = []image{
	{name: "busybox", command: []string{"/bin/sh"}},
	{name: "pause", command: []string{"/bin/sleep", "infinity"}}, // holds a pod
	{name: "debian", command: []string{"/bin/bash"}},
	{name: "python3", packages: []string{"python3"}, command: []string{"python3"}},
	// A tenth of the size: for the emulated machine, which has it in memory.
	{name: "python3-bare", bare: true, command: []string{"python3.11"}, packages: []string{
		"python3.11-minimal", "libpython3.11-minimal", "libc6", "libexpat1", "libssl3", "zlib1g"}},
	{name: "nodejs", packages: []string{"nodejs"}, command: []string{"node"}},
	{name: "redis", packages: []string{"redis"}, user: "redis",
		command: []string{"redis-server", "--protected-mode", "no", "--dir", "/var/lib/redis"}},
	{name: "nginx", packages: []string{"nginx-light", "curl"}, command: []string{"nginx", "-g", "daemon off;"}},
	{name: "postgresql", packages: []string{"postgresql"}, user: "postgres", command: []string{"/bin/bash"}},
	{name: "git", packages: []string{"git"}, command: []string{"/bin/bash"}},
	{name: "gcc", packages: []string{"gcc", "libc6-dev"}, command: []string{"/bin/bash"}},
	{name: "sqlite3", packages: []string{"sqlite3"}, command: []string{"sqlite3"}},
	{name: "openjdk", packages: []string{"openjdk-17-jdk-headless"}, command: []string{"/bin/bash"}},
}

// Names lists the images that can be made.
func Names() []string {
	var names []string
	for _, i := range table {
		names = append(names, i.name)
	}
	return names
}

// Ref is the name of an image in containerd.
func Ref(name string) string { return "localhost/" + name + ":latest" }

// Set is some images. It may be used by many goroutines.
type Set struct {
	dir    string
	images []packed
}

// packed is an image whose layers are blobs.
type packed struct {
	image
	layers []descriptor
}

// Size is that of all layers, in bytes.
func (s *Set) Size() int64 {
	sizes := map[string]int64{}
	for _, i := range s.images {
		for _, l := range i.layers {
			sizes[l.Digest] = l.Size
		}
	}
	var sum int64
	for _, n := range sizes {
		sum += n
	}
	return sum
}

// Build makes what is missing of the named images, as root, and tells log what
// takes long. Debian's mmdebstrap has to be installed.
func Build(ctx context.Context, log io.Writer, names ...string) (*Set, error) {
	b := &builder{log: log}
	release, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(append(slices.Clone(script), release...))
	b.dir = filepath.Join(tools.Cache(), "images", hex.EncodeToString(sum[:8]))
	if err := os.MkdirAll(filepath.Join(b.dir, "blobs"), 0o755); err != nil {
		return nil, err
	}
	unlock, err := tools.Lock(filepath.Join(b.dir, "lock"))
	if err != nil {
		return nil, err
	}
	defer unlock()
	b.forget()
	s := &Set{dir: b.dir}
	var missing []image
	for _, name := range names {
		i := slices.IndexFunc(table, func(i image) bool { return i.name == name })
		if i < 0 {
			return nil, fmt.Errorf("image %q is not known: %s", name, strings.Join(Names(), ", "))
		}
		s.images = append(s.images, packed{image: table[i]})
		if onBusybox(name) {
			if _, err := b.layer("busybox"); err != nil {
				if err := b.pack(ctx, "busybox", "making an image of busybox", "busybox"); err != nil {
					return nil, err
				}
			}
		} else if table[i].bare {
			if _, err := b.layer(layerOf(table[i])); err != nil {
				if err := b.bareLayer(ctx, table[i]); err != nil {
					return nil, err
				}
			}
		} else if _, err := b.layer(layerOf(table[i])); err != nil {
			missing = append(missing, table[i])
		}
	}
	if len(missing) != 0 {
		if err := b.debian(ctx, missing); err != nil {
			return nil, err
		}
	}
	for n := range s.images {
		p := &s.images[n]
		if !onBusybox(p.name) && !p.bare && len(p.packages) != 0 {
			l, err := b.layer("base")
			if err != nil {
				return nil, err
			}
			p.layers = append(p.layers, l)
		}
		l, err := b.layer(layerOf(p.image))
		if err != nil {
			return nil, err
		}
		p.layers = append(p.layers, l)
	}
	return s, nil
}

// forget removes what other versions of this package have made and nothing has
// used for a week.
func (b *builder) forget() {
	now := time.Now()
	_ = os.Chtimes(filepath.Join(b.dir, "lock"), now, now)
	locks, _ := filepath.Glob(filepath.Join(filepath.Dir(b.dir), "*", "lock"))
	for _, l := range locks {
		if fi, err := os.Stat(l); err == nil && now.Sub(fi.ModTime()) > 7*24*time.Hour {
			_ = os.RemoveAll(filepath.Dir(l))
		}
	}
}

// onBusybox says whether an image has busybox and nothing else in it.
func onBusybox(name string) bool { return name == "busybox" || name == "pause" }

// layerOf names the last layer of an image: other packages are another one.
func layerOf(i image) string {
	switch {
	case onBusybox(i.name):
		return "busybox"
	case len(i.packages) == 0:
		return "base"
	}
	sum := sha256.Sum256([]byte(strings.Join(i.packages, " ")))
	return i.name + "-" + hex.EncodeToString(sum[:4])
}

// builder makes layers in a folder.
type builder struct {
	dir string
	mu  sync.Mutex
	log io.Writer // under mu
}

func (b *builder) say(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	fmt.Fprintf(b.log, format+"\n", args...)
}

// record notes the blob of a layer that has been made.
func (b *builder) record(name string, blob descriptor) error {
	text, err := json.Marshal(blob)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(b.dir, name+".json"), text, 0o644)
}

// layer is the blob of a layer that is there.
func (b *builder) layer(name string) (descriptor, error) {
	var d descriptor
	text, err := os.ReadFile(filepath.Join(b.dir, name+".json"))
	if err == nil {
		err = json.Unmarshal(text, &d)
	}
	return d, err
}

func (b *builder) debian(ctx context.Context, missing []image) error {
	if _, err := exec.LookPath("mmdebstrap"); err != nil {
		return errors.New("mmdebstrap is not installed: apt-get install mmdebstrap")
	}
	_, err := b.layer("base")
	if _, serr := os.Stat(filepath.Join(b.dir, "base")); err != nil || serr != nil {
		if err := b.pack(ctx, "base", "making a minimal Debian system (about 30 s)", "base"); err != nil {
			return err
		}
	}
	missing = slices.DeleteFunc(missing, func(i image) bool { return len(i.packages) == 0 })
	if len(missing) == 0 {
		return nil
	}
	fetch := []string{"fetch"}
	for _, i := range missing {
		fetch = append(fetch, i.packages...)
	}
	b.say("downloading packages of %d images", len(missing))
	if err := b.script(ctx, fetch...); err != nil {
		return err
	}
	// Two at once: half of installing is waiting.
	errs := make(chan error, len(missing))
	slots := make(chan struct{}, 2)
	for _, i := range missing {
		go func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			errs <- b.pack(ctx, layerOf(i), "making an image of "+strings.Join(i.packages, " "), append([]string{"layer", layerOf(i)}, i.packages...)...)
		}()
	}
	var first error
	for range missing {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	if err := os.RemoveAll(filepath.Join(b.dir, "cache", "archives")); first == nil {
		first = err
	}
	return first
}

// pack runs the script for a layer and makes a blob of the folder it leaves.
func (b *builder) pack(ctx context.Context, layer, what string, args ...string) error {
	begin := time.Now()
	b.say("%s", what)
	if err := b.script(ctx, args...); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	dir := filepath.Join(b.dir, layer)
	if args[0] == "layer" {
		dir = filepath.Join(b.dir, "layer-"+layer)
	}
	blob, err := packLayer(b.dir, dir)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if layer != "base" { // which layers to come need
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	if err := b.record(layer, blob); err != nil {
		return err
	}
	b.say("%s: %.0f s, %d MB", what, time.Since(begin).Seconds(), blob.Size>>20)
	return nil
}

// script runs build.sh in a mount namespace of its own.
func (b *builder) script(ctx context.Context, args ...string) error {
	if err := os.MkdirAll(filepath.Join(b.dir, "cache", "archives", "partial"), 0o755); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "bash", append([]string{"-c", string(script), "build.sh", b.dir}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out[max(0, len(out)-4096):])
	}
	return nil
}
