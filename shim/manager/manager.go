// SPDX-License-Identifier: Apache-2.0

// Package manager starts the daemon of a shim and cleans up after it: what
// containerd calls as "start" and "delete".
package manager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	bootstrap "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	"github.com/containerd/containerd/v2/defaults"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/shim"
	"golang.org/x/sys/unix"

	oci "github.com/paracell/paracell/runtime/bundle"
	"github.com/paracell/paracell/shim/hostcgroup"
	"github.com/paracell/paracell/shim/record"
	"github.com/paracell/paracell/shim/sandbox"
)

// Name is the runtime's.
const Name = "io.containerd.paracell.v2"

const (
	// AddressFile in a bundle has the address of its shim's socket.
	AddressFile = "address"
	// killTimeout is how long a killed shim may take to end.
	killTimeout = 10 * time.Second
	// lostStatus is the exit status of a container whose shim has died.
	lostStatus = 128 + int(unix.SIGKILL)
)

// New returns the manager.
func New() shim.Shim { return manager{} }

type manager struct{}

func (manager) Name() string { return Name }

// groups are the annotations that put containers into one cell.
var groups = []string{"io.containerd.paracell.v2.group", "io.kubernetes.cri.sandbox-id"}

// spec is what the manager has to know of a specification.
type spec struct {
	Annotations map[string]string `json:"annotations"`
	Linux       struct {
		Namespaces []struct{ Type, Path string } `json:"namespaces"`
	} `json:"linux"`
}

func readSpec(bundle string) (*spec, error) {
	var s spec
	b, err := os.ReadFile(filepath.Join(bundle, "config.json"))
	if errors.Is(err, os.ErrNotExist) {
		return &s, nil // of a sandbox that is no container
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	return &s, nil
}

// group is the name of the cell that a container belongs to.
func (s *spec) group(id string) string {
	for _, g := range groups {
		if name := s.Annotations[g]; name != "" {
			return name
		}
	}
	return id
}

// disconnect cleans the network namespace of the cell that a bundle's container
// was the first of.
func disconnect(bundle string) error {
	s, err := readSpec(bundle)
	if err != nil || s.group(filepath.Base(bundle)) != filepath.Base(bundle) {
		return nil // it has no network of its own
	}
	for _, n := range s.Linux.Namespaces {
		if n.Type == "network" {
			return sandbox.Disconnect(n.Path)
		}
	}
	return nil
}

// Start implements shim.Shim: it starts the daemon, or finds the one of the
// same group. Its output is the protocol: nothing is logged here.
func (manager) Start(ctx context.Context, p *bootstrap.BootstrapParams) (*bootstrap.BootstrapResult, error) {
	id := p.GetInstanceID()
	spec, err := readSpec(".")
	if err != nil {
		return nil, err
	}
	name := spec.group(id)
	dir := p.GetSocketDir()
	if dir == "" {
		dir = filepath.Join(defaults.DefaultStateDir, "s")
	}
	address, err := shim.CreateSocketAddress(ctx, dir, p.GetContainerdGrpcAddress(), name, false)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(AddressFile, []byte(address), 0o600); err != nil {
		return nil, err
	}
	result := &bootstrap.BootstrapResult{Version: 3, Protocol: "ttrpc", Address: address}
	l, err := shim.NewSocket(address)
	if err != nil && shim.SocketEaddrinuse(err) {
		if shim.CanConnect(address) {
			return result, nil
		}
		// One of a shim that was killed.
		if err := shim.RemoveSocket(address); err != nil {
			return nil, fmt.Errorf("remove the socket of a dead shim: %w", err)
		}
		l, err = shim.NewSocket(address)
	}
	if err != nil {
		return nil, fmt.Errorf("socket of the shim: %w", err)
	}
	defer l.Close()
	l.SetUnlinkOnClose(false)
	debug := p.GetLogLevel() <= bootstrap.LogLevel_LOG_LEVEL_DEBUG
	if err := daemon(ctx, id, p.GetContainerdGrpcAddress(), debug, l); err != nil {
		return nil, errors.Join(err, shim.RemoveSocket(address))
	}
	return result, nil
}

// daemon starts this program as the server behind a socket.
func daemon(ctx context.Context, id, containerd string, debug bool, l interface{ File() (*os.File, error) }) error {
	namespace, err := namespaces.NamespaceRequired(ctx)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	f, err := l.File()
	if err != nil {
		return err
	}
	defer f.Close()
	args := []string{"-namespace", namespace, "-id", id, "-address", containerd}
	if debug {
		args = append(args, "-debug")
	}
	cmd := exec.Command(self, args...)
	// Go would have as many threads as the host has processors.
	cmd.Env = append(os.Environ(), "GOMAXPROCS=4")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.ExtraFiles = []*os.File{f}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the shim: %w", err)
	}
	// Hosts that do not let it be changed (CAP_SYS_RESOURCE) keep the score.
	_ = shim.AdjustOOMScore(cmd.Process.Pid)
	return cmd.Process.Release()
}

// Stop implements shim.Shim. containerd calls it whenever the connection to a
// shim has ended: after every regular end, when there is nothing to do, and
// after the death of a shim, or when a shim does not answer. Then it ends what is
// left and cleans up.
func (manager) Stop(_ context.Context, id string) (shim.StopStatus, error) {
	cwd, err := os.Getwd()
	if err != nil {
		return shim.StopStatus{}, err
	}
	status, err := clean(filepath.Join(filepath.Dir(cwd), id))
	if err != nil {
		return status, fmt.Errorf("container %s: %w", id, err)
	}
	return status, nil
}

func clean(bundle string) (shim.StopStatus, error) {
	status := shim.StopStatus{ExitedAt: time.Now(), ExitStatus: lostStatus}
	r, err := record.Read(bundle)
	if errors.Is(err, os.ErrNotExist) {
		// Never made, or deleted: the shim may go on with other containers.
		return status, removeSocket(bundle)
	}
	if err == nil {
		status.Pid = r.Task
		if r.Exit != nil {
			status.ExitStatus, status.ExitedAt = int(r.Exit.Status), r.Exit.At
		}
		err = r.KillShim(killTimeout)
	}
	if r.Sandbox != nil {
		err = errors.Join(err, sandbox.Disconnect(r.Sandbox.Network))
		if r.Sandbox.Group != "" {
			err = errors.Join(err, hostcgroup.Remove(r.Sandbox.Group))
		}
		return status, errors.Join(err, removeSocket(bundle), record.Remove(bundle))
	}
	return status, errors.Join(err, sandbox.Unmount(bundle), disconnect(bundle), removeGroup(bundle),
		oci.RunStopHooks(context.Background(), bundle, filepath.Base(bundle)), removeSocket(bundle), record.Remove(bundle))
}

// removeGroup removes the control group of a bundle's container.
func removeGroup(bundle string) error {
	path, err := oci.CgroupsPath(bundle)
	if err != nil || path == "" {
		return err
	}
	return hostcgroup.Remove(path)
}

// removeSocket removes the socket of a bundle's shim if nobody serves it.
func removeSocket(bundle string) error {
	address, err := shim.ReadAddress(filepath.Join(bundle, AddressFile))
	if err != nil {
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, shim.ErrNoAddress) {
			return nil
		}
		return err
	}
	if shim.CanConnect(address) {
		return nil
	}
	if err := shim.RemoveSocket(address); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
