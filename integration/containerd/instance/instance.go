// SPDX-License-Identifier: Apache-2.0

// Package instance runs a private containerd: own root, state, sockets and
// configuration, so that nothing of the system's is touched.
package instance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/paracell/paracell/integration/tools"
)

// Runtime is the name under which containerd knows cells.
const Runtime = "io.containerd.paracell.v2"

// patience is more than a healthy containerd needs for anything asked here.
const patience = 30 * time.Second

// Options of an instance. The zero value is a containerd without the CRI plugin.
type Options struct {
	// Log is told what takes long; nil discards.
	Log io.Writer
	// Path lists folders with shims and what they start, before those of PATH.
	Path []string
	// Env is added to the environment that shims inherit.
	Env []string
	// Cells is the content of the configuration file of cells.
	Cells string
	// Config is added to containerd's configuration.
	Config string
	// CRI leaves the CRI plugin on.
	CRI bool
	// Wrap is a command that runs containerd, with the program and its arguments
	// added, and becomes it.
	Wrap []string
}

// Instance is a running containerd. Ctr, Do and Import may be called from any
// goroutine, Restart and Close by one when no other call is under way.
type Instance struct {
	// Dir holds all of its files; containers' bundles are in Dir/state.
	Dir string
	// Address is the path of its socket.
	Address string

	program, ctr string
	root         string
	env, wrap    []string
	cmd          *exec.Cmd
	ended        chan struct{} // closed when cmd has ended
}

const criPlugins = `  "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime",
`

// Start builds containerd if need be and waits until it answers.
func Start(ctx context.Context, o Options) (_ *Instance, err error) {
	if o.Log == nil {
		o.Log = io.Discard
	}
	d := &Instance{wrap: o.Wrap}
	if d.program, err = tools.Build(ctx, o.Log, "containerd"); err != nil {
		return nil, err
	}
	if d.ctr, err = tools.Build(ctx, o.Log, "ctr"); err != nil {
		return nil, err
	}
	// Socket paths are short, so not the usual place of temporary files; images
	// are large, so not there.
	if d.Dir, err = os.MkdirTemp("/run", "paracell-containerd-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.remove())
		}
	}()
	if d.root, err = os.MkdirTemp(tools.Cache(), "containerd-root-"); err != nil {
		return nil, err
	}
	d.Address = filepath.Join(d.Dir, "c.sock")
	cri := criPlugins
	if o.CRI {
		cri = ""
	}
	config := fmt.Sprintf(`version = 3
root = %q
state = %q
disabled_plugins = [
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.erofs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.blockfile",
%s]
[grpc]
  address = %q
[ttrpc]
  address = %q
%s`, d.root, d.Dir+"/state", cri, d.Address, d.Dir+"/t.sock", o.Config)
	if err := os.WriteFile(filepath.Join(d.Dir, "config.toml"), []byte(config), 0o600); err != nil {
		return nil, err
	}
	cells := filepath.Join(d.Dir, "paracell.toml")
	if err := os.WriteFile(cells, []byte(o.Cells), 0o600); err != nil {
		return nil, err
	}
	path := strings.Join(append(append([]string{}, o.Path...), filepath.Dir(d.program), os.Getenv("PATH")), ":")
	d.env = append(append(os.Environ(), "PARACELL_CONFIG="+cells, "PATH="+path), o.Env...)
	return d, d.launch(ctx)
}

// launch starts the program and waits until it answers.
func (d *Instance) launch(ctx context.Context) error {
	log, err := os.OpenFile(d.LogFile(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	line := append(slices.Clone(d.wrap), d.program, "-c", filepath.Join(d.Dir, "config.toml"))
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = d.env, log, log
	// An interrupt at the terminal is for whoever started it, who then closes it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	d.cmd, d.ended = cmd, ended
	if err := d.answers(ctx); err != nil {
		text, _ := os.ReadFile(d.LogFile())
		return fmt.Errorf("%w\n%s", errors.Join(err, d.Stop()), text)
	}
	return nil
}

// Pid is containerd's process.
func (d *Instance) Pid() int { return d.cmd.Process.Pid }

// Restart ends containerd and starts it again. Its shims live on.
func (d *Instance) Restart(ctx context.Context) error {
	if err := d.Stop(); err != nil {
		return err
	}
	return d.launch(ctx)
}

func (d *Instance) answers(ctx context.Context) error {
	for end := time.Now().Add(patience); ; {
		err := d.Ctr(ctx, "version").Run()
		if err == nil {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("containerd does not answer: %w", err)
		}
		select {
		case <-d.ended:
			return errors.New("containerd has ended")
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// LogFile is the path of containerd's log, which has those of shims in it.
func (d *Instance) LogFile() string { return filepath.Join(d.Dir, "log") }

// Ctr is a command of ctr, not started. The end of ctx kills it: ctr would hand
// a signal that can be caught on to its container.
func (d *Instance) Ctr(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, d.ctr, append([]string{"--address", d.Address}, args...)...)
	cmd.WaitDelay = time.Second
	return cmd
}

// Do runs ctr and returns its output; an error holds what it said.
func (d *Instance) Do(ctx context.Context, args ...string) (string, error) {
	var out, errOut bytes.Buffer
	cmd := d.Ctr(ctx, args...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("ctr %s: %w\n%s%s", strings.Join(args, " "), err, out.String(), errOut.String())
	}
	return out.String(), nil
}

// Import reads an image archive that write makes.
func (d *Instance) Import(ctx context.Context, write func(io.Writer) error) error {
	cmd := d.Ctr(ctx, "image", "import", "-")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	werr := write(in)
	in.Close()
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("import images: %w\n%s", errors.Join(err, werr), out.String())
	}
	return werr
}

// Close ends all containers and containerd, and removes their files. An error
// says what was left.
func (d *Instance) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var errs []error
	out, _ := d.Do(ctx, "task", "ls", "-q")
	for id := range strings.FieldsSeq(out) {
		if _, err := d.Do(ctx, "task", "rm", "-f", id); err != nil {
			errs = append(errs, err)
		}
	}
	errs = append(errs, d.Stop())
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		pids := d.processes()
		if len(pids) == 0 {
			break
		}
		if time.Now().Before(end) { // shims end after the call that ends them
			continue
		}
		for _, pid := range pids {
			line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			errs = append(errs, fmt.Errorf("process %d was left: %s", pid, bytes.ReplaceAll(line, []byte{0}, []byte{' '})))
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		break
	}
	return errors.Join(append(errs, d.remove())...)
}

// processes are those that have the folder in their arguments: shims, and what
// some shims start.
func (d *Instance) processes() []int {
	var pids []int
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range lines {
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if line, err := os.ReadFile(path); err == nil && pid != os.Getpid() && bytes.Contains(line, []byte(d.Dir+"/")) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Stop ends containerd until Restart. Its shims live on.
func (d *Instance) Stop() error {
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-d.ended:
		return nil
	case <-time.After(patience):
		d.cmd.Process.Kill()
		<-d.ended
		return fmt.Errorf("containerd did not end within %v of SIGTERM: killed", patience)
	}
}

// remove deletes the files. What is still mounted there was left by someone; it
// is unmounted, and told.
func (d *Instance) remove() error {
	var errs []error
	for _, dir := range []string{d.Dir, d.root} {
		if dir == "" {
			continue
		}
		left, err := Mounts(dir)
		errs = append(errs, err)
		for i := len(left) - 1; i >= 0; i-- {
			errs = append(errs, fmt.Errorf("%s was still mounted", left[i]), unix.Unmount(left[i], unix.MNT_DETACH))
		}
		errs = append(errs, os.RemoveAll(dir))
	}
	return errors.Join(errs...)
}

// Mounts lists the mount points below a folder, outer ones first.
func Mounts(dir string) ([]string, error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var found []string
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
			found = append(found, f[4])
		}
	}
	return found, nil
}
