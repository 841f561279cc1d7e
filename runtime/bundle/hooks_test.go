// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func shell(script string, env ...string) specs.Hook {
	return specs.Hook{Path: "/bin/sh", Args: []string{"hook", "-c", script}, Env: env}
}

func TestHookGetsState(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("FOREIGN", "1")
	hooks := []specs.Hook{
		shell(`cat >state; pwd >pwd; echo "$0 $A $FOREIGN" >env`, "A=b"),
		shell(`test -s state`),
	}
	state := State("c1", dir, specs.StateCreating, 42, map[string]string{"a": "b"})
	if err := RunHooks(t.Context(), hooks, state); err != nil {
		t.Fatal(err)
	}
	var got specs.State
	b, err := os.ReadFile(filepath.Join(dir, "state"))
	if err == nil {
		err = json.Unmarshal(b, &got)
	}
	if err != nil || got.ID != "c1" || got.Pid != 42 || got.Status != "creating" || got.Bundle != dir || got.Annotations["a"] != "b" || got.Version == "" {
		t.Errorf("%s, %v", b, err)
	}
	if b, _ := os.ReadFile(filepath.Join(dir, "env")); string(b) != "hook b \n" {
		t.Errorf("environment %q", b)
	}
	if b, _ := os.ReadFile(filepath.Join(dir, "pwd")); strings.TrimSpace(string(b)) != dir {
		t.Errorf("directory %q", b)
	}
}

func TestHookFails(t *testing.T) {
	one, zero := 1, 0
	slow := shell("echo begun; sleep 1000")
	slow.Timeout = &one
	never := shell("true")
	never.Timeout = &zero
	dir := t.TempDir()
	for want, h := range map[string]specs.Hook{
		"exit status 3: first\nlast": shell("echo first; echo last >&2; exit 3"),
		"no such file":               {Path: "/no/such/hook"},
		"absolute path":              {Path: "hook"},
		"within 1s":                  slow,
		"positive":                   never,
	} {
		err := RunHooks(t.Context(), []specs.Hook{h, shell("touch after")}, State("c", dir, specs.StateCreating, 0, nil))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), h.Path) {
			t.Errorf("%v; want %q", err, want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "after")); err == nil {
		t.Error("hooks go on after one that failed")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := RunHooks(ctx, []specs.Hook{shell("sleep 1000")}, State("c", dir, specs.StateCreating, 0, nil)); err == nil {
		t.Error("a hook does not end with its context")
	}
}

func TestHookOutputIsBounded(t *testing.T) {
	err := RunHooks(t.Context(), []specs.Hook{shell("head -c 1000000 /dev/zero | tr '\\0' x; echo end; exit 1")},
		State("c", t.TempDir(), specs.StateCreating, 0, nil))
	if err == nil || len(err.Error()) > 2*maxHookOutput || !strings.HasSuffix(err.Error(), "xend") {
		t.Errorf("%d bytes", len(err.Error()))
	}
}

func TestWhichHooksRunOnTheHost(t *testing.T) {
	s := base()
	h := func(name string) []specs.Hook { return []specs.Hook{{Path: "/" + name}} }
	dir := t.TempDir()
	s.Hooks = &specs.Hooks{
		Prestart: h("prestart"), CreateRuntime: h("createRuntime"), StartContainer: h("startContainer"), Poststart: h("poststart"), Poststop: []specs.Hook{shell("cat >stopped")},
	}
	encoded, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), encoded, 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := Load(dir, "c")
	if err != nil {
		t.Fatal(err)
	}
	if err := RunStopHooks(t.Context(), dir, "c"); err != nil {
		t.Error(err)
	}
	if state, err := os.ReadFile(filepath.Join(dir, "stopped")); err != nil || !strings.Contains(string(state), `"status":"stopped"`) {
		t.Errorf("poststop: %s, %v", state, err)
	}
	names := func(hooks []specs.Hook) string {
		var all string
		for _, h := range hooks {
			all += h.Path
		}
		return all
	}
	if got := names(b.CreateHooks()) + " " + names(b.StartHooks()); got != "/prestart/createRuntime /poststart" {
		t.Error(got)
	}
	guest := b.Spec.Hooks
	if guest == nil || names(guest.StartContainer) != "/startContainer" || len(guest.Poststart)+len(guest.Poststop)+len(guest.CreateRuntime) != 0 {
		t.Errorf("in the guest: %+v", guest)
	}
}
