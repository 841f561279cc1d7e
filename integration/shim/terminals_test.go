// SPDX-License-Identifier: Apache-2.0

package shim

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/oci"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/paracell/paracell/integration/containerd/daemon"
)

// TestTerminals: megabytes through one terminal of a cell after the other, each
// byte of which arrives. PARACELL_TERMINALS is how many.
func TestTerminals(t *testing.T) {
	rounds := 3
	if n, err := strconv.Atoi(os.Getenv("PARACELL_TERMINALS")); err == nil {
		rounds = n
	}
	h := start(t, daemon.Options{})
	task := h.running(t)
	for i := range rounds {
		var out buffer
		spec := processSpec("/bin/seq", "-s", " ", "1000000")
		spec.Terminal = true
		p, err := task.Exec(h.ctx, fmt.Sprintf("terminal%d", i), spec, h.streams(nil, &out, nil, cio.WithTerminal))
		must(t, err)
		exit, err := p.Wait(h.ctx)
		must(t, err)
		must(t, p.Start(h.ctx))
		if code := status(t, exit); code != 0 {
			t.Errorf("status %d", code)
		}
		_, err = p.Delete(h.ctx)
		must(t, err)
		const size = 6888897 // of the numbers, what is between them, and the end
		if s := out.String(); len(s) != size || !strings.HasSuffix(s, " 999999 1000000\r\n") {
			t.Errorf("round %d: %d bytes that end with %q, want %d", i, len(s), s[max(0, len(s)-20):], size)
		}
	}
}

// TestTerminalOfRequest: for an added process the request decides, whatever its
// specification says; for the first one they have to agree.
func TestTerminalOfRequest(t *testing.T) {
	h := start(t, daemon.Options{})
	task := h.running(t)
	for _, terminal := range []bool{true, false} {
		var out buffer
		var opts []cio.Opt
		if terminal {
			opts = append(opts, cio.WithTerminal)
		}
		spec := processSpec("/bin/sh", "-c", "test -t 0; echo $?")
		spec.Terminal = !terminal
		p, err := task.Exec(h.ctx, fmt.Sprint("terminal-", terminal), spec, h.streams(nil, &out, nil, opts...))
		must(t, err)
		exit, err := p.Wait(h.ctx)
		must(t, err)
		must(t, p.Start(h.ctx))
		if code := status(t, exit); code != 0 {
			t.Errorf("status %d", code)
		}
		_, err = p.Delete(h.ctx)
		must(t, err)
		if got, want := strings.TrimSpace(out.String()), map[bool]string{true: "0", false: "1"}[terminal]; got != want {
			t.Errorf("terminal %t: %q, want %q", terminal, got, want)
		}
	}
	if _, err := h.container(t, command("true"), oci.WithTTY).NewTask(h.ctx, cio.NullIO); err == nil || !strings.Contains(err.Error(), "process.terminal is true") {
		t.Errorf("a terminal that the request does not have: %v", err)
	}
}

// TestSignalsToTheAgent: one that comes to the agent is not the end of the cell.
func TestSignalsToTheAgent(t *testing.T) {
	h := start(t, daemon.Options{})
	task := h.running(t, oci.WithHostNamespace(specs.PIDNamespace), oci.WithPrivileged)
	for range 3 {
		h.output(t, task, "/bin/sh", "-c", "for s in HUP INT ABRT TERM SEGV SYS; do kill -$s 1 || exit; done")
	}
	if got := h.output(t, task, "/bin/echo", "alive"); got != "alive\n" {
		t.Errorf("%q", got)
	}
}
