// SPDX-License-Identifier: Apache-2.0

// Package bundle turns the OCI specification of a container on the host into
// the one that the agent carries out in the guest. What becomes of every field
// is in the table fields and in docs/oci.md; what Load drops it names in
// Bundle.Ignored, with the reason.
package bundle

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Bundle is a container as it is to be made.
type Bundle struct {
	// Dir is the bundle's directory on the host.
	Dir string
	// Spec is for the guest.
	Spec *specs.Spec
	// Host is the specification as it was given.
	Host *specs.Spec
	// Rootfs is the root file system on the host.
	Rootfs string
	// Volumes are the host files that Spec mounts.
	Volumes []Volume
	// Annotations of the container, which the guest does not get.
	Annotations map[string]string
	// MemoryLimit of the container, or of the group that its annotations
	// describe, in bytes; 0 is none.
	MemoryLimit uint64
	// NetworkPath is the network namespace of the host that the container is
	// to be in; empty is a new one. HostNetwork says that it is to be in that
	// of the host itself.
	NetworkPath string
	HostNetwork bool
	// Ignored names the fields that were dropped, with the reason.
	Ignored []string
}

// maxConfig bounds config.json, in bytes.
const maxConfig = 16 << 20

// Load reads config.json of a bundle.
func Load(dir, container string) (*Bundle, error) {
	b, err := readConfig(dir)
	if err != nil {
		return nil, fmt.Errorf("container %s: %w", container, err)
	}
	out, err := parse(b, dir, container)
	if err != nil {
		return nil, fmt.Errorf("container %s: config.json: %w", container, err)
	}
	return out, nil
}

// CgroupsPath reads the control group on the host that a bundle names; empty is
// none.
func CgroupsPath(dir string) (string, error) {
	b, err := readConfig(dir)
	if err != nil {
		return "", err
	}
	var s specs.Spec
	if err := json.Unmarshal(b, &s); err != nil || s.Linux == nil {
		return "", err
	}
	return s.Linux.CgroupsPath, nil
}

func readConfig(dir string) ([]byte, error) {
	path := filepath.Join(dir, "config.json")
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if fi.Size() > maxConfig {
		return nil, fmt.Errorf("%s has %d MiB: at most %d are read", path, fi.Size()>>20, maxConfig>>20)
	}
	return os.ReadFile(path)
}

// parse makes a bundle of the content of config.json.
func parse(config []byte, dir, container string) (*Bundle, error) {
	var spec, host specs.Spec
	if err := json.Unmarshal(config, &spec); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(config, &host); err != nil {
		return nil, err
	}
	out := &Bundle{Dir: dir, Spec: &spec, Host: &host}
	return out, out.translate(container)
}

// ociVersion is what the guest's crun understands.
const ociVersion = "1.0.2"

func (b *Bundle) translate(container string) error {
	s := b.Spec
	if err := checkVersion(s.Version); err != nil {
		return err
	}
	if s.Process == nil || len(s.Process.Args) == 0 {
		return errors.New("process.args is needed: the image has no command and none was given")
	}
	switch {
	case s.Root == nil || s.Root.Path == "":
		return errors.New("root.path is needed")
	case !filepath.IsAbs(s.Process.Cwd):
		return fmt.Errorf("process.cwd %q: an absolute path is needed", s.Process.Cwd)
	case s.Linux == nil:
		return errors.New("linux is needed: only Linux containers can be run")
	}
	b.Rootfs = absolute(b.Dir, s.Root.Path)
	b.Annotations = s.Annotations
	var err error
	if b.MemoryLimit, err = memoryLimit(b.Annotations, s.Linux.Resources); err != nil {
		return err
	}
	if err := b.apply(reflect.ValueOf(s).Elem(), ""); err != nil {
		return err
	}
	s.Version = ociVersion
	if s.Root == nil {
		s.Root = &specs.Root{} // the agent knows the path
	}
	if s.Linux == nil {
		s.Linux = &specs.Linux{}
	}
	b.namespaces(s.Linux, b.Host.Linux)
	b.linux(s.Linux)
	return b.mounts(container)
}

func checkVersion(v string) error {
	if v == "" {
		return errors.New("ociVersion is needed")
	}
	if major, _, _ := strings.Cut(v, "."); major != "1" {
		return fmt.Errorf("ociVersion %q: 1.x is needed", v)
	}
	return nil
}

// absolute is a path that may be relative to the bundle.
func absolute(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

func (b *Bundle) ignore(reason string) { b.Ignored = append(b.Ignored, reason) }

// sandboxMemory is the sum of the limits of a Kubernetes pod, as containerd's
// CRI plugin gives it to the container that comes first.
const sandboxMemory = "io.kubernetes.cri.sandbox-memory"

// Pod says whether the container stands for a Kubernetes pod.
func (b *Bundle) Pod() bool { return b.Annotations["io.kubernetes.cri.container-type"] == "sandbox" }

// memoryLimit is what sizes the cell.
func memoryLimit(annotations map[string]string, r *specs.LinuxResources) (uint64, error) {
	if text := annotations[sandboxMemory]; text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("annotation %s: %q: a number of bytes is needed", sandboxMemory, text)
		}
		if n > 0 {
			return uint64(n), nil
		}
	}
	if r == nil || r.Memory == nil || r.Memory.Limit == nil || *r.Memory.Limit <= 0 {
		return 0, nil // negative is "no limit"
	}
	return uint64(*r.Memory.Limit), nil
}

func (b *Bundle) linux(l *specs.Linux) {
	l.Namespaces = slices.DeleteFunc(l.Namespaces, func(n specs.LinuxNamespace) bool {
		return n.Type == specs.TimeNamespace // it needs offsets to differ
	})
	b.devices(l)
	if r := l.Resources; r != nil && r.CPU != nil && r.CPU.Burst != nil {
		// The guest's crun does not know it under its own name.
		if r.Unified == nil {
			r.Unified = map[string]string{}
		}
		if _, given := r.Unified["cpu.max.burst"]; !given {
			r.Unified["cpu.max.burst"] = strconv.FormatUint(*r.CPU.Burst, 10)
		}
		r.CPU.Burst = nil
	}
}

// knownDevices are device numbers that mean the same thing in every kernel, and
// that the guest's has.
var knownDevices = map[string]bool{
	"c 1:3": true, "c 1:5": true, "c 1:7": true, "c 1:8": true, "c 1:9": true, // null, zero, full, random, urandom
	"c 1:11": true,                // kmsg
	"c 5:0":  true, "c 5:1": true, // tty, console
	"c 5:2":    true, // ptmx
	"c 10:200": true, // net/tun
	"c 10:229": true, // fuse
}

// devices drops nodes whose device is on the host: in the guest their numbers
// name nothing, or something else.
func (b *Bundle) devices(l *specs.Linux) {
	l.Devices = slices.DeleteFunc(l.Devices, func(d specs.LinuxDevice) bool {
		kind := d.Type
		if kind == "u" {
			kind = "c"
		}
		number := fmt.Sprintf("%s %d:%d", kind, d.Major, d.Minor)
		if kind == "p" || knownDevices[number] {
			return false
		}
		b.ignore(fmt.Sprintf("linux.devices: %s (%s) is a device of the host, which cells do not have", d.Path, number))
		return true
	})
}

// Encode is Spec in JSON.
func (b *Bundle) Encode() ([]byte, error) { return json.Marshal(b.Spec) }

// Process is a process that is added to a container, for the guest.
func Process(encoded []byte) ([]byte, error) {
	var p specs.Process
	if err := json.Unmarshal(encoded, &p); err != nil {
		return nil, fmt.Errorf("process: %w", err)
	}
	if len(p.Args) == 0 {
		return nil, errors.New("process.args is needed")
	}
	if err := (&Bundle{}).apply(reflect.ValueOf(&p).Elem(), "process"); err != nil {
		return nil, err
	}
	return json.Marshal(&p)
}

// Resources are new limits of a container: as they were given, and for the guest.
func Resources(encoded []byte) (*specs.LinuxResources, []byte, error) {
	var host, r specs.LinuxResources
	if err := errors.Join(json.Unmarshal(encoded, &host), json.Unmarshal(encoded, &r)); err != nil {
		return nil, nil, fmt.Errorf("resources: %w", err)
	}
	b := &Bundle{Spec: &specs.Spec{Linux: &specs.Linux{Resources: &r}}}
	if err := b.apply(reflect.ValueOf(&r).Elem(), "linux.resources"); err != nil {
		return nil, nil, err
	}
	b.linux(b.Spec.Linux)
	guest, err := json.Marshal(&r)
	return &host, guest, err
}
