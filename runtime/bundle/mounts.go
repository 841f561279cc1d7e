// SPDX-License-Identifier: Apache-2.0

package bundle

import (
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

// guestTypes are file systems that have no source, or one that is the guest's.
var guestTypes = []string{
	"proc", "sysfs", "tmpfs", "ramfs", "devpts", "mqueue", "cgroup", "cgroup2", "devtmpfs", "bpf", "binfmt_misc", "securityfs", "fusectl",
}

// mounts makes volumes of what comes from the host.
func (b *Bundle) mounts(container string) error {
	for i := range b.Spec.Mounts {
		m := &b.Spec.Mounts[i]
		if !filepath.IsAbs(m.Destination) {
			return fmt.Errorf("mount on %q: an absolute path is needed", m.Destination)
		}
		if !isBind(m) {
			if !slices.Contains(guestTypes, m.Type) {
				return fmt.Errorf("mount on %s: type %q cannot be mounted in a cell: mount it on the host, and bind that (types: %v)", m.Destination, m.Type, guestTypes)
			}
			continue
		}
		m.Source = absolute(b.Dir, m.Source)
		fi, err := os.Stat(m.Source)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("mount on %s: %s does not exist on the host", m.Destination, m.Source)
		}
		if err != nil {
			return fmt.Errorf("mount on %s: %w", m.Destination, err)
		}
		v := Volume{
			Name: container + "-" + strconv.Itoa(i), Source: m.Source, File: !fi.IsDir(), ReadOnly: readOnly(m.Options),
		}
		b.Volumes = append(b.Volumes, v)
		m.Source = path.Join(agent.VolumesDir, v.Name)
		if v.File {
			m.Source = path.Join(m.Source, FileInVolume)
		}
	}
	return nil
}

func isBind(m *specs.Mount) bool {
	return m.Type == "bind" || slices.Contains(m.Options, "bind") || slices.Contains(m.Options, "rbind")
}

// readOnly: the last word counts.
func readOnly(options []string) bool {
	ro := false
	for _, o := range options {
		switch o {
		case "ro", "rro":
			ro = true
		case "rw", "rrw":
			ro = false
		}
	}
	return ro
}
