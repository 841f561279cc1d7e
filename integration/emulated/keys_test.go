// SPDX-License-Identifier: Apache-2.0

package emulated_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/paracell/paracell/integration/emulated"
	"github.com/paracell/paracell/internal/testenv"
)

// need skips a test on a machine that cannot emulate; CI must be able to.
func need(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("boots an emulated machine")
	}
	if err := emulated.Probe(); err != nil {
		unavailable(t, err)
	}
}

func unavailable(t *testing.T, err error) {
	t.Helper()
	if testenv.InCI() {
		t.Fatal(err)
	}
	t.Skip(err)
}

// run starts the machine and stops the test when the machine itself fails.
func run(t *testing.T, m emulated.Machine) emulated.Result {
	t.Helper()
	res, err := emulated.Run(t.Context(), m)
	if errors.Is(err, emulated.ErrUnavailable) {
		unavailable(t, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("boot %v, command %v", res.Boot.Round(time.Millisecond), (res.Total - res.Boot).Round(time.Millisecond))
	return res
}

// TestKeys proves in the machine what isolation by protection keys rests on.
func TestKeys(t *testing.T) {
	need(t)
	sources, err := filepath.Glob("testdata/*.c")
	if err != nil || len(sources) == 0 {
		t.Fatalf("no programs in testdata: %v", err)
	}
	gcc := testenv.Program(t, "gcc", "gcc")
	m := emulated.Machine{Files: map[string]string{}}
	bin := t.TempDir()
	var script strings.Builder
	for _, src := range sources {
		name := strings.TrimSuffix(filepath.Base(src), ".c")
		exe := filepath.Join(bin, name)
		out, err := exec.Command(gcc, "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O2", "-static", "-o", exe, src).CombinedOutput()
		if err != nil {
			t.Fatalf("gcc %s: %v\n%s", src, err, out)
		}
		m.Files["/test/"+name] = exe
		fmt.Fprintf(&script, "echo '=== %s'; /test/%s; echo; echo \"--- %s $?\"\n", name, name, name)
	}
	m.Command = []string{"sh", "-c", script.String()}
	out := string(run(t, m).Output)
	for guest := range m.Files {
		name := filepath.Base(guest)
		t.Run(name, func(t *testing.T) {
			_, text, ok := strings.Cut(out, "=== "+name+"\n")
			if !ok {
				t.Fatalf("did not run:\n%s", out)
			}
			text, rest, _ := strings.Cut(text, "--- "+name+" ")
			status, _, _ := strings.Cut(rest, "\n")
			if text = strings.TrimSpace(text); text != "" {
				t.Log(text)
			}
			// Not applicable (77) is a failure as well: all of it must
			// apply in this machine.
			if status != "0" {
				t.Errorf("exit status %q", status)
			}
		})
	}
}

func TestExitStatus(t *testing.T) {
	need(t)
	var streamed strings.Builder
	res := run(t, emulated.Machine{
		Command: []string{"sh", "-c", `printf '%s|%s' "$1" "$2"; cat /etc/given >&2; kill -9 $$`, "sh", "it's", "a b"},
		Env:     []string{"UNUSED=x'y"},
		Files:   map[string]string{"/etc/given": "init.sh"},
		Output:  &streamed,
	})
	want, err := os.ReadFile("init.sh")
	if err != nil {
		t.Fatal(err)
	}
	if got := string(res.Output); got != "it's|a b"+string(want) {
		t.Errorf("output %q", got)
	}
	if streamed.String() != string(res.Output) {
		t.Errorf("streamed %q", streamed.String())
	}
	if res.ExitCode != 128+9 {
		t.Errorf("exit code %d, want %d", res.ExitCode, 128+9)
	}
}

func TestPanicIsAnError(t *testing.T) {
	need(t)
	_, err := emulated.Run(t.Context(), emulated.Machine{
		Command: []string{"sh", "-c", "echo c > /proc/sysrq-trigger; sleep 60"},
	})
	if errors.Is(err, emulated.ErrUnavailable) {
		unavailable(t, err)
	}
	if !errors.Is(err, emulated.ErrNoResult) || !strings.Contains(err.Error(), "Kernel panic") {
		t.Errorf("error %v, want ErrNoResult with the panic message", err)
	}
}

func TestDeadline(t *testing.T) {
	need(t)
	start := time.Now()
	_, err := emulated.Run(t.Context(), emulated.Machine{
		Command: []string{"sleep", "600"},
		Timeout: 12 * time.Second,
	})
	if errors.Is(err, emulated.ErrUnavailable) {
		unavailable(t, err)
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want a deadline", err)
	}
	if d := time.Since(start); d > 30*time.Second {
		t.Errorf("took %v", d)
	}
}
