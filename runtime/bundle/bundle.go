// SPDX-License-Identifier: Apache-2.0

// Package bundle turns the OCI specification of a container on the host into
// the one that the agent carries out in the guest. What it drops it names in
// Bundle.Ignored, with the reason.
package bundle

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	agent "github.com/paracell/paracell/protos/agent/v1"
)

// Bundle is a container as it is to be made.
type Bundle struct {
	// Dir is the bundle's directory on the host.
	Dir string
	// Spec is for the guest.
	Spec *specs.Spec
	// Rootfs is the root file system on the host.
	Rootfs string
	// Volumes are the host files that Spec mounts.
	Volumes []Volume
	// Annotations of the container, which the guest does not get.
	Annotations map[string]string
	// MemoryLimit of the container, or of the group that its annotations
	// describe, in bytes; 0 is none.
	MemoryLimit uint64
	// Ignored names the fields that were dropped, with the reason.
	Ignored []string
}

// Volume is a directory or file of the host that a container mounts.
type Volume struct {
	// Name is its name in agent.TagVolumes.
	Name string
	// Source is its path on the host.
	Source string
	// File says that Source is no directory: it has to be put into a
	// directory under its base name to be shared.
	File     bool
	ReadOnly bool
}

// FileInVolume is the name of a File in its directory.
const FileInVolume = "file"

// Load reads config.json of a bundle.
func Load(dir, container string) (*Bundle, error) {
	b, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		return nil, fmt.Errorf("container %s: %w", container, err)
	}
	var spec specs.Spec
	if err := json.Unmarshal(b, &spec); err != nil {
		return nil, fmt.Errorf("container %s: config.json: %w", container, err)
	}
	out := &Bundle{Dir: dir, Spec: &spec}
	if err := out.translate(container); err != nil {
		return nil, fmt.Errorf("container %s: config.json: %w", container, err)
	}
	return out, nil
}

// ociVersion is what the guest's crun understands.
const ociVersion = "1.0.2"

func (b *Bundle) translate(container string) error {
	s := b.Spec
	switch {
	case s.Root == nil || s.Root.Path == "":
		return errors.New("root.path is needed")
	case s.Process == nil:
		return errors.New("process is needed")
	case s.Linux == nil:
		return errors.New("linux is needed: only Linux containers can be run")
	case s.VM != nil, s.Windows != nil, s.Solaris != nil:
		return errors.New("vm, windows and solaris are for other platforms")
	}
	b.Rootfs = s.Root.Path
	if !filepath.IsAbs(b.Rootfs) {
		b.Rootfs = filepath.Join(b.Dir, b.Rootfs)
	}
	s.Version = ociVersion
	b.Annotations, s.Annotations = s.Annotations, nil
	var err error
	if b.MemoryLimit, err = memoryLimit(b.Annotations, s.Linux.Resources); err != nil {
		return err
	}
	if s.Hooks != nil {
		b.ignore("hooks: they would run on the host, where the container is not")
		s.Hooks = nil
	}
	b.process(s.Process)
	b.linux(s.Linux)
	return b.mounts(container)
}

// sandboxMemory is the sum of the limits of a Kubernetes pod, as containerd's
// CRI plugin gives it to the container that comes first.
const sandboxMemory = "io.kubernetes.cri.sandbox-memory"

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

func (b *Bundle) ignore(reason string) { b.Ignored = append(b.Ignored, reason) }

// process drops what the guest's kernel does not have.
func (b *Bundle) process(p *specs.Process) {
	if p.ApparmorProfile != "" {
		b.ignore("process.apparmorProfile: the guest has no AppArmor")
		p.ApparmorProfile = ""
	}
	if p.SelinuxLabel != "" {
		b.ignore("process.selinuxLabel: the guest has no SELinux")
		p.SelinuxLabel = ""
	}
}

func (b *Bundle) linux(l *specs.Linux) {
	// The cell is what these name on the host.
	l.CgroupsPath = ""
	l.IntelRdt = nil
	l.MountLabel = ""
	l.Namespaces = slices.DeleteFunc(slices.Clone(l.Namespaces), func(n specs.LinuxNamespace) bool {
		return n.Type == specs.NetworkNamespace // it is the cell's
	})
	for i := range l.Namespaces {
		l.Namespaces[i].Path = ""
	}
	if l.Resources != nil {
		if len(l.Resources.HugepageLimits) != 0 {
			b.ignore("linux.resources.hugepageLimits: the guest has no huge pages")
			l.Resources.HugepageLimits = nil
		}
		if l.Resources.Network != nil {
			b.ignore("linux.resources.network: cgroup version 2 does not have it")
			l.Resources.Network = nil
		}
		l.Resources.Rdma = nil
	}
}

// mounts makes volumes of what comes from the host.
func (b *Bundle) mounts(container string) error {
	for i := range b.Spec.Mounts {
		m := &b.Spec.Mounts[i]
		if m.Type != "bind" && !slices.Contains(m.Options, "bind") && !slices.Contains(m.Options, "rbind") {
			continue
		}
		fi, err := os.Stat(m.Source)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("mount on %s: %s does not exist on the host", m.Destination, m.Source)
		}
		if err != nil {
			return fmt.Errorf("mount on %s: %w", m.Destination, err)
		}
		v := Volume{
			Name: container + "-" + strconv.Itoa(i), Source: m.Source, File: !fi.IsDir(),
			ReadOnly: slices.Contains(m.Options, "ro"),
		}
		b.Volumes = append(b.Volumes, v)
		m.Source = path.Join(agent.VolumesDir, v.Name)
		if v.File {
			m.Source = path.Join(m.Source, FileInVolume)
		}
	}
	return nil
}

// Encode is Spec in JSON.
func (b *Bundle) Encode() ([]byte, error) { return json.Marshal(b.Spec) }

// Process is a process that is added to a container, for the guest.
func Process(encoded []byte) ([]byte, error) {
	var p specs.Process
	if err := json.Unmarshal(encoded, &p); err != nil {
		return nil, fmt.Errorf("process: %w", err)
	}
	(&Bundle{}).process(&p)
	return json.Marshal(&p)
}
