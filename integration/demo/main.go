// SPDX-License-Identifier: Apache-2.0

// Demo runs a container in a cell through a private containerd and shows what
// the container prints: what make run calls. IMAGE names one of the images of
// integration/images, CMD a shell command; isolation is that of the machine.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/paracell/paracell/integration/containerd/instance"
	"github.com/paracell/paracell/integration/images"
	"github.com/paracell/paracell/vmm/platform"
	"github.com/paracell/paracell/vmm/process"
)

const defaultCommand = "uname -a; cat /etc/os-release"

// progress puts every line of what takes long on stderr: stdout is the container's.
type progress struct{}

func (progress) Write(b []byte) (int, error) {
	for line := range strings.Lines(string(b)) {
		fmt.Fprint(os.Stderr, "run: ", line)
	}
	return len(b), nil
}

func say(format string, args ...any) { fmt.Fprintf(progress{}, format+"\n", args...) }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	status, err := run(ctx)
	if err != nil {
		say("%v", err)
		status = 1
	}
	os.Exit(status)
}

func run(ctx context.Context) (status int, err error) {
	name, command := os.Getenv("IMAGE"), os.Getenv("CMD")
	if name == "" {
		name = "debian"
	}
	if command == "" {
		command = defaultCommand
	}
	isolation, err := isolation()
	if err != nil {
		return 0, err
	}
	bin, err := filepath.Abs("bin")
	if err != nil {
		return 0, err
	}
	if _, err := os.Stat(filepath.Join(bin, "containerd-shim-paracell-v2")); err != nil {
		return 0, fmt.Errorf("the shim is not built: make build: %w", err)
	}
	set, err := images.Build(ctx, progress{}, name)
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	d, err := instance.Start(ctx, instance.Options{
		Log: progress{}, Path: []string{bin}, Cells: fmt.Sprintf("platform = \"process\"\nisolation = %q\n", isolation),
	})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	say("containerd is up in %.1f s: %s", time.Since(begin).Seconds(), d.Address)
	begin = time.Now()
	if err := d.Import(ctx, set.Write); err != nil {
		return 0, err
	}
	say("image %s, %d MB, imported in %.1f s", images.Ref(name), set.Size()>>20, time.Since(begin).Seconds())

	args := []string{"run", "--rm", "--runtime", instance.Runtime, images.Ref(name), "demo", "/bin/sh", "-c", command}
	say("ctr %s '%s'", strings.Join(args[:len(args)-1], " "), command)
	cmd := d.Ctr(ctx, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	begin = time.Now()
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		status, err = exit.ExitCode(), nil
	}
	if err != nil {
		log, _ := os.ReadFile(d.LogFile())
		return 0, fmt.Errorf("ctr: %w\n%s", err, log)
	}
	say("exit status %d after %.2f s", status, time.Since(begin).Seconds())
	return status, nil
}

// isolation is the strongest that this machine has, and it says so when that
// is not all that users get elsewhere.
func isolation() (platform.Isolation, error) {
	probe := process.New().Probe()
	missing := probe.Err(platform.IsolationMPK)
	if missing == nil {
		return platform.IsolationMPK, nil
	}
	if err := probe.Err(platform.IsolationNone); err != nil {
		return "", err
	}
	say("WARNING: NO PROTECTION KEYS (%v): this demonstration chooses platform process with isolation = \"none\": the cell is kept from the host as ever, "+
		"but a process in it can take over the cell's own kernel", missing)
	return platform.IsolationNone, nil
}
