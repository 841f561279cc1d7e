// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/pelletier/go-toml/v2"
)

const (
	// FilePath is the configuration of the runtime on a host.
	FilePath = "/etc/paracell/config.toml"
	// FileVariable names an environment variable with another path.
	FileVariable = "PARACELL_CONFIG"
)

// File is the content of the configuration file. Absent keys mean the default.
type File struct {
	// Isolation between a cell's user and its kernel: auto, mpk, none.
	Isolation string `toml:"isolation"`
	// Memory of a cell whose container has no limit, with suffix K, M or G.
	Memory string `toml:"memory"`
	// Vcpus is the number of vCPUs.
	Vcpus int `toml:"vcpus"`
	// Kernel is the path of the guest kernel.
	Kernel string `toml:"kernel"`
	// KernelArgs are added to the kernel command line.
	KernelArgs []string `toml:"kernel_args"`
	// Debug puts the guest kernel's log into containerd's.
	Debug bool `toml:"debug"`
}

// LoadFile reads the configuration file. A file that does not exist is an empty
// one, unless the environment names it.
func LoadFile() (*File, error) {
	path, named := os.LookupEnv(FileVariable)
	if !named || path == "" {
		path, named = FilePath, false
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return &File{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	f, err := parseFile(b)
	if err != nil {
		return nil, fmt.Errorf("configuration %s: %w", path, err)
	}
	return f, nil
}

func parseFile(b []byte) (*File, error) {
	var f File
	d := toml.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		var strict *toml.StrictMissingError
		if errors.As(err, &strict) {
			return nil, fmt.Errorf("unknown key:\n%s", strict.String())
		}
		return nil, err
	}
	_, err := f.Cell("check")
	return &f, err
}

// Cell is a cell with an agent as the file describes it.
func (f *File) Cell(name string) (Cell, error) {
	c := Default()
	c.Name, c.Agent = name, true
	c.Kernel, c.KernelArgs, c.Verbose = f.Kernel, f.KernelArgs, f.Debug
	if f.Isolation != "" {
		c.Isolation = f.Isolation
	}
	switch c.Isolation {
	case "auto", "mpk", "none":
	default:
		return c, fmt.Errorf("isolation %q: auto, mpk or none is needed", c.Isolation)
	}
	if f.Vcpus != 0 {
		c.Vcpus = f.Vcpus
	}
	if f.Memory != "" {
		n, err := ParseSize(f.Memory)
		if err != nil {
			return c, fmt.Errorf("memory: %w", err)
		}
		c.Memory = n
	}
	return c, c.Validate()
}
