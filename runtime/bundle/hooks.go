// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

const (
	// hookTimeout bounds hooks that set no limit of their own.
	hookTimeout = 10 * time.Minute
	// maxHookOutput is how much of a hook's output an error has, in bytes.
	maxHookOutput = 2048
	// hookGrace is how long the output of a killed hook is waited for.
	hookGrace = time.Second
)

// CreateHooks are the hooks of the host that run before the container is made.
func (b *Bundle) CreateHooks() []specs.Hook {
	h := b.Host.Hooks
	if h == nil {
		return nil
	}
	//lint:ignore SA1019 some tools still use prestart
	return append(append([]specs.Hook(nil), h.Prestart...), h.CreateRuntime...)
}

// StartHooks are those that run when its program has been started.
func (b *Bundle) StartHooks() []specs.Hook {
	if b.Host.Hooks == nil {
		return nil
	}
	return b.Host.Hooks.Poststart
}

// RunStopHooks runs those that run when a container has been deleted. It reads
// them from the bundle: also for one whose shim is gone. They are not stopped by
// the end of a request.
func RunStopHooks(ctx context.Context, dir, id string) error {
	config, err := readConfig(dir)
	if err != nil {
		return err
	}
	var s specs.Spec
	if err := json.Unmarshal(config, &s); err != nil || s.Hooks == nil {
		return err
	}
	return RunHooks(context.WithoutCancel(ctx), s.Hooks.Poststop, State(id, dir, specs.StateStopped, 0, s.Annotations))
}

// State is what a hook gets to know. pid is the process of the host that stands
// for the container, 0 if there is none.
func State(id, dir string, status specs.ContainerState, pid int, annotations map[string]string) *specs.State {
	return &specs.State{Version: specs.Version, ID: id, Status: status, Pid: pid, Bundle: dir, Annotations: annotations}
}

// RunHooks runs hooks one after the other, up to the first that fails. Their
// standard input is the state.
func RunHooks(ctx context.Context, hooks []specs.Hook, state *specs.State) error {
	if len(hooks) == 0 {
		return nil
	}
	input, err := json.Marshal(state)
	if err != nil {
		return err
	}
	for _, h := range hooks {
		if err := runHook(ctx, h, state.Bundle, input); err != nil {
			return fmt.Errorf("hook %s: %w", h.Path, err)
		}
	}
	return nil
}

func runHook(ctx context.Context, h specs.Hook, dir string, input []byte) error {
	if !filepath.IsAbs(h.Path) {
		return errors.New("an absolute path is needed")
	}
	limit := hookTimeout
	if h.Timeout != nil {
		if *h.Timeout <= 0 {
			return fmt.Errorf("timeout of %d s: it has to be positive", *h.Timeout)
		}
		limit = time.Duration(min(*h.Timeout, int(hookTimeout/time.Second)*144)) * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, h.Path)
	if len(h.Args) > 0 {
		cmd.Args = h.Args
	}
	cmd.Env = append([]string{}, h.Env...) // never nil, which means ours
	cmd.Dir = dir
	cmd.Stdin = bytes.NewReader(input)
	out := &tail{max: maxHookOutput}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = hookGrace
	err := cmd.Run()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, exec.ErrWaitDelay) && cmd.ProcessState.Success():
		return nil // it has left a process behind that holds its output
	case ctx.Err() != nil:
		err = fmt.Errorf("did not end within %s: %w", limit, ctx.Err())
	}
	if text := strings.TrimSpace(out.String()); text != "" {
		return fmt.Errorf("%w: %s", err, strings.ToValidUTF8(text, "?"))
	}
	return err
}

// tail keeps the last bytes of what is written to it.
type tail struct {
	max  int
	kept []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p[max(0, len(p)-t.max):]...)
	t.kept = t.kept[max(0, len(t.kept)-t.max):]
	return len(p), nil
}

func (t *tail) String() string { return string(t.kept) }
