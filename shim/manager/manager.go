// SPDX-License-Identifier: Apache-2.0

// Package manager starts the daemon of a shim and cleans up after it: what
// containerd calls as "start" and "delete".
package manager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	bootstrap "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/v2/defaults"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/log"
	"golang.org/x/sys/unix"

	"github.com/paracell/paracell/shim/sandbox"
)

// Name is the runtime's.
const Name = "io.containerd.paracell.v2"

// New returns the manager.
func New() shim.Shim { return manager{} }

type manager struct{}

func (manager) Name() string { return Name }

// groups are the annotations that put containers into one cell.
var groups = []string{"io.containerd.paracell.v2.group", "io.kubernetes.cri.sandbox-id"}

// group is the name of the cell that a container belongs to.
func group(id string) (string, error) {
	b, err := os.ReadFile("config.json")
	if err != nil {
		return "", err
	}
	var spec struct {
		Annotations map[string]string `json:"annotations"`
	}
	if err := json.Unmarshal(b, &spec); err != nil {
		return "", fmt.Errorf("config.json: %w", err)
	}
	for _, g := range groups {
		if name := spec.Annotations[g]; name != "" {
			return name, nil
		}
	}
	return id, nil
}

// Start implements shim.Shim: it starts the daemon, or finds the one of the
// same group.
func (manager) Start(ctx context.Context, p *bootstrap.BootstrapParams) (*bootstrap.BootstrapResult, error) {
	id := p.GetInstanceID()
	name, err := group(id)
	if err != nil {
		return nil, err
	}
	dir := p.GetSocketDir()
	if dir == "" {
		dir = filepath.Join(defaults.DefaultStateDir, "s")
	}
	address, err := shim.CreateSocketAddress(ctx, dir, p.GetContainerdGrpcAddress(), name, false)
	if err != nil {
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
	if err := shim.AdjustOOMScore(cmd.Process.Pid); err != nil {
		// Needs CAP_SYS_RESOURCE, which not every host gives.
		log.G(ctx).WithError(err).Debug("the OOM score of the shim stays")
	}
	return cmd.Process.Release()
}

// Stop implements shim.Shim: it cleans up when there is no daemon any more. The
// cell has ended with it.
func (manager) Stop(_ context.Context, id string) (shim.StopStatus, error) {
	cwd, err := os.Getwd()
	if err != nil {
		return shim.StopStatus{}, err
	}
	if err := sandbox.Unmount(filepath.Join(filepath.Dir(cwd), id)); err != nil {
		return shim.StopStatus{}, fmt.Errorf("container %s: %w", id, err)
	}
	return shim.StopStatus{ExitedAt: time.Now(), ExitStatus: 128 + int(unix.SIGKILL)}, nil
}

// Info implements shim.Shim.
func (manager) Info(context.Context, io.Reader) (*types.RuntimeInfo, error) {
	return &types.RuntimeInfo{Name: Name}, nil
}
