// SPDX-License-Identifier: Apache-2.0

// Package boot is what the host side tells PID 1 of a cell before it starts: a
// JSON file in the initramfs.
package boot

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"
)

// Paths in the guest, relative to its root.
const (
	// Dir belongs to ParaCell; nothing of the user's is in it.
	Dir = ".paracell"
	// InitPath is PID 1 of a cell with one command.
	InitPath = Dir + "/init"
	// HostDir is where the guest's kernel mounts the file system that its
	// parameter paracell.programs names.
	HostDir = Dir + "/host"
	// SpecPath holds a Spec in JSON.
	SpecPath = Dir + "/spec.json"
	// ExitCodePath is the sysctl that takes the exit status (0 to 255) with
	// which the cell ends at power-off.
	ExitCodePath = "/proc/sys/kernel/paracell_exit_code"
)

// Ports of the host's side (CID 2) on which it listens for the command's streams.
// The guest connects, and after the last byte of output waits for the host to
// close: then it has arrived.
const (
	PortStdin  = 1
	PortStdout = 2
	PortStderr = 3
)

// Exit statuses of PID 1 for commands that could not be run, as shells use them.
const (
	StatusCannotExecute = 126
	StatusNotFound      = 127
	// StatusSignal is added to the number of the signal that killed the
	// command.
	StatusSignal = 128
)

// Spec is the one command of a cell.
type Spec struct {
	// Args is the command; Args[0] is looked up in the PATH of Env when it
	// has no slash.
	Args []string `json:"args"`
	// Env is the environment, KEY=VALUE.
	Env []string `json:"env"`
	// Cwd is an absolute path.
	Cwd string `json:"cwd"`
	// Hostname of the guest; empty keeps the kernel's.
	Hostname string `json:"hostname,omitempty"`
	// RootTag is the tag of the virtio file system that becomes the root;
	// empty stays in the initramfs.
	RootTag string `json:"rootTag,omitempty"`
	// RootReadOnly mounts it read-only.
	RootReadOnly bool `json:"rootReadOnly,omitempty"`
	// Terminal is the device in /dev that the command runs on; empty is none.
	Terminal string `json:"terminal,omitempty"`
	// Streams connects the command's output, and its input with Stdin, to the
	// host's side by sockets; without Terminal.
	Streams bool `json:"streams,omitempty"`
	Stdin   bool `json:"stdin,omitempty"`
}

// Validate says whether a spec can be run.
func (s *Spec) Validate() error {
	switch {
	case len(s.Args) == 0 || s.Args[0] == "":
		return errors.New("boot spec: no command")
	case strings.Contains(s.Terminal, "/"):
		return fmt.Errorf("boot spec: terminal %q is not a name in /dev", s.Terminal)
	case s.Terminal != "" && s.Streams:
		return errors.New("boot spec: a terminal and streams exclude each other")
	case !path.IsAbs(s.Cwd):
		return fmt.Errorf("boot spec: working directory %q is not an absolute path", s.Cwd)
	}
	return nil
}

// Encode is the content of SpecPath.
func (s *Spec) Encode() ([]byte, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	return json.Marshal(s)
}

// Decode reads the content of SpecPath.
func Decode(b []byte) (*Spec, error) {
	var s Spec
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("boot spec: %w", err)
	}
	if err := s.Validate(); err != nil {
		return nil, err
	}
	return &s, nil
}
