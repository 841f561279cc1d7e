// SPDX-License-Identifier: Apache-2.0

// Package assets finds the files that belong to an installation: they stand
// beside the program itself, never anywhere on PATH.
package assets

import (
	"fmt"
	"os"
	"path/filepath"

	agent "github.com/paracell/paracell/protos/agent/v1"
)

// File names of the assets.
const (
	Kernel = "paracell-kernel"
	Init   = "paracell-init"
	// Agent is PID 1 of a cell with containers, Crun makes them for it.
	Agent = agent.AgentProgram
	Crun  = agent.CrunProgram
	// Shim is started by containerd.
	Shim = "containerd-shim-paracell-v2"
)

// Find returns the path of an asset: explicit if it is not empty, otherwise the
// file of that name in the directory of the running program.
func Find(name, explicit string) (string, error) {
	if explicit != "" {
		if err := regular(explicit); err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
		return explicit, nil
	}
	exe, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("%s: find the directory of this program: %w", name, err)
	}
	if exe, err = filepath.EvalSymlinks(exe); err != nil {
		return "", fmt.Errorf("%s: find the directory of this program: %w", name, err)
	}
	p := filepath.Join(filepath.Dir(exe), name)
	if err := regular(p); err != nil {
		return "", fmt.Errorf("%s has to stand beside %s (make build puts it there): %w", name, filepath.Base(exe), err)
	}
	return p, nil
}

func regular(p string) error {
	fi, err := os.Stat(p)
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", p)
	}
	return nil
}
